"""The Env protocol and the table of environments.

One idea: an environment is deterministic for (task, seed, actions), speaks text, and never crashes on an
action: what it cannot carry out is a step with `valid=False`. Observations carry the world's exact text;
prompts are the agents' affair, save for the one `EnvSpec` that tells an agent what the world is about.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from himac.errors import ConfigError, closest
from himac.types import Demonstration, EnvSpec, Observation, StepResult, Task


@runtime_checkable
class Env(Protocol):
    """One world holding one episode at a time.

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
class Expert(Protocol):
    """A solver that can demonstrate. Environments that have one expose it as `module.expert(env)`."""

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
    "Env",
    "EnvSpec",
    "Expert",
    "env_names",
    "make_env",
    "make_expert",
    "provenance",
    "register_env",
]

_MODULES = {
    "toy": "himac.envs.toy",
    "sokoban": "himac.envs.sokoban",
    "alfworld": "himac.envs.alfworld",
    "webshop": "himac.envs.webshop",
}
"""Name -> module. Each module has `make(**settings) -> Env`; most have `expert(env) -> Expert`."""


def make_env(name: str, **settings: Any) -> Env:
    """Make an environment by name.

    >>> make_env("sokoban", size=(6, 6), boxes=1).spec.max_steps
    15

    Raises:
        ConfigError: unknown name or setting.
        MissingExtraError: the environment needs a package that is not installed.
    """
    make = _module(name).make
    known = inspect.signature(make).parameters
    for key in settings:
        if key not in known:
            raise ConfigError(
                f"environment {name!r} has no setting {key!r}; known: {', '.join(known)}{closest(key, known)}"
            )
    return make(**settings)


def check_env_settings(name: str, settings: dict[str, Any]) -> None:
    _module(name)


def make_expert(name: str, env: Env) -> Expert:
    """Make the solver that demonstrates in `env`.

    Raises:
        ConfigError: the environment has no expert.
    """
    module = _module(name)
    if not hasattr(module, "expert"):
        raise ConfigError(f"environment {name!r} has no expert", hint="bring demonstrations of your own")
    return module.expert(env)


def provenance(env: Env) -> dict[str, Any]:
    """Return what every result made in a world has to be reported with; {} where the world has nothing to say.

    A world says it with a property `provenance`: data, variant of the reward, protocol of the splits. A true
    `splits_overlap` makes every table warn that tasks of the evaluation were trained on.
    """
    return dict(getattr(env, "provenance", {}))


def register_env(name: str, module: str) -> None:
    """Make an environment of your own known under `name`; `module` is its dotted path."""
    _MODULES[name] = module


def env_names() -> tuple[str, ...]:
    """Return the known environment names."""
    return tuple(_MODULES)


def _module(name: str) -> Any:
    if name not in _MODULES:
        raise ConfigError(
            f"unknown environment {name!r}; known: {', '.join(_MODULES)}{closest(name, _MODULES)}"
        )
    return importlib.import_module(_MODULES[name])
