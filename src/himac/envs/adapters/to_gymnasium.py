"""himac's worlds for gymnasium code; needs the extra "gym".

A task is what gymnasium picks with a seed. Importing this module registers `himac/Sokoban-v0` and `himac/Toy-v0`:

    import gymnasium, himac.envs.adapters.to_gymnasium
    env = gymnasium.make("himac/Sokoban-v0", size=(6, 6), boxes=2, split="train")

The other direction is in `adapters/gymnasium.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from himac.envs.base import Env, make_env
from himac.errors import ConfigError, missing_extra

try:
    import gymnasium
except ImportError:
    raise missing_extra("gymnasium", "gym", "himac.envs.adapters.to_gymnasium") from None

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
