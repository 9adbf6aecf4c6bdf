"""The HiMAC agent: a planner and an executor sharing one model.

One idea: a blueprint cuts the episode into segments. The executor sees the task, the blueprint with its active
sub-goal marked and the turns of that segment, nothing of the earlier ones; it moves on by saying
`<sub_done>` or, when a sub-goal does not end, by budget. Source: arXiv 2603.00977, sections on the
macro and micro policies; the budget and what follows the last sub-goal are our choices (docs/design.md).

    PLAN --blueprint--> segment 0 --<sub_done> | budget--> segment 1 ... --> "finish the task" --> end
"""

from __future__ import annotations

from dataclasses import dataclass, field

from himac.agents.base import Ask, ContextMode, Limits, Reply, ending
from himac.agents.grammar import SUB_DONE, read_blueprint, read_turn
from himac.agents.memory import Memory
from himac.agents.prompts import (
    FINISH,
    NOTHING,
    macro_messages,
    micro_system,
    observation_view,
    plan_view,
)
from himac.types import Blueprint, EnvSpec, Observation, Sampling, StepResult, StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchySettings:
    """How the hierarchy behaves; the ablations of the paper are values of these."""

    limits: Limits = field(default_factory=Limits)
    context: ContextMode = "segment"
    last_pairs: int = 2  # (observation, answer) pairs shown in `step` mode
    explicit_done: bool = True  # False: no <sub_done>; each sub-goal gets its fixed budget of turns
    macro: Sampling = field(default_factory=lambda: Sampling(stop=("</blueprint>",)))
    micro: Sampling = field(default_factory=lambda: Sampling(stop=("</action>", SUB_DONE)))


class HierarchicalAgent:
    """Plans, then carries the plan out sub-goal by sub-goal.

    Args:
        spec: the world.
        settings: limits, context mode, sampling of both roles.
        blueprint: a plan to carry out (phase B); None lets the planner write one.
    """

    def __init__(
        self, spec: EnvSpec, settings: HierarchySettings, *, blueprint: Blueprint | None = None
    ) -> None:
        self.stop: StopReason | None = None
        self.segment = 0
        self.blueprint = blueprint
        self._spec, self._settings = spec, settings
        self._memory = Memory(
            settings.context,
            micro_system(spec, explicit_done=settings.explicit_done),
            last_pairs=settings.last_pairs,
        )
        self._task = ""
        self._current = Observation()
        self._calls = self._steps = self._turns = 0

    @property
    def subgoal(self) -> str:
        """Text of the active sub-goal."""
        if self.blueprint is None:
            return ""
        goals = self.blueprint.subgoals
        return goals[self.segment] if self.segment < len(goals) else FINISH

    def start(self, observation: Observation) -> None:
        self._task = self._spec.goal or observation.text
        self._current = observation
        if self.blueprint is not None:
            self._open_segment(0)

    def prompt(self) -> Ask:
        if self.blueprint is None:
            task = f"{self._spec.goal}\n{self._current.text}" if self._spec.goal else self._task
            messages = macro_messages(self._spec, task, max_subgoals=self._settings.limits.max_subgoals)
            return Ask(role="macro", fresh=True, messages=messages, sampling=self._settings.macro)
        fresh, messages = self._memory.question()
        return Ask(role="micro", fresh=fresh, messages=messages, sampling=self._settings.micro)

    def receive(self, text: str) -> Reply:
        self._calls += 1
        if self.blueprint is None:
            return self._receive_blueprint(text)
        self._turns += 1
        action, done = read_turn(text)
        if done and self._settings.explicit_done and self.segment < len(self.blueprint.subgoals):
            self._open_segment(self.segment + 1)
            self._check_calls()
            return Reply(sub_done=True)
        if action is None:  # unreadable, or a <sub_done> with nothing left to be done
            self._memory.remember(text, NOTHING)
            self._after_step()
            return Reply(readable=False)
        self._answer = text
        return Reply(action=action)

    def observe(self, result: StepResult) -> None:
        self._current = result.observation
        self._memory.remember(self._answer, observation_view(self._spec, result.observation))
        if result.terminated or result.truncated:
            self.stop = ending(result)
        else:
            self._after_step()

    def _receive_blueprint(self, text: str) -> Reply:
        limit = self._settings.limits.max_subgoals
        self.blueprint = read_blueprint(text, fallback=self._spec.goal or FINISH, max_subgoals=limit)
        self._open_segment(0)
        self._check_calls()
        return Reply(blueprint=self.blueprint, readable=not self.blueprint.malformed)

    def _open_segment(self, index: int) -> None:
        assert self.blueprint is not None
        self.segment, self._turns = index, 0
        head = plan_view(self._task, self.blueprint.subgoals, index)
        self._memory.open_segment(head, observation_view(self._spec, self._current))

    def _after_step(self) -> None:
        """Count one step (or wasted answer), then let the limits speak."""
        assert self.blueprint is not None
        self._steps += 1
        limits = self._settings.limits
        if self._steps >= limits.max_steps:
            self.stop = StopReason.MAX_STEPS
        elif self._turns >= limits.subgoal_turns and self.segment < len(self.blueprint.subgoals):
            self._open_segment(self.segment + 1)
        self._check_calls()

    def _check_calls(self) -> None:
        if self.stop is None and self._calls >= self._settings.limits.calls:
            self.stop = StopReason.MAX_CALLS
