"""The HiMAC agent: a planner and an executor sharing one model.

A blueprint cuts the episode into segments. The executor sees the task, the blueprint with its active
sub-goal marked and the turns of that segment, nothing of the earlier ones; it moves on by saying
`<sub_done>` or, when a sub-goal does not end, is forced to (the JSON of runs says "budget"). Source: arXiv 2603.00977, sections on the
macro and micro policies; the budget and what follows the last sub-goal are our choices (docs/design.md).

    PLAN --blueprint--> segment 0 --<sub_done> | budget--> segment 1 ... --> "finish the task" --> end
"""

from __future__ import annotations

from himac.agents.base import GREEDY, Assignment, Query, Reply, call_limit, ending, step_limit
from himac.agents.grammar import SUB_DONE, read_blueprint, read_turn
from himac.agents.memory import Memory
from himac.agents.prompts import NONE, load_prompts, observation_view, opening_views
from himac.config import AgentConfig
from himac.types import EnvSpec, Observation, Sampling, StepResult, StopReason


class HierarchicalAgent:
    """Plans, then carries the plan out sub-goal by sub-goal.

    Args:
        spec: the world.
        cfg: limits, context mode; the paper's ablations are values of these.
        assignment: temperatures, and a blueprint to carry out (phase B) where there is one.
    """

    plans = True

    def __init__(self, spec: EnvSpec, cfg: AgentConfig, assignment: Assignment = GREEDY) -> None:
        self.stop: StopReason | None = None
        self.segment = 0
        self.blueprint = assignment.blueprint
        # what is to be done, in order
        self._goals = assignment.blueprint.subgoals if assignment.blueprint else ()
        self._spec, self._cfg = spec, cfg
        self._both = cfg.explicit_done and cfg.done_with_action
        self._prompts = load_prompts(cfg.prompts)
        system = self._prompts.executor_system(
            spec, explicit_done=cfg.explicit_done, think=cfg.think, done_with_action=cfg.done_with_action
        )
        form = self._prompts.executor_form_of(spec, explicit_done=cfg.explicit_done, think=cfg.think)
        self._memory = Memory(
            cfg.context, system, last_pairs=cfg.last_pairs, step=self._prompts.step, form=form
        )
        self._planning = Sampling(
            max_tokens=cfg.planner_tokens,
            temperature=assignment.planner_temperature,
            stop=("</blueprint>",),
            thinks=cfg.think,
        )
        self._acting = Sampling(
            max_tokens=cfg.executor_tokens,
            temperature=assignment.executor_temperature,
            stop=self._stops(),
            thinks=cfg.think,
        )
        self._task = ""
        self._unfinished: set[int] = set()  # sub-goals that their budget has ended
        self._last_actions: dict[int, str] = {}  # under each sub-goal, of those that the world accepted
        self._action = ""  # what the environment is answering to
        self._current = self._first = Observation()
        self._calls = self._steps = self._turns = 0
        self._is_done = False  # the sub-goal, with the action that the environment is answering to

    def _stops(self) -> tuple[str, ...]:
        """Return what ends an executor's turn; where `<sub_done>` may follow, an action does not."""
        if self._both:
            return (SUB_DONE,)
        return ("</action>", SUB_DONE) if self._cfg.explicit_done else ("</action>",)

    @property
    def subgoal(self) -> str:
        """Text of the active sub-goal."""
        if self.blueprint is None:
            return ""
        return self._goals[self.segment] if self.segment < len(self._goals) else self._prompts.finish

    def start(self, observation: Observation) -> None:
        """Take the first observation."""
        self._task = self._spec.goal or observation.text
        self._current = self._first = observation
        if self.blueprint is not None:
            self._open_segment(0)

    def ask(self) -> Query:
        """Say what to ask next."""
        if self.blueprint is None:
            task = f"{self._spec.goal}\n{self._current.text}" if self._spec.goal else self._task
            messages = self._prompts.planner_messages(
                self._spec, task, max_subgoals=self._cfg.max_subgoals, think=self._cfg.think
            )
            return Query(role="planner", fresh=True, messages=messages, sampling=self._planning)
        fresh, messages = self._memory.next_messages()
        return Query(role="executor", fresh=fresh, messages=messages, sampling=self._acting)

    def receive(self, text: str) -> Reply:
        """Take what the model wrote."""
        self._calls += 1
        if self.blueprint is None:
            return self._receive_blueprint(text)
        self._turns += 1
        action, done = read_turn(text, both=self._both)
        if done and action is None and self._cfg.explicit_done and self.segment < len(self._goals):
            self._open_segment(self.segment + 1)
            self._check_calls()
            return Reply(sub_done=True)
        if action is None:
            self._memory.miss(self._prompts.nothing, self._prompts.unread)
            self._after_step()
            # <sub_done> with nothing left to be done is not an action, and not bad form either
            return Reply(readable=done and self._cfg.explicit_done)
        self._action = action
        self._is_done = done and self.segment < len(self._goals)
        return Reply(action=action, sub_done=self._is_done)

    def observe(self, result: StepResult) -> None:
        """Take what the environment answered."""
        self._current = result.observation
        if result.valid:
            self._last_actions[self.segment] = self._action
        seen = result.observation
        self._memory.remember(self._action, observation_view(self._spec, seen), told=seen.text)
        if result.terminated or result.truncated:
            self.stop = ending(result)
        else:
            self._after_step()

    def _receive_blueprint(self, text: str) -> Reply:
        fallback = self._spec.goal or self._prompts.finish
        self.blueprint = read_blueprint(text, fallback=fallback, max_subgoals=self._cfg.max_subgoals)
        self._goals = self.blueprint.subgoals
        self._open_segment(0)
        self._check_calls()
        return Reply(blueprint=self.blueprint, readable=not self.blueprint.malformed)

    def _open_segment(self, index: int) -> None:
        self.segment, self._turns, self._is_done = index, 0, False
        head = self._prompts.blueprint_view(
            self._task,
            self._goals,
            index,
            unfinished=self._unfinished,
            last_actions=self._last_actions if self._cfg.context == "carry" else NONE,
        )
        said = self._current is self._first and not self._spec.goal
        view, told = opening_views(self._spec, self._current, said=said)
        self._memory.open_segment(head, view, told=told)

    def _after_step(self) -> None:
        """Count one step (or wasted answer), then let the limits speak."""
        self._steps += 1
        if self._steps >= step_limit(self._spec, self._cfg):
            self.stop = StopReason.MAX_STEPS
        elif self._is_done:
            self._open_segment(self.segment + 1)
        elif self._turns >= self._cfg.subgoal_turns and self.segment < len(self._goals):
            self._unfinished.add(self.segment)
            self._fall_back()
        self._check_calls()

    def _fall_back(self) -> None:
        """Go on where the active sub-goal's turns are spent: with the next one."""
        self._open_segment(self.segment + 1)

    def _check_calls(self) -> None:
        if self.stop is None and self._calls >= call_limit(self._spec, self._cfg):
            self.stop = StopReason.MAX_CALLS
