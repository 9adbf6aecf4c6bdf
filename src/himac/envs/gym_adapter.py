"""Between himac's Env and gymnasium's, both ways; needs the extra "gym".

A task is what gymnasium picks with a seed. `ToGym` serves a split of a himac environment to
gymnasium code; `FromGym` serves a gymnasium environment with few named actions to himac, each (split,
index) being a seed of its own. Importing this module registers `himac/Sokoban-v0` and `himac/Toy-v0`:

    import gymnasium, himac.envs.gym_adapter
    env = gymnasium.make("himac/Sokoban-v0", size=(6, 6), boxes=2, split="train")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from himac.envs.base import Env, make_env
from himac.errors import ConfigError, EnvError, closest, missing_extra
from himac.types import EnvSpec, Observation, StepResult, Task

try:
    import gymnasium
except ImportError:
    raise missing_extra("gymnasium", "gym", "himac.envs.gym_adapter") from None

_CHARSET = "\t\n" + "".join(chr(code) for code in (*range(0x20, 0x250), *range(0x2000, 0x2300)))
_MAX_CHARS = 20_000  # longest text in an observation or an action


class ToGym(gymnasium.Env):
    """A split of a himac environment as a `gymnasium.Env`.

    `reset` draws the task with gymnasium's seed; `options={"index": i}` asks for a certain one. `info` holds task, success, score,
    valid and the admissible actions.
    """

    def __init__(
        self,
        env: Env,
        *,
        split: str = "train",
        actions: Sequence[str] | None = None,
        observation: Literal["text", "image"] = "text",
        render_mode: str | None = None,
    ) -> None:
        """Wrap an environment.

        Args:
            env: what to serve.
            split: whose tasks.
            actions: fixed list of actions, served as Discrete; None: actions are text.
            observation: what gymnasium code sees of himac's observations.
            render_mode: "ansi" (the text), "rgb_array" (the image) or None.

        Raises:
            ConfigError: no such split or mode, or an image is asked for and the environment gives none.
        """
        self.env = env
        self.render_mode = render_mode
        self._tasks = env.tasks(split)
        if not self._tasks:
            raise ConfigError(f"split {split!r} of {env.spec.name} has no task")
        self._actions = tuple(actions) if actions is not None else None
        self._show_image = observation == "image"
        self._last = env.reset(self._tasks[0])
        image = self._last.image
        modes = ["ansi"] if image is None else ["ansi", "rgb_array"]
        if render_mode not in (None, *modes) or (self._show_image and image is None):
            raise ConfigError(
                f"{env.spec.name} as made gives no image for observation={observation!r}, "
                f"render_mode={render_mode!r}; render modes: {', '.join(modes)}",
                hint="make it with image=True, where it has one",
            )
        self.metadata = {"render_modes": modes, "render_fps": 4}
        text = gymnasium.spaces.Text(min_length=0, max_length=_MAX_CHARS, charset=_CHARSET)
        self.action_space = gymnasium.spaces.Discrete(len(actions)) if actions is not None else text
        self.observation_space = text
        if self._show_image and image is not None:
            self.observation_space = gymnasium.spaces.Box(0, 255, shape=image.shape, dtype=np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start a task: `options["index"]`, or one drawn with the seed."""
        super().reset(seed=seed)
        index = (options or {}).get("index")
        if index is None:
            index = int(self.np_random.integers(len(self._tasks)))
        elif not 0 <= index < len(self._tasks):
            raise ConfigError(f"options['index'] must be from 0 to {len(self._tasks) - 1}, got {index!r}")
        task = self._tasks[index]
        self._last = self.env.reset(task, seed=index)
        return self._shown(), {"task": task, "admissible": self._last.admissible}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Carry out one action: an index into the fixed actions, or text."""
        result = self.env.step(self._actions[int(action)] if self._actions is not None else str(action))
        self._last = result.observation
        info = {
            "success": result.success,
            "score": result.score,
            "valid": result.valid,
            "admissible": self._last.admissible,
        }
        return self._shown(), float(result.reward), result.terminated, result.truncated, info

    def render(self) -> Any:
        """Return the last observation's text or image, as `render_mode` says."""
        if self.render_mode == "ansi":
            return self._last.text
        return self._last.image if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the wrapped environment."""
        self.env.close()

    def _shown(self) -> Any:
        return self._last.image if self._show_image else self._last.text


class FromGym:
    """A `gymnasium.Env` with a few named actions as a himac `Env`.

    Task `i` of each split is a seed of gymnasium's `reset`; no seed serves two splits. An unknown action is
    a step in which nothing happens: it is not passed on, and costs nothing but the step.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        *,
        spec: EnvSpec,
        actions: Mapping[str, Any],
        describe: Callable[[Any], str],
        is_success: Callable[[float, bool, dict[str, Any]], bool],
        sizes: Mapping[str, int],
        picture: Callable[[Any], np.ndarray] | None = None,
    ) -> None:
        """Wrap an environment.

        Args:
            env: what to serve.
            spec: what agents are told; its splits must be those of `sizes`.
            actions: action in words -> gymnasium's action.
            describe: writes gymnasium's observation as text.
            is_success: says from a step's (reward, terminated, info) whether the task is solved.
            sizes: split -> number of tasks.
            picture: makes an image, (H, W, 3) uint8, of gymnasium's observation (`lambda shown: shown` where it is one);
                needs `spec.images`.
        """
        if spec.images != (picture is not None):
            raise ConfigError(
                f"{spec.name}: spec.images is {spec.images}, and picture is {'given' if picture else 'not given'}"
            )
        if tuple(sizes) != tuple(spec.splits):
            raise ConfigError(f"sizes must name the spec's splits {spec.splits}, got {tuple(sizes)}")
        self.spec = spec
        self._env = env
        self._actions = dict(actions)
        self._describe, self._picture = describe, picture
        self._is_success = is_success
        self._sizes = dict(sizes)
        self._last: Observation | None = None  # None: no episode is under way
        self._num_steps = 0

    def tasks(self, split: str) -> Sequence[Task]:
        """Return the split's tasks in their fixed order."""
        if split not in self._sizes:
            raise ConfigError(
                f"unknown split {split!r} of {self.spec.name}; "
                f"known: {', '.join(self._sizes)}{closest(split, self._sizes)}"
            )
        return tuple(Task(env=self.spec.name, split=split, index=i) for i in range(self._sizes[split]))

    def reset(self, task: Task, *, seed: int = 0) -> Observation:
        """Start a task; the seed changes nothing, the task is one."""
        position = list(self._sizes).index(task.split)
        shown, _ = self._env.reset(seed=task.index * len(self._sizes) + position)
        self._num_steps = 0
        self._last = self._observe(shown)
        return self._last

    def step(self, action: str) -> StepResult:
        """Carry out one action in words."""
        if self._last is None:
            raise EnvError(f"{self.spec.name}: step called before reset or after the episode's end")
        word = action.strip()
        valid = word in self._actions
        reward, terminated, truncated, success = 0.0, False, False, False
        if valid:
            shown, given, terminated, truncated, info = self._env.step(self._actions[word])
            reward, terminated, truncated = float(given), bool(terminated), bool(truncated)
            success = bool(self._is_success(reward, terminated, info))
            self._last = self._observe(shown)
        self._num_steps += 1
        truncated = not terminated and (truncated or self._num_steps >= self.spec.max_steps)
        observation = self._last
        if terminated or truncated:
            self._last = None
        return StepResult(
            observation=observation,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            success=success,
            score=float(success),
            valid=valid,
        )

    def close(self) -> None:
        """Close the wrapped environment."""
        self._env.close()

    def _observe(self, shown: Any) -> Observation:
        image = np.asarray(self._picture(shown), np.uint8) if self._picture is not None else None
        return Observation(text=self._describe(shown), image=image, admissible=tuple(self._actions))


def make_sokoban(
    *, split: str = "train", image: bool = False, render_mode: str | None = None, **settings: Any
) -> ToGym:
    """Make `himac/Sokoban-v0`: four discrete actions, text or image; settings as for `make_env("sokoban")`."""
    env = make_env("sokoban", image=image or render_mode == "rgb_array", **settings)
    observation: Literal["text", "image"] = "image" if image else "text"
    return ToGym(
        env,
        split=split,
        actions=("up", "down", "left", "right"),
        observation=observation,
        render_mode=render_mode,
    )


def make_toy(*, split: str = "train", render_mode: str | None = None, **settings: Any) -> ToGym:
    """Make `himac/Toy-v0`: actions are text; settings as for `make_env("toy")`."""
    return ToGym(make_env("toy", **settings), split=split, render_mode=render_mode)


def register_envs() -> None:
    """Register himac's environments with gymnasium; done once, when this module is imported."""
    for name, entry_point in (("himac/Sokoban-v0", make_sokoban), ("himac/Toy-v0", make_toy)):
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point=entry_point)


register_envs()
