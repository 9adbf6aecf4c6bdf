"""The Agent protocol.

One idea: an agent is a state machine without I/O. It says what to ask next, is told what the model wrote,
returns an action for the environment, and is told what came of it. So one loop serves every agent and
engine, and the whole hierarchy is tested without a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from himac.types import Blueprint, Message, Observation, Role, Sampling, StepResult, StopReason

ContextMode = Literal["segment", "full", "step"]
"""How much the executor remembers: its active sub-goal, the whole episode, or the last few pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What to ask the model next."""

    role: Role
    fresh: bool  # True: a new context opens with `messages`; False: they continue the open one
    messages: tuple[Message, ...]  # fresh: system and user; otherwise one user message
    sampling: Sampling  # its seed is the collector's to fill in


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a completion meant."""

    action: str | None = None  # for the environment; None when it takes no step
    blueprint: Blueprint | None = None  # the completion was the planner's
    sub_done: bool = False  # the executor declared its sub-goal complete
    readable: bool = True  # the completion followed the format


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What ends a segment or an episode, whatever the model writes."""

    max_steps: int = 50  # steps of an episode; an unreadable answer counts as one
    max_calls: int = 0  # completions of an episode; 0 means 2 x max_steps + max_subgoals + 1
    max_subgoals: int = 8  # longer blueprints are cut
    subgoal_turns: int = 15  # turns under one sub-goal before the fallback advances it

    @property
    def calls(self) -> int:
        """The effective limit on completions."""
        return self.max_calls or 2 * self.max_steps + self.max_subgoals + 1


class Agent(Protocol):
    """Decides for one episode.

    The order is `start`, then `prompt` and `receive` in turn, with `observe` after each `receive` that
    returned an action, until `stop` is set.
    """

    @property
    def stop(self) -> StopReason | None:
        """Why the agent has ended the episode; None while it goes on."""
        ...

    @property
    def blueprint(self) -> Blueprint | None:
        """The plan being carried out; None before there is one, and for flat agents."""
        ...

    @property
    def segment(self) -> int:
        """Index of the active sub-goal; len(subgoals) is "finish the task"; 0 when flat."""
        ...

    @property
    def subgoal(self) -> str:
        """Text of the active sub-goal; "" when flat."""
        ...

    def start(self, observation: Observation) -> None:
        """Take the first observation."""
        ...

    def prompt(self) -> Ask:
        """Say what to ask next."""
        ...

    def receive(self, text: str) -> Reply:
        """Take what the model wrote."""
        ...

    def observe(self, result: StepResult) -> None:
        """Take what the environment answered to the last action."""
        ...


def ending(result: StepResult) -> StopReason:
    """Name the environment's own end."""
    if result.success:
        return StopReason.SUCCESS
    return StopReason.FAILURE if result.terminated else StopReason.TRUNCATED
