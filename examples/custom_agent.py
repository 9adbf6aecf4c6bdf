"""An agent of your own: the flat one, told before every answer how many steps are left.

cd examples
himac train custom_env.toml method=custom_agent:HurriedAgent
"""

from __future__ import annotations

from dataclasses import replace

from himac.agents.base import GREEDY, Assignment, Query, step_limit
from himac.agents.flat import FlatAgent
from himac.config import AgentConfig
from himac.types import EnvSpec, Message, StepResult


class HurriedAgent(FlatAgent):
    """Knows how long it has. `plans = True` would train it in two phases, as a planner and an executor."""

    plans = False

    def __init__(self, spec: EnvSpec, cfg: AgentConfig, assignment: Assignment = GREEDY) -> None:
        super().__init__(spec, cfg, assignment)
        self._left = step_limit(spec, cfg)

    def ask(self) -> Query:
        """Return the flat agent's question with the steps that are left."""
        query = super().ask()
        *before, last = query.messages
        told = Message(role=last.role, content=f"{last.content}\nSteps left: {self._left}")
        return replace(query, messages=(*before, told))

    def observe(self, result: StepResult) -> None:
        """Count."""
        self._left -= 1
        super().observe(result)
