"""One stream that plans and then acts: HiMAC's supervision and grammar without its hierarchy of credit.

The control for the question whether credit by level helps, or only the form of planning first. Blueprint, `<sub_done>` and marks
are the hierarchical agent's; but there is one role and one growing context, so an estimator for flat agents gives every
token of an episode, the blueprint's included, the same advantage. This is ours, not the paper's. Left out: segments.
"""

from __future__ import annotations

from dataclasses import replace

from himac.agents.base import GREEDY, Assignment, Query
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.memory import Memory
from himac.agents.prompts import admissible_view, observation_view
from himac.config import AgentConfig
from himac.types import EnvSpec, Observation, StepResult


class OneStreamAgent(HierarchicalAgent):
    """Writes its blueprint as the first answer of a stream, then carries it out in the same one.

    Args:
        spec: the world.
        cfg: limits; the context is always the whole stream.
        assignment: its temperature is the executor's, for the blueprint too.
    """

    plans = False  # nobody takes turns: one role is trained, in one phase
    style = "stream"  # of its warm start's demonstrations

    def __init__(self, spec: EnvSpec, cfg: AgentConfig, assignment: Assignment = GREEDY) -> None:
        super().__init__(spec, cfg, assignment)
        system = self._prompts.stream_system(spec, cfg)
        form = self._prompts.planner_form_of(spec, max_subgoals=cfg.max_subgoals, think=cfg.think)
        self._memory = Memory("full", system, step=self._prompts.step, form=form)
        self._planning = replace(self._planning, temperature=assignment.executor_temperature)
        self._is_unseen = False  # the last observation has not been shown yet

    def start(self, observation: Observation) -> None:
        """Take the first observation; it is asked for a blueprint with it."""
        super().start(observation)
        task = f"{self._spec.goal}\n{observation.text}" if self._spec.goal else observation.text
        self._memory.open_segment(f"Task: {task}", "")

    def ask(self) -> Query:
        """Say what to ask next: always the one role, in the one context."""
        self._is_unseen = False
        fresh, messages = self._memory.next_messages()
        sampling = self._planning if self.blueprint is None else self._acting
        return Query(role="executor", fresh=fresh, messages=messages, sampling=sampling)

    def observe(self, result: StepResult) -> None:
        """Take what the environment answered."""
        self._is_unseen = True  # a sub-goal whose budget this step has spent is followed by another at once
        super().observe(result)

    def _open_segment(self, index: int) -> None:
        """Name the next sub-goal; of task and observation only what the stream does not hold yet."""
        self.segment, self._turns, self._is_done = index, 0, False
        self._memory.go_on()
        plan = self._prompts.blueprint_view("", self._goals, index, unfinished=self._unfinished)
        view = ""
        if self._is_unseen:
            view = observation_view(self._spec, self._current)
        elif self._current is self._first:
            view = admissible_view(self._spec, self._current)  # a planner is not shown them
        self._memory.open_segment(plan, view)
