"""What the worlds of all other libraries have in common once they stand in himac.

A task is a seed; the splits share none. The step limit, the end of an episode and the refusal of an action are himac's,
the rest is the library's: an adapter says how its world begins and what it answers to one action.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from himac.errors import ConfigError, EnvError, closest
from himac.plugins import resolve
from himac.text import whole
from himac.toml import Positive
from himac.types import EnvSpec, Observation, StepResult, Task

_MARKED = re.compile(r"\x1b\[(?:[\d;]*;)?(?:7|4[0-7]|10[0-7])m([^\x1b]*)\x1b\[[\d;]*m")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a world of another library answers to one action, in himac's words."""

    observation: Observation
    reward: float = 0.0
    terminated: bool = False  # the world's own end; where it also says truncated, this holds
    truncated: bool = False
    success: bool = False
    score: float | None = None  # in [0, 1]; None: float(success)
    valid: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a recipe has to say of a world that himac does not know; each library's settings add to it."""

    rules: str = ""  # needed: what the world is and which actions exist, for the system prompt
    example_subgoals: tuple[str, ...] = ()  # needed: two or three sub-goals in the world's own words
    goal: str = ""  # the task in words where all tasks share it; "": the first observation states it
    max_steps: Positive = 50  # steps of an episode
    reward_success: float = 1.0  # what a solved task pays
    list_admissible: bool = True  # prompts list the actions, where the world lists them
    splits: dict[str, Positive] = field(  # split -> number of tasks
        default_factory=lambda: {"train": 1000, "val": 100, "test": 100}
    )

    def spec(self, name: str, *, deterministic: bool, images: bool = False) -> EnvSpec:
        """Return it as a spec.

        Raises:
            ConfigError: something that is needed was left out.
        """
        for needed in ("rules", "example_subgoals", "splits"):
            if not getattr(self, needed):
                raise ConfigError(
                    f"env.{needed} has to be given: himac does not know {name!r}",
                    hint="agents are told the rules, and plan in the words of the example sub-goals",
                )
        return EnvSpec(
            name=name,
            rules=self.rules,
            example_subgoals=self.example_subgoals,
            max_steps=self.max_steps,
            list_admissible=self.list_admissible,
            splits=tuple(self.splits),
            reward_success=self.reward_success,
            goal=self.goal,
            deterministic=deterministic,
            images=images,
        )


class Adapter(ABC):
    """A world of another library as a himac `Env`.

    Task i of each split is a seed of its own, and what `reset` is asked to draw with changes nothing. An action that
    the world does not take is a step in which nothing happens.
    """

    def __init__(self, spec: EnvSpec, sizes: Mapping[str, int]) -> None:
        """Begin an adapter.

        Args:
            spec: what agents are told; its splits must be those of `sizes`.
            sizes: split -> number of tasks.

        Raises:
            ConfigError: the splits differ.
        """
        if tuple(sizes) != tuple(spec.splits):
            raise ConfigError(f"sizes must name the spec's splits {spec.splits}, got {tuple(sizes)}")
        self.spec = spec
        self._sizes = dict(sizes)
        self._last: Observation | None = None  # None: no episode is under way
        self._num_steps = 0
        self._closed = False

    def tasks(self, split: str) -> Sequence[Task]:
        """Return the split's tasks in their fixed order."""
        if split not in self._sizes:
            raise ConfigError(
                f"unknown split {split!r} of {self.spec.name}; "
                f"known: {', '.join(self._sizes)}{closest(split, self._sizes)}"
            )
        return tuple(Task(env=self.spec.name, split=split, index=i) for i in range(self._sizes[split]))

    def seed_of(self, task: Task) -> int:
        """Return a task's seed; no two tasks of the splits share one."""
        return task.index * len(self._sizes) + list(self._sizes).index(task.split)

    def reset(self, task: Task, *, seed: int = 0) -> Observation:
        """Start a task; the seed changes nothing, the task is one."""
        self._last = None
        self._num_steps = 0
        self._last = self._begin(task)
        return self._last

    def step(self, action: str) -> StepResult:
        """Carry out one action in words."""
        if self._last is None:
            raise EnvError(f"{self.spec.name}: step called before reset or after the episode's end")
        answer = self._act(whole(action.strip())) or Answer(observation=self._last, valid=False)
        self._num_steps += 1
        is_late = answer.truncated or self._num_steps >= self.spec.max_steps
        truncated = not answer.terminated and is_late
        self._last = None if answer.terminated or truncated else answer.observation
        return StepResult(
            observation=answer.observation,
            reward=answer.reward,
            terminated=answer.terminated,
            truncated=truncated,
            success=answer.success,
            score=float(answer.success) if answer.score is None else answer.score,
            valid=answer.valid,
        )

    def close(self) -> None:
        """Close the wrapped world, once."""
        if not self._closed:
            self._closed = True
            self._end()

    @abstractmethod
    def _begin(self, task: Task) -> Observation:
        """Start a task's episode, by its seed, and return what is seen first."""

    @abstractmethod
    def _act(self, action: str) -> Answer | None:
        """Carry out an action; None: the world does not take it, and it was not passed on."""

    @abstractmethod
    def _end(self) -> None:
        """Release what the world holds."""


def plain(text: str) -> str:
    r"""Return a world's text without terminal escapes; what a background colour marked stands in brackets.

    A colour that marks a place (FrozenLake's player) says something, and a model sees no colours.

    >>> plain("S\x1b[41mF\x1b[0mH \x1b[1;32mgreen\x1b[0m")
    'S[F]H green'
    """
    if "\x1b" in text:
        text = _ESCAPE.sub("", _MARKED.sub(r"[\1]", text))
    return whole(text)


def listed(commands: Any, where: str) -> tuple[str, ...] | None:
    """Return the admissible actions that a world lists, each once and without space around it; None where it lists none.

    Raises:
        EnvError: it is no list of texts.
    """
    if commands is None:
        return None
    if isinstance(commands, str) or not all(isinstance(command, str) for command in commands):
        raise EnvError(f"{where} must be a list of texts, got {commands!r}")
    found = (plain(command).strip() for command in commands)
    return tuple(dict.fromkeys(command for command in found if command))


def function(path: str, setting: str) -> Callable[..., Any]:
    """Return the function that a setting names by its import path.

    Raises:
        ConfigError: no import path, nothing there, or nothing that can be called.
    """
    if ":" not in path:
        raise ConfigError(f"{setting} must be package.module:function, got {path!r}")
    found: Any = resolve("envs", path)
    if not callable(found):
        raise ConfigError(f"{setting} {path!r} must be a function, got {type(found).__name__}")
    called: Callable[..., Any] = found
    return called
