"""OpenEnv's worlds in himac: a server is asked over a client, one session an instance; needs the extra "openenv".

    [env]
    name = "openenv"
    url = "http://localhost:8000"
    action = "message"                        # the field of the server's action that takes the text
    text = "echoed_message"                   # the field of its observation that is shown

A task is a seed that `reset` gets, or a split and an index where the server has OpenEnv's Task API (`tasks = "index"`).
Whether a server draws with them is the server's affair, so `deterministic` is false
unless you say otherwise (`himac check` tells whether it holds). Each of the up to `rollout.max_live` episodes at once is a
session: the server must allow so many (`max_concurrent_envs`).

Left out: tools over MCP, production mode, which has no reset, and starting servers or containers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from himac.envs.adapters.base import Adapter, Answer, Told, function, listed, plain
from himac.errors import ConfigError, EnvError, missing_extra
from himac.text import line
from himac.toml import Table
from himac.types import EnvSpec, Json, Observation, Task


class Result(Protocol):
    """What a client returns: openenv's StepResult."""

    observation: Json
    reward: float | None
    done: bool


class Client(Protocol):
    """A session of an OpenEnv server, as `client.sync()` gives it."""

    def reset(self, **given: Any) -> Result:
        """Start an episode."""
        ...

    def step(self, action: Any) -> Result:
        """Carry out an action."""
        ...

    def close(self) -> None:
        """End the session."""
        ...


class FromOpenEnv(Adapter):
    """A session of an OpenEnv server as a himac `Env`. Its client is made when the first episode begins."""

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        spec: EnvSpec,
        sizes: Mapping[str, int],
        encode: Callable[[str], Any] | None = None,
        describe: Callable[[Json], str] | None = None,
        is_success: Callable[[float, bool, Json], bool] | None = None,
        reset: Table | None = None,
        by_index: bool = False,
    ) -> None:
        """Wrap a server.

        Args:
            connect: makes a client, with calls that wait: `lambda: GenericEnvClient(base_url=url).sync()`.
            spec: what agents are told; its splits must be those of `sizes`.
            sizes: split -> number of tasks.
            encode: action in words -> the client's action; None: `{"text": words}`.
            describe: writes an observation as text; None: its field `text`.
            is_success: says from a step's (reward, done, observation) whether the task is solved; None: as the observation's
                `success` says, or else done with a reward above 0.
            reset: more for the server's `reset`.
            by_index: `reset` gets a task's `split` and `index`, not a seed.

        Raises:
            ConfigError: pictures are promised.
        """
        super().__init__(spec, sizes)
        if spec.images:
            raise ConfigError(f"{spec.name}: OpenEnv has no word for pictures; spec.images must be False")
        self._connect = connect
        self._client: Client | None = None
        self._judges = False  # the server says itself whether an action was valid, so it gets to see all
        self._encode = encode or (lambda words: {"text": words})
        self._describe = describe or (lambda shown: _field(shown, "text", spec.name))
        self._is_success = is_success or _is_success
        self._reset, self._by_index = dict(reset or {}), by_index

    def _begin(self, task: Task) -> Observation:
        which: Table = (
            {"split": task.split, "index": task.index} if self._by_index else {"seed": self.seed_of(task)}
        )
        result = self._ask(lambda client: client.reset(**which, **self._reset))
        return self._observe(result.observation)

    def _act(self, action: str) -> Answer | None:
        known = self._last.admissible if self._last is not None else None
        if not self._judges and (not action or (known is not None and action not in known)):
            return None
        result = self._ask(lambda client: client.step(self._encode(action)))
        shown, reward, done = result.observation, float(result.reward or 0.0), bool(result.done)
        is_limit = done and _get(shown, "truncated") is True
        score = _get(shown, "score")
        return Answer(
            observation=self._observe(shown),
            reward=reward,
            terminated=done and not is_limit,
            truncated=is_limit,
            success=bool(self._is_success(reward, done, shown)),
            score=float(score) if isinstance(score, int | float) and 0 <= score <= 1 else None,
            valid=_get(shown, "valid") is not False,
        )

    def _end(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(self, ask: Callable[[Client], Result]) -> Result:
        try:
            if self._client is None:
                self._client = self._connect()
            return ask(self._client)
        except Exception as error:  # of sockets, of websockets, of the server: each library has its own
            client, self._client = self._client, None  # the next episode tries a new session
            if client is not None:
                with contextlib.suppress(Exception):
                    client.close()
            what = "does not answer" if isinstance(error, OSError | TimeoutError) else "failed"
            raise EnvError(
                f"{self.spec.name}: the OpenEnv server {what}: {line(str(error) or type(error).__name__)}",
                hint="does it run, and does it allow so many sessions (max_concurrent_envs)?",
            ) from error

    def _observe(self, shown: Json) -> Observation:
        self._judges = isinstance(_get(shown, "valid"), bool)
        commands = _get(shown, "admissible")
        commands = _get(shown, "admissible_commands") if commands is None else commands
        return Observation(
            text=plain(str(self._describe(shown))),
            admissible=listed(commands, f"{self.spec.name}: admissible"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEnvSettings(Told):
    """The table of a recipe whose world is an OpenEnv server."""

    url: str = ""  # needed: where the server runs
    action: str = "text"  # field of the server's action that takes the text
    text: str = "text"  # field of its observation that is shown
    describe: str = ""  # "module:function" that writes an observation, a dictionary; "": the field
    success: str = ""  # "module:function" of (reward, done, observation); "": as in FromOpenEnv
    reset: dict[str, Any] = field(default_factory=dict)  # more for the server's reset
    # what reset gets of a task: a seed, or a split and an index, as servers with OpenEnv's Task API take them
    tasks: Literal["seed", "index"] = "seed"
    deterministic: bool = False  # whether the server's task and actions say all


def make(settings: OpenEnvSettings) -> FromOpenEnv:
    """Make a running OpenEnv server a world from a recipe; `name = "openenv"`.

    Raises:
        MissingExtraError: the package openenv is not installed.
        ConfigError: no address was given.
    """
    if not settings.url:
        raise ConfigError(
            "env.url has to be given", hint="where the server runs: url = 'http://localhost:8000'"
        )
    try:
        from openenv import GenericEnvClient
    except ImportError:
        raise missing_extra("openenv", "openenv", "env 'openenv'") from None

    def connect() -> Client:
        client: Client = GenericEnvClient(base_url=settings.url).sync()
        return client

    return FromOpenEnv(
        connect,
        spec=settings.spec("openenv", deterministic=settings.deterministic),
        sizes=settings.splits,
        encode=lambda words: {settings.action: words},
        describe=function(settings.describe, "env.describe")
        if settings.describe
        else lambda shown: _field(shown, settings.text, settings.url),
        is_success=function(settings.success, "env.success") if settings.success else None,
        reset=settings.reset,
        by_index=settings.tasks == "index",
    )


def _get(shown: Json, key: str) -> Any:
    """Return a field of an observation, a dictionary or an object; None where it has none."""
    return shown.get(key) if isinstance(shown, Mapping) else getattr(shown, key, None)


def _field(shown: Json, key: str, where: str) -> str:
    found = _get(shown, key)
    if found is None:
        fields = ", ".join(shown) if isinstance(shown, Mapping) else type(shown).__name__
        raise EnvError(
            f"{where}: the observation has no field {key!r}; it has: {fields}",
            hint="set env.text to the one to show",
        )
    return str(found)


def _is_success(reward: float, done: bool, shown: Json) -> bool:
    said = _get(shown, "success")
    return said if isinstance(said, bool) else done and reward > 0
