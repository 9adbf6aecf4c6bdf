"""The flat agent: one stream that plans and acts at once.

What GRPO, GiGPO, RLOO and PPO train in the paper's comparison, and, with another system prompt, what ReAct
prompts. It shares the hierarchical agent's memory and grammar, so that the two differ in the hierarchy and in
nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from himac.agents.base import Ask, ContextMode, Limits, Reply, ending
from himac.agents.grammar import read_turn
from himac.agents.memory import Memory
from himac.agents.prompts import NOTHING, flat_system, observation_view
from himac.types import Blueprint, EnvSpec, Message, Observation, Sampling, StepResult, StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatSettings:
    """How the flat agent behaves."""

    limits: Limits = field(default_factory=Limits)
    context: ContextMode = "full"  # "step" is the published protocol
    last_pairs: int = 2  # (observation, answer) pairs shown in `step` mode
    micro: Sampling = field(default_factory=lambda: Sampling(stop=("</action>",)))


class FlatAgent:
    """Answers every observation with an action.

    Args:
        spec: the world.
        settings: limits, context mode, sampling.
        system: the system prompt; None takes the flat agent's.
        notes: what the first message says after the task; "" says nothing.
    """

    def __init__(
        self, spec: EnvSpec, settings: FlatSettings, *, system: Message | None = None, notes: str = ""
    ) -> None:
        self.stop: StopReason | None = None
        self.segment = 0
        self.subgoal = ""
        self.blueprint: Blueprint | None = None
        self._spec, self._settings, self._notes = spec, settings, notes
        self._memory = Memory(settings.context, system or flat_system(spec), last_pairs=settings.last_pairs)
        self._calls = self._steps = 0

    def start(self, observation: Observation) -> None:
        head = (
            ""
            if not self._spec.goal and self._settings.context != "step"
            else (f"Task: {self._spec.goal or observation.text}")
        )
        head = "\n\n".join(part for part in (head, self._notes) if part)
        self._memory.open_segment(head, observation_view(self._spec, observation))

    def prompt(self) -> Ask:
        fresh, messages = self._memory.question()
        return Ask(role="micro", fresh=fresh, messages=messages, sampling=self._settings.micro)

    def receive(self, text: str) -> Reply:
        self._calls += 1
        action, _ = read_turn(text)
        if action is None:
            self._memory.remember(text, NOTHING)
            self._after_step()
            return Reply(readable=False)
        self._answer = text
        return Reply(action=action)

    def observe(self, result: StepResult) -> None:
        self._memory.remember(self._answer, observation_view(self._spec, result.observation))
        if result.terminated or result.truncated:
            self.stop = ending(result)
        else:
            self._after_step()

    def _after_step(self) -> None:
        self._steps += 1
        if self._steps >= self._settings.limits.max_steps:
            self.stop = StopReason.MAX_STEPS
        elif self._calls >= self._settings.limits.calls:
            self.stop = StopReason.MAX_CALLS
