"""The Env protocol and the table of environments.

An environment is deterministic for (task, seed, actions), speaks text, and never crashes on an
action: what it cannot carry out is a step with `valid=False`. Observations carry the world's exact text;
prompts are the agents' affair, save for the one `EnvSpec` that tells an agent what the world is about.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from himac.envs.splits import SEALED
from himac.errors import ConfigError
from himac.plugins import KNOWN, register, resolve
from himac.toml import Table, call, check_settings
from himac.types import Demonstration, EnvSpec, Observation, StepResult, Task


@runtime_checkable
class Env(Protocol):
    """One world holding one episode at a time.

    It may also offer `expert() -> Expert`, a solver whose demonstrations start a model, a property `provenance`,
    `describe(*, brief: bool = False) -> str` (see `Describes`) and `board() -> str` (see `Draws`).

    Cheap to construct: whatever is heavy (indices, catalogues, parsed games) is shared by all instances
    that were made with the same arguments.
    """

    spec: EnvSpec

    def tasks(self, split: str) -> Sequence[Task]:
        """Return the split's tasks in their fixed, machine-independent order.

        Raises:
            ConfigError: unknown split.
        """
        ...

    def reset(self, task: Task, *, seed: int = 0) -> Observation:
        """Start the task's episode and return the first observation (instruction included)."""
        ...

    def step(self, action: str) -> StepResult:
        """Carry out one action.

        Raises:
            EnvError: called before `reset` or after the episode's end.
        """
        ...

    def close(self) -> None:
        """Release what the instance holds. Closing twice is allowed."""
        ...


@runtime_checkable
class Describes(Protocol):
    """An environment that says in words what is to be seen: what a model that sees learns to see by, and to think."""

    def describe(self, *, brief: bool = False) -> str:
        """Return the state of the episode in words; brief: what the next step needs."""
        ...


MOST_BOARD = 4000
"""Characters of a board; what is longer is not drawn, for a run has thousands of them."""


@runtime_checkable
class Draws(Protocol):
    """An environment that shows people where things stand, whatever it shows to a model."""

    def board(self) -> str:
        """Return the state of the episode as rows of text, for reports, `himac show` and `himac play`.

        It is asked for after `reset` and after every step, the last one too. Rows of at most 80 characters fit a terminal.
        """
        ...


@runtime_checkable
class Seals(Protocol):
    """An environment with tasks that training and tuning cannot touch.

    `tasks` refuses the split "sealed"; only `himac compare PLAN --unseal` asks for it, once, when all runs are done. They come
    from other seeds of the generator and are none of the tasks in any other split.
    """

    def sealed(self) -> Sequence[Task]:
        """Return the tasks of the split "sealed", which `reset` takes.

        Raises:
            ConfigError: these settings leave none, for example because tasks are read from files.
        """
        ...


@runtime_checkable
class Expert(Protocol):
    """A solver that can demonstrate."""

    def demonstrate(self, task: Task, *, seed: int, noise: float) -> Demonstration | None:
        """Play the task to its end, or return None when the expert cannot solve it.

        Args:
            task: what to play.
            seed: of the noise (and of the expert's own choices, if any).
            noise: probability that an action is replaced by a random valid one, marked `is_noise`.
        """
        ...


@runtime_checkable
class CarelessExpert(Protocol):
    """An expert that can also stop short of what the task asks for, see `sft.careless`."""

    def careless(self, task: Task, *, seed: int, noise: float) -> Demonstration | None:
        """Play as well as `demonstrate` does, but leave out something that the task asks for.

        Args:
            task: what to play.
            seed: as in `Expert.demonstrate`.
            noise: as in `Expert.demonstrate`.
        """
        ...


__all__ = [
    "CarelessExpert",
    "Draws",
    "Env",
    "EnvSpec",
    "Expert",
    "Seals",
    "env_names",
    "make_env",
    "make_expert",
    "provenance",
    "register_env",
    "tasks_of",
]


def make_env(name: str, **settings: Any) -> Env:
    """Make an environment by name.

    >>> make_env("sokoban", size=(6, 6), boxes=1).spec.max_steps
    15

    Args:
        name: a short name, `package.module:Object`, or an entry point in himac.envs. The object is a class or function
            that takes settings by keyword, or one dataclass of them called `settings`.
        **settings: the world's own.

    Raises:
        ConfigError: unknown name or setting, or a value it does not allow.
        MissingExtraError: the environment needs a package that is not installed.
    """
    env: Env = call(resolve("envs", name), _plain(settings), "env")
    return env


def check_env_settings(name: str, settings: Table) -> None:
    """Refuse what `make_env` would refuse of names, types and ranges, without opening the world.

    Raises:
        ConfigError: as for `make_env`.
    """
    check_settings(resolve("envs", name), _plain(settings), "env")


def make_expert(name: str, env: Env) -> Expert:
    """Make the solver that demonstrates in `env`.

    Raises:
        ConfigError: the environment has no expert.
    """
    offered: Callable[[], Expert] | None = getattr(env, "expert", None)
    if offered is None:
        raise ConfigError(f"environment {name!r} has no expert", hint="bring demonstrations of your own")
    return offered()


def provenance(env: Env) -> Table:
    """Return what every result made in a world has to be reported with; {} where the world has nothing to say.

    A world says it with a property `provenance`: data, variant of the reward, protocol of the splits. A true
    `splits_overlap` makes every table warn that tasks of the evaluation were trained on.
    """
    return dict(getattr(env, "provenance", {}))


def tasks_of(env: Env, split: str) -> Sequence[Task]:
    """Return a split's tasks, those of the sealed split included: for whoever draws it and records that it did.

    Raises:
        ConfigError: unknown split, or a world without a sealed one.
    """
    if split != SEALED:
        return env.tasks(split)
    if not isinstance(env, Seals):
        raise ConfigError(
            f"{env.spec.name} has no sealed split", hint="give the environment a method sealed() -> tasks"
        )
    return env.sealed()


def register_env(name: str, path: str) -> None:
    """Make an environment of your own known under `name` in this process.

    Args:
        name: what recipes call it.
        path: `package.module:Object`; without an object, the module's `make`.
    """
    register("envs", name, path if ":" in path else f"{path}:make")


def env_names() -> tuple[str, ...]:
    """Return the known short names."""
    return tuple(KNOWN["envs"])


def _plain(settings: Table) -> Table:
    """Return settings as a recipe would hold them: paths are text."""
    return {key: os.fspath(v) if isinstance(v, os.PathLike) else v for key, v in settings.items()}
