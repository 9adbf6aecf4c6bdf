"""The HiMAC agent that plans again where a sub-goal was not finished.

A plan made from the first observation alone may be wrong about the world. When a sub-goal's budget ends it, the planner is
asked again: it sees the task, the plan with honest marks and what is seen now, and writes what is to be done from here
on. Its new sub-goals take the place of those that were left.

    PLAN --blueprint--> segment 0 --budget--> PLAN AGAIN --blueprint--> segment 1 ... --> end

Every plan of an episode gets the episode's advantage: groups are of one task, over the whole of what its planner wrote. Phase A
samples all of them, so equal first plans are not equal executions and none is shared. Phase B is given the first plan
of z*, as ever; where its executor gets stuck, the planner, greedy and frozen, plans again. This is ours and not the paper's.
"""

from __future__ import annotations

from himac.agents.base import Query, Reply
from himac.agents.grammar import read_blueprint
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.prompts import observation_view


class ReplanningAgent(HierarchicalAgent):
    """Plans, carries the plan out, and plans again when a sub-goal is not finished within its turns."""

    replans = True
    _stuck = False

    def ask(self) -> Query:
        """Say what to ask next."""
        return self._ask_again() if self._stuck else super().ask()

    def receive(self, text: str) -> Reply:
        """Take what the model wrote."""
        if not self._stuck:
            return super().receive(text)
        self._calls += 1
        self._stuck = False
        plan = read_blueprint(text, fallback=self._prompts.finish, max_subgoals=self._cfg.max_subgoals)
        behind = self.segment + 1
        if not plan.malformed:  # else what was left of the old plan goes on
            self._goals = (*self._goals[:behind], *plan.subgoals)
        self._open_segment(behind)
        self._check_calls()
        return Reply(readable=not plan.malformed)

    def _fall_back(self) -> None:
        """Ask the planner again, where there is a step left for what it says."""
        if self.stop is None:
            self._stuck = True

    def _ask_again(self) -> Query:
        spec, prompts = self._spec, self._prompts
        head = prompts.blueprint_view(
            self._task, self._goals, self.segment + 1, unfinished=self._unfinished, current=False
        )
        now = f"{head}\n\n{observation_view(spec, self._current)}\n\n{prompts.replan}"
        messages = prompts.planner_messages(
            spec, now, max_subgoals=self._cfg.max_subgoals, think=self._cfg.think
        )
        return Query(role="planner", fresh=True, messages=messages, sampling=self._planning)
