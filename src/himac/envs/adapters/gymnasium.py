"""Gymnasium's worlds in himac; needs the extra "gym".

    [env]
    name = "gym"                              # or from Python: FromGym(gymnasium.make(...), spec=..., sizes=...)
    id = "FrozenLake-v1"
    options = { is_slippery = false, render_mode = "ansi" }
    actions = ["left", "down", "right", "up"]

Actions are words for values of the action space, or free text where the space is Text. What can be done now is read from
`info["admissible_commands"]`, as TextWorld and ALFWorld give it. An observation is a text, one entry of a Dict that is a
text, what `render()` writes, what a function of yours makes of it, a picture, or both.

Left out: vector environments and several agents.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from himac.envs.adapters.base import Adapter, Answer, Told, function, listed, plain
from himac.errors import ConfigError, EnvError, missing_extra
from himac.text import line
from himac.types import EnvSpec, Observation, Task

try:
    import gymnasium
    from gymnasium import spaces
except ImportError:
    raise missing_extra("gymnasium", "gym", "himac.envs.adapters.gymnasium") from None

Look = Callable[[Any, dict[str, Any]], Any]
"""Makes something to show of (observation, info)."""
_TEXT_KEYS = (
    "text",
    "feedback",
    "description",
    "mission",
)  # tried in this order where a Dict has several texts


class FromGym(Adapter):
    """A `gymnasium.Env` as a himac `Env`.

    Task `i` of each split is a seed of gymnasium's `reset`. An action that is neither among the named, nor listed, nor a
    text of the action space is a step in which nothing happens: it is not passed on. Where the world itself says
    `info["valid"]`, that counts too.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        *,
        spec: EnvSpec,
        sizes: Mapping[str, int],
        actions: Mapping[str, Any] | None = None,
        describe: Callable[..., str] | None = None,
        is_success: Callable[[float, bool, dict[str, Any]], bool] | None = None,
        picture: Callable[..., np.ndarray] | None = None,
    ) -> None:
        """Wrap an environment.

        Args:
            env: what to serve.
            spec: what agents are told; its splits must be those of `sizes`.
            sizes: split -> number of tasks.
            actions: action in words -> gymnasium's action; None: the action space is Text.
            describe: writes an observation as text, from as many of (observation, info, env) as it takes; None: the
                observation is a text, or a Dict with one, or `env.render()` writes it (render_mode "ansi").
            is_success: says from a step's (reward, terminated, info) whether the task is solved; None: as
                `info["won"]`, `["success"]` or `["is_success"]` says, or else terminated with a reward above 0.
            picture: makes an image, (H, W, 3) uint8, of as many of (observation, info, env); None: the observation is
                one, or a Dict with one, or `env.render()` draws it. Needs `spec.images`.

        Raises:
            ConfigError: actions, texts or pictures cannot be had from such spaces.
        """
        super().__init__(spec, sizes)
        if picture is not None and not spec.images:
            raise ConfigError(f"{spec.name}: spec.images is False, and picture is given")
        self._env = env
        self._actions = dict(actions) if actions is not None else None
        _check_actions(env.action_space, self._actions, spec.name)
        self._picture = _look(picture, env) if picture else _picture_of(env, spec) if spec.images else None
        self._describe = _look(describe, env) if describe else _text_of(env, spec)
        self._is_success = is_success or _is_success

    def _begin(self, task: Task) -> Observation:
        shown, info = self._env.reset(seed=self.seed_of(task))
        return self._observe(shown, info)

    def _act(self, action: str) -> Answer | None:
        known = self._last.admissible if self._last is not None else None
        if known is not None and action not in known:
            return None
        if self._actions is None and not (action and self._env.action_space.contains(action)):
            return None
        given: Any = self._actions[action] if self._actions is not None else action
        shown, reward, terminated, truncated, info = self._env.step(given)
        return Answer(
            observation=self._observe(shown, info),
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            success=bool(self._is_success(float(reward), bool(terminated), info)),
            valid=bool(info.get("valid", True)),
        )

    def _end(self) -> None:
        self._env.close()

    def _observe(self, shown: Any, info: dict[str, Any]) -> Observation:
        image = _pixels(self._picture(shown, info), self.spec.name) if self._picture is not None else None
        commands = listed(info.get("admissible_commands"), f"{self.spec.name}: info['admissible_commands']")
        if self._actions is not None:
            named = tuple(self._actions)
            commands = named if commands is None else tuple(name for name in named if name in commands)
        return Observation(text=plain(str(self._describe(shown, info))), image=image, admissible=commands)


@dataclass(frozen=True, slots=True, kw_only=True)
class GymSettings(Told):
    """The table of a recipe whose world is gymnasium's."""

    id: str = ""  # needed: gymnasium's, or "module:Name-v0" for one that a module registers
    options: dict[str, Any] = field(default_factory=dict)  # keywords for gymnasium.make
    actions: tuple[
        str, ...
    ] = ()  # names of a Discrete space's actions, in order; none where the space is Text
    show: Literal["text", "image", "both"] = "text"  # what the agent sees
    describe: str = ""  # "module:function" that writes an observation; "": as in FromGym
    success: str = ""  # "module:function" of (reward, terminated, info); "": as in FromGym
    deterministic: bool = True  # false for a world that throws dice which its seed does not decide


