"""verifiers' environments in himac, where the environment plays the user; needs the extra "verifiers" (0.4 or newer).

    [env]
    name = "verifiers"
    taskset = { id = "textarena", game = "Hangman-v0" }

In verifiers 0.4 an environment has no `step`: its `run(task, agents)` is the episode, and asks an agent for each turn. Here
himac is that agent: `run` waits in a thread of its own until himac's next action is there. The environment's hooks, the
task's `@reward`, `@metric` and `@stop`, and a trace of the conversation are verifiers' own.

What fits: one seat, which talks (`agents.seat.interaction(task)`) or answers once (`agents.seat.run(task)`), judged by its
words. What does not, and is refused in a line:

- tools, containers and hooks that get a `runtime`: there the model is called by a program ("harness") that works in a
  sandbox, through a proxy; no text of ours stands between observation and action.
- several seats: the others would need a model of their own.

The reward comes with the end. An environment draws as it likes, so `deterministic` is false unless you say otherwise.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import queue
import threading
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, TypeAlias

from himac.envs.adapters.base import Adapter, Answer, Told, plain
from himac.errors import ConfigError, EnvError, missing_extra
from himac.text import line
from himac.toml import NonNegative
from himac.types import EnvSpec, Observation, Task

try:
    import verifiers.v1 as vf
    from verifiers.v1.graph import prepare_turn
except ImportError:
    raise missing_extra("verifiers>=0.4", "verifiers", "himac.envs.adapters.verifiers") from None

TheirEnv: TypeAlias = vf.Env[Any]
TheirTask: TypeAlias = vf.Task[Any, Any, Any]
TheirAgents: TypeAlias = vf.Agents[Any]
Trace: TypeAlias = vf.Trace[Any, Any, Any]


class FromVerifiers(Adapter):
    """An environment of verifiers as a himac `Env`: himac sits on its one seat.

    Task i of the splits is a task of the taskset, as `seed_of` numbers them: an endless taskset has enough, of another the
    splits together may name no more than it holds.
    """

    def __init__(
        self,
        env: TheirEnv,
        *,
        spec: EnvSpec,
        sizes: Mapping[str, int],
        success_at: float = 1.0,
        timeout_s: float = 600.0,
    ) -> None:
        """Wrap an environment.

        Args:
            env: what to serve.
            spec: what agents are told; its splits must be those of `sizes`.
            sizes: split -> number of tasks.
            success_at: reward from which on a task is solved.
            timeout_s: how long the environment may think about one turn.

        Raises:
            ConfigError: it has several seats, or its tasks need a sandbox or tools.
        """
        super().__init__(spec, sizes)
        seats = [
            name
            for name, kind in type(env.config).model_fields.items()
            if isinstance(kind.default, vf.AgentConfig)
        ]
        if len(seats) != 1:
            raise ConfigError(
                f"{spec.name} seats {len(seats)} agents ({', '.join(seats)}); himac can play where there is one"
            )
        _check_kind(type(env.taskset).task_type(), env, spec.name)
        self._env, self._success_at, self._timeout_s = env, success_at, timeout_s
        self._tasks: list[TheirTask] = []  # as far as they have been read
        self._rest = iter(env.taskset)
        self._talk: _Talk | None = None

    def _begin(self, task: Task) -> Observation:
        self._end()
        self._talk = _Talk(self._env, self._task(self.seed_of(task)), self._timeout_s)
        shown = self._talk.next()
        if shown is None:
            raise EnvError(f"{self.spec.name}: the episode ended before its first turn")
        return Observation(text=plain(shown))

    def _act(self, action: str) -> Answer | None:
        talk = self._talk
        if talk is None:
            raise EnvError(f"{self.spec.name}: no episode is under way")
        talk.reply(action)
        shown = talk.next()
        is_late = shown is not None and self._num_steps + 1 >= self.spec.max_steps
        if (
            is_late
        ):  # the way in which verifiers itself ends what takes too long; it is then scored as far as it came
            talk.reply(None)
            while talk.next() is not None:
                talk.reply(None)
        reward = 0.0
        if shown is None or is_late:
            reward, self._talk = talk.reward, None
        return Answer(
            observation=Observation(text=plain(shown or "The end.")),
            reward=reward,
            terminated=shown is None,
            truncated=is_late,
            success=(shown is None or is_late) and reward >= self._success_at,
            score=min(max(reward, 0.0), 1.0),
        )

    def _end(self) -> None:
        if self._talk is not None:
            self._talk.close()
            self._talk = None

    def _task(self, index: int) -> TheirTask:
        self._tasks += islice(self._rest, max(0, index + 1 - len(self._tasks)))
        if index >= len(self._tasks):
            raise EnvError(
                f"{self.spec.name}: the taskset has {len(self._tasks)} tasks, and the splits name number {index}",
                hint=f"with {len(self._sizes)} splits each may have {len(self._tasks) // len(self._sizes)}",
            )
        return self._tasks[index]


class _Talk:
    """One episode, which runs in the loop's thread, and asks this one for every turn."""

    def __init__(self, env: TheirEnv, task: TheirTask, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._shown: queue.Queue[str | BaseException | None] = queue.Queue()
        self._replies: asyncio.Queue[str | None] = asyncio.Queue()
        self.traces: list[Trace] = []
        self._running: concurrent.futures.Future[None] = asyncio.run_coroutine_threadsafe(
            self._play(env, task), _loop()
        )

    @property
    def reward(self) -> float:
        """What the seat's trace was given in all."""
        return float(sum(trace.reward for trace in self.traces))

    def next(self) -> str | None:
        """Wait for what is shown next; None: the episode is over."""
        try:
            shown = self._shown.get(timeout=self._timeout_s)
        except queue.Empty:
            self.close()
            raise EnvError(f"the environment said nothing for {self._timeout_s:g} s") from None
        if isinstance(shown, BaseException):
            raise EnvError(f"the environment failed: {line(repr(shown))}") from shown
        return shown

    def reply(self, words: str | None) -> None:
        """Answer what was shown; None: the seat says no more."""
        _loop().call_soon_threadsafe(self._replies.put_nowait, words)

    def close(self) -> None:
        """Give the episode up."""
        self._running.cancel()

    async def ask(self, shown: str) -> str | None:
        """Show something and wait for the answer; in the loop's thread."""
        self._shown.put(shown)
        return await self._replies.get()

    async def _play(self, env: TheirEnv, task: TheirTask) -> None:
        told = vf.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash)
        episode = vf.Episode(env=vf.EnvInfo(id=env.config.env_id), task=told, traces=self.traces)
        agents: TheirAgents = vf.Agents(env.config, make=lambda name, config: _Seat(name, config, self))
        try:
            await env.setup(agents)
            await env.run(task, agents)
            episode.traces = self.traces
            await env.finalize(task, episode)
            self._shown.put(None)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._shown.put(error)


