"""The Agent protocol.

An agent is a state machine without I/O. It says what to ask next, is told what the model wrote,
returns an action for the environment, and is told what came of it. So one loop serves every agent and
engine, and the whole hierarchy is tested without a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from himac.config import AgentConfig
from himac.types import Blueprint, EnvSpec, Message, Observation, Role, Sampling, StepResult, StopReason

ContextMode = Literal["segment", "carry", "full", "step"]
"""How much the executor remembers: its active sub-goal; that and how each earlier one ended; the whole episode; or the
last few pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
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
class Assignment:
    """What one episode asks of its agent."""

    planner_temperature: float = 0.0  # 0 is greedy
    executor_temperature: float = 0.0
    blueprint: Blueprint | None = None  # to carry out; None: an agent that plans writes its own
    notes: tuple[str, ...] = ()  # of earlier trials of the task, the oldest first
    is_last: bool = True  # no further trial of the task follows


GREEDY = Assignment()


def step_limit(spec: EnvSpec, cfg: AgentConfig) -> int:
    """Return the most steps of an episode; an unreadable answer counts as one."""
    return cfg.max_steps or spec.max_steps


def call_limit(spec: EnvSpec, cfg: AgentConfig) -> int:
    """Return the most completions of an episode: each step may follow a `<sub_done>`, and a blueprint comes first."""
    return 2 * step_limit(spec, cfg) + cfg.max_subgoals + 1


class Agent(Protocol):
    """Decides for one episode.

    An agent is made anew for each: `MyAgent(spec: EnvSpec, cfg: AgentConfig, assignment: Assignment)`. Two class
    attributes say how it is trained: `plans` (it writes a blueprint first, so planner and executor take turns; left out:
    False) and `is_trained` (False: it prompts a frozen model; left out: True).

    The order is `start`, then `ask` and `receive` in turn, with `observe` after each `receive` that
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

    def ask(self) -> Query:
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