def make(settings: GymSettings) -> FromGym:
    """Make a gymnasium environment a world from a recipe; `name = "gym"`.

    Raises:
        ConfigError: gymnasium does not know it, or its spaces are none that himac can show.
    """
    name = settings.id
    if not name:
        raise ConfigError("env.id has to be given", hint="which of gymnasium's: id = 'FrozenLake-v1'")
    spec = settings.spec(name, deterministic=settings.deterministic, images=settings.show != "text")
    try:
        env = gymnasium.make(name, **settings.options)
    except (gymnasium.error.Error, TypeError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"gymnasium cannot make {name!r}: {line(str(error))}",
            hint="a module that registers it goes in front: id = 'module:Name-v0'",
        ) from error
    silent: Callable[..., str] | None = (lambda shown: "") if settings.show == "image" else None
    return FromGym(
        env,
        spec=spec,
        sizes=settings.splits,
        actions=_numbered(env.action_space, settings.actions, name) if settings.actions else None,
        describe=function(settings.describe, "env.describe") if settings.describe else silent,
        is_success=function(settings.success, "env.success") if settings.success else None,
    )


def _numbered(space: gymnasium.Space[Any], names: Sequence[str], where: str) -> dict[str, int]:
    """Return {name: action} of a Discrete space."""
    if not isinstance(space, spaces.Discrete) or len(names) != int(space.n):
        raise ConfigError(
            f"env.actions names {len(names)} actions, and the action space of {where} is {space}",
            hint="one name for each value of a Discrete space, in order",
        )
    return {name: int(space.start) + number for number, name in enumerate(names)}


def _check_actions(space: gymnasium.Space[Any], actions: dict[str, Any] | None, where: str) -> None:
    if actions is None:
        if not isinstance(space, spaces.Text):
            raise ConfigError(
                f"{where}: the action space {space} needs names; allowed without: Text",
                hint="give actions: words -> values of the space",
            )
        return
    strange = [word for word, action in actions.items() if not space.contains(action)]
    if strange or not actions:
        got = f"{strange[0]!r} -> {actions[strange[0]]!r}" if strange else "none"
        raise ConfigError(f"{where}: actions must be of the action space {space}, got {got}")


def _look(given: Callable[..., Any], env: gymnasium.Env) -> Look:
    """Return a user's function as one of (observation, info), whether it takes one, two or all three arguments."""
    try:
        parameters = inspect.signature(given).parameters.values()
    except (TypeError, ValueError):  # some built-in functions tell nothing: one argument
        return lambda shown, info: given(shown)
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters) or len(places) >= 3:
        return lambda shown, info: given(shown, info, env)
    return (lambda shown, info: given(shown, info)) if len(places) == 2 else lambda shown, info: given(shown)


def _text_of(env: gymnasium.Env, spec: EnvSpec) -> Look:
    """Return how an observation is written where nobody says it."""
    space = env.observation_space
    if isinstance(space, spaces.Text):
        return lambda shown, info: shown
    texts = (
        [key for key, part in space.spaces.items() if isinstance(part, spaces.Text)]
        if isinstance(space, spaces.Dict)
        else []
    )
    key = next((key for key in (*_TEXT_KEYS, *texts[:1]) if key in texts), None)
    if key is not None:
        return lambda shown, info: shown[key]
    if env.render_mode == "ansi":
        return lambda shown, info: env.render()
    if spec.images:
        return lambda shown, info: ""
    raise ConfigError(
        f"{spec.name}: no text in the observation space {space}; allowed: Text, a Dict with a Text, render_mode 'ansi'",
        hint="give describe, a function of (observation, info, env), or show pictures",
    )


def _picture_of(env: gymnasium.Env, spec: EnvSpec) -> Look:
    """Return where an observation's picture is found where nobody says it."""
    space = env.observation_space
    if _is_picture(space):
        return lambda shown, info: shown
    if isinstance(space, spaces.Dict):
        key = next((key for key, part in space.spaces.items() if _is_picture(part)), None)
        if key is not None:
            return lambda shown, info: shown[key]
    if env.render_mode == "rgb_array":
        return lambda shown, info: env.render()
    raise ConfigError(
        f"{spec.name}: no picture in the observation space {space}; "
        "allowed: Box (H, W, 3) uint8, a Dict with one, render_mode 'rgb_array'",
        hint="give picture, a function of (observation, info, env)",
    )


def _is_picture(space: gymnasium.Space[Any]) -> bool:
    is_box = isinstance(space, spaces.Box) and space.dtype == np.uint8
    return is_box and space.shape is not None and len(space.shape) == 3 and space.shape[2] == 3


def _pixels(image: Any, where: str) -> np.ndarray:
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise EnvError(f"{where}: a picture must be (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    return pixels.copy()  # worlds draw into one buffer


def _is_success(reward: float, terminated: bool, info: dict[str, Any]) -> bool:
    for key in ("won", "success", "is_success"):
        if key in info:
            return bool(info[key])
    return terminated and reward > 0