class _Seat:
    """Stands where verifiers has an `Agent`: what the environment asks of one, and no harness behind it."""

    def __init__(self, name: str, config: vf.AgentConfig, talk: _Talk) -> None:
        self.trainable = True
        self._name, self._talk = name, talk
        self._config = config.model_copy(update={"model": "himac"})

    async def run(self, task: TheirTask, **_: Any) -> Trace:
        """Answer a task's prompt, once."""
        async with self.interaction(task) as interaction:
            await interaction.turn()
        return interaction.trace

    @asynccontextmanager
    async def interaction(self, task: TheirTask, **_: Any) -> AsyncIterator[_Interaction]:
        """Hold a conversation; when it is left, the task scores it."""
        told = vf.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash)
        seat = vf.AgentInfo(config=self._config, name=self._name, trainable=self.trainable)
        trace: Trace = vf.Trace(task=told, agent=seat)
        self._talk.traces.append(trace)
        yield _Interaction(task, trace, self._talk)
        if not trace.stop_condition:
            trace.stop("user_closed")
        await task.score(trace)
        trace.is_completed = trace.ok = True


class _Interaction:
    """A conversation, turn by turn; the caller is the user."""

    def __init__(self, task: TheirTask, trace: Trace, talk: _Talk) -> None:
        self.trace = trace
        self._task, self._talk = task, talk
        self._said: list[Any] = _opening(task.data)
        self._is_open = True

    async def turn(self, message: str | list[Any] | None = None) -> vf.Segment:
        """Say something to the seat and return its answer."""
        if not self._is_open:
            raise RuntimeError("the exchange is over")
        news = [vf.UserMessage(content=message)] if isinstance(message, str) else list(message or [])
        first = not any(isinstance(said, vf.AssistantMessage) for said in self._said)
        self._said += news
        shown = "\n\n".join(_words(said) for said in (self._said if first else news))
        stopped = [stop.__name__ for stop in self._task.hooks("stop") if await _said_yes(stop, self.trace)]
        reply = None if stopped else await self._talk.ask(shown)
        if reply is None:
            self._is_open = False
            self.trace.stop(stopped[0] if stopped else "max_turns")
            return vf.Segment(messages=[], terminated=True)
        answer = vf.AssistantMessage(content=reply)
        response = vf.Response(
            id=uuid.uuid4().hex, created=int(time.time()), model="himac", message=answer, finish_reason="stop"
        )
        prepare_turn(self.trace, list(self._said)).commit(response)
        self._said.append(answer)
        return vf.Segment(messages=[answer])


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiersSettings(Told):
    """The table of a recipe whose world is an environment of verifiers."""

    taskset: dict[str, Any] = field(default_factory=dict)  # needed: its id and its own settings
    options: dict[str, Any] = field(default_factory=dict)  # the rest of verifiers' [env] table
    success_at: float = 1.0  # reward from which on a task is solved
    timeout_s: NonNegative = 600.0  # how long the environment may think about one turn
    deterministic: bool = False  # whether a task and its actions say all


