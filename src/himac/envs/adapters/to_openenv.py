"""himac's worlds as an OpenEnv server, for trainers of others; needs the extra "openenv".

    # sokoban_server.py
    from himac.envs.adapters.to_openenv import create_app
    app = create_app("sokoban", boxes=1)      # uvicorn sokoban_server:app --port 8000

`reset(seed=...)` draws a task, `reset(split=..., index=...)` asks for a certain one, as OpenEnv's Task API has it. The first observation holds what an agent is told of the world (`rules`, `goal`). A world with pictures sends them as PNG in
a data URL.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from himac.envs.base import Env, make_env
from himac.errors import ConfigError, missing_extra
from himac.images import Album, data_url
from himac.types import Observation, StepResult, Task

try:
    from openenv.core.env_server import http_server
    from openenv.core.env_server.interfaces import Environment
    from openenv.core.env_server.types import Action, EnvironmentMetadata, State
    from openenv.core.env_server.types import Observation as ServedObservation
    from pydantic import Field
except ImportError:
    raise missing_extra("openenv", "openenv", "himac.envs.adapters.to_openenv") from None


class TextAction(Action):
    """An action in the world's own words."""

    text: str = Field(description="the action, in the world's own words")


class TextObservation(ServedObservation):
    """What a world shows."""

    text: str = Field(default="", description="the world's text")
    image: str = Field(default="", description="its picture, PNG in a data URL")
    admissible: list[str] | None = Field(
        default=None, description="every valid action, where the world lists them"
    )
    valid: bool = Field(default=True, description="the last action was one; if not, nothing happened")
    success: bool = Field(default=False, description="the task is solved")
    score: float = Field(default=0.0, description="graded result in [0, 1]")
    truncated: bool = Field(default=False, description="done by the step limit, not by the task's own end")


class HimacEnvironment(Environment[TextAction, TextObservation, State]):
    """A split of a himac world, one episode at a time."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, env: Env, *, split: str | None = None) -> None:
        """Serve an environment.

        Args:
            env: what to serve; each session needs one of its own.
            split: whose tasks, where `reset` names none; None: the training split.

        Raises:
            ConfigError: no such split, or one without tasks.
        """
        super().__init__()
        self._env = env
        self._split = env.spec.train_split if split is None else split
        self._tasks: dict[str, Sequence[Task]] = {}
        self._tasks_of(self._split)
        self._state = State()

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        index: int | None = None,
        split: str | None = None,
        **kwargs: Any,
    ) -> TextObservation:
        """Start a task: the split's `index`-th, or one that the seed draws; without a seed, any."""
        tasks = self._tasks_of(self._split if split is None else split)
        drawn = random.Random(seed).randrange(len(tasks)) if index is None else index
        if not 0 <= drawn < len(tasks):
            raise ConfigError(f"index must be from 0 to {len(tasks) - 1}, got {index!r}")
        task, spec = tasks[drawn], self._env.spec
        self._state = State(episode_id=episode_id, step_count=0)
        told = {
            "rules": spec.rules,
            "goal": spec.goal,
            "split": task.split,
            "index": task.index,
            "max_steps": spec.max_steps,
        }
        return TextObservation(**_shown(self._env.reset(task)), metadata=told)

    def step(self, action: TextAction, timeout_s: float | None = None, **kwargs: Any) -> TextObservation:
        """Carry out one action."""
        result: StepResult = self._env.step(action.text)
        self._state.step_count += 1
        return TextObservation(
            **_shown(result.observation),
            done=result.terminated or result.truncated,
            reward=float(result.reward),
            valid=result.valid,
            success=result.success,
            score=float(result.score),
            truncated=result.truncated,
        )

    @property
    def state(self) -> State:
        """The episode's name and how many steps it has taken."""
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        """Return the world's name and rules."""
        return EnvironmentMetadata(name=self._env.spec.name, description=self._env.spec.rules)

    def close(self) -> None:
        """Close the world."""
        self._env.close()

    def list_splits(self) -> list[str]:
        """Return the names that `reset` takes as `split`."""
        return list(self._env.spec.splits)

    def num_tasks(self, split: str) -> int:
        """Return how many tasks a split has."""
        return len(self._tasks_of(split))

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """Return all tasks of a split."""
        return self.get_task_range(split)

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """Return what names a task; IndexError beyond the split's end, as OpenEnv asks."""
        if index < 0:
            raise IndexError(index)
        task = self._tasks_of(split)[index]
        return {"split": task.split, "index": task.index, "kind": task.kind}

    def get_task_range(
        self, split: str, start: int | None = None, stop: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the tasks from `start` to before `stop`."""
        return [self.get_task(split, task.index) for task in self._tasks_of(split)[start:stop]]

    def _tasks_of(self, split: str) -> Sequence[Task]:
        if split not in self._tasks:
            self._tasks[split] = self._env.tasks(split)
        if not self._tasks[split]:
            raise ConfigError(f"split {split!r} of {self._env.spec.name} has no task")
        return self._tasks[split]


def create_app(name: str, *, split: str | None = None, max_sessions: int = 128, **settings: Any) -> Any:
    """Return a FastAPI application that serves a world to OpenEnv clients.

    Args:
        name: as for `make_env`.
        split: whose tasks, where `reset` names none; None: the training split.
        max_sessions: episodes at once.
        **settings: the world's own.

    Raises:
        ConfigError: as for `make_env`, or no such split.
    """

    def serve() -> HimacEnvironment:
        return HimacEnvironment(make_env(name, **settings), split=split)

    serve().close()  # what is wrong with the settings is said now, not to the first client
    return http_server.create_app(
        serve, TextAction, TextObservation, env_name=name, max_concurrent_envs=max_sessions
    )


def _shown(observation: Observation) -> dict[str, Any]:
    image = ""
    if observation.image is not None:
        album = Album()
        album.tag(observation.image)
        image = data_url(album.png(album.names()[0]))
    admissible = None if observation.admissible is None else list(observation.admissible)
    return {"text": observation.text, "image": image, "admissible": admissible}