def make(settings: VerifiersSettings) -> FromVerifiers:
    """Make an environment of verifiers a world from a recipe; `name = "verifiers"`.

    Raises:
        ConfigError: verifiers does not know it, or it is none that himac can play.
    """
    name = settings.taskset.get("id")
    if not isinstance(name, str):
        raise ConfigError(
            "env.taskset.id has to be given", hint="taskset = { id = 'textarena', game = 'Hangman-v0' }"
        )
    spec = settings.spec(name, deterministic=settings.deterministic)
    try:
        env = vf.load_environment(vf.resolve_env_config({**settings.options, "taskset": settings.taskset}))
    except (ImportError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"verifiers cannot make {name!r}: {line(str(error))}") from error
    return FromVerifiers(
        env, spec=spec, sizes=settings.splits, success_at=settings.success_at, timeout_s=settings.timeout_s
    )


def _check_kind(kind: type[TheirTask], env: TheirEnv, where: str) -> None:
    """Refuse tasks that need what only a harness in a sandbox has."""
    needs = []
    if kind.NEEDS_CONTAINER:
        needs.append("a container")
    if kind.toolsets(env.config.taskset.task) or type(env.taskset).toolsets(env.config.taskset):
        needs.append("tools")
    needs += [
        f"a runtime in {name}"
        for name in ("setup", "finalize")
        if getattr(kind, name) is not getattr(vf.Task, name)
    ]
    scored = [getattr(kind, name) for name in dir(kind) if not name.startswith("_")]
    for function in scored:
        if (getattr(function, "reward", False) or getattr(function, "metric", False)) and callable(function):
            given = inspect.signature(function).parameters.get("runtime")
            needs += [f"a runtime in {function.__name__}"] if given and given.default is given.empty else []
    if needs:
        raise ConfigError(
            f"{where} needs {', '.join(needs)}; himac plays what is played and judged in words",
            hint="train it with verifiers' own trainers",
        )


def _opening(data: vf.TaskData) -> list[Any]:
    """Return a task's system prompt and prompt as messages."""
    system = [vf.SystemMessage(content=data.system_prompt)] if data.system_prompt else []
    if data.prompt is None:
        return system
    return [
        *system,
        *([vf.UserMessage(content=data.prompt)] if isinstance(data.prompt, str) else data.prompt),
    ]


def _words(message: Any) -> str:
    """Return a message's text; pictures are left out."""
    content = message["content"] if isinstance(message, Mapping) else message.content
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content or [] if getattr(part, "type", None) == "text")


async def _said_yes(stop: Any, trace: Trace) -> bool:
    """Ask a task's @stop, where it judges traces; those of requests and responses see a harness's calls, here are none."""
    (kind,) = [p.annotation for p in inspect.signature(stop, eval_str=True).parameters.values()][:1] or [None]
    if kind is not vf.Trace and getattr(kind, "__origin__", kind) is not vf.Trace:
        return False
    found = stop(trace)
    return bool(await found if inspect.isawaitable(found) else found)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the loop in which all episodes of this process run, in a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="himac-verifiers", daemon=True).start()
    return loop
