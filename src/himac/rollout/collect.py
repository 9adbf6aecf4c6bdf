"""The EpisodeRunner: runs episodes of any agent in any environment on any engine.

No rounds. Every live episode has one request with the engine, and gets its next turn as soon as its own answer is
there, whatever the others are doing. An episode that ends leaves its place to a pending one, so nothing is
ever generated for the dead. A bad rollout is data, not a crash: a failing environment or an over-long
prompt ends that episode with its StopReason while its peers go on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from himac.chat import Format
from himac.config import AgentConfig
from himac.engines.base import BatchEngine, Engine, stepping
from himac.envs.base import Env
from himac.images import Album
from himac.rollout.episode import Job, LiveEpisode
from himac.types import Completion, Episode, Role, StopReason, Weights


@dataclass(slots=True, kw_only=True)
class CollectClock:
    """Where a collection's time went, in seconds, and how much work it was."""

    generate_s: float = 0.0
    env_s: float = 0.0
    total_s: float = 0.0
    stale_steps: int = 0  # optimizer steps since the weights that were collected with


class Runner(Protocol):
    """What runs jobs: this process, several of them, or others."""

    clock: CollectClock
    elsewhere_s: float  # processor seconds so far of other processes than those that learn

    @property
    def is_stale(self) -> bool:
        """Whether what was returned last was run with older weights."""
        ...

    def run(
        self,
        jobs: Sequence[Job],
        *,
        share_identical: bool = False,
        progress: Callable[[int], None] | None = None,
        keep: Callable[[Episode], None] | None = None,
    ) -> list[Episode]:
        """See `EpisodeRunner.run`."""
        ...

    def begin(self, jobs: Sequence[Job], *, share_identical: bool = False, moving: Sequence[Role]) -> None:
        """See `EpisodeRunner.begin`."""
        ...

    def release(self) -> None:
        """See `EpisodeRunner.release`."""
        ...

    def load_weights(self, state: Weights, version: int) -> None:
        """See `EpisodeRunner.load_weights`."""
        ...

    def close(self) -> None:
        """See `EpisodeRunner.close`."""
        ...


class EpisodeRunner:
    """Runs jobs to their end.

    Args:
        make_env: builds one environment; called at most `max_live` times, instances are reused.
        engine: generates.
        chat: the engine's chat format.
        cfg: what bad form costs.
        max_live: episodes in flight.
        max_prompt: tokens of a context before its oldest turns are trimmed.
        planner_chat: the chat format of the engine that plans, where it is another; None: the same.
        album: keeps the pictures of a world that shows them.
    """

    def __init__(
        self,
        make_env: Callable[[], Env],
        engine: Engine | BatchEngine,
        *,
        chat: Format,
        cfg: AgentConfig,
        max_live: int = 128,
        max_prompt: int = 2048,
        planner_chat: Format | None = None,
        album: Album | None = None,
    ) -> None:
        self._album = album
        self._make_env, self._engine = make_env, stepping(engine)
        self._chat, self._planner_chat, self._cfg = chat, planner_chat, cfg
        self._max_live, self._max_prompt = max_live, max_prompt
        self._idle_envs: list[Env] = []
        self.is_stale = False  # what was returned last was run with older weights: never here
        self.clock = CollectClock()
        self.elsewhere_s = 0.0

    def run(
        self,
        jobs: Sequence[Job],
        *,
        share_identical: bool = False,
        progress: Callable[[int], None] | None = None,
        keep: Callable[[Episode], None] | None = None,
        before_step: Callable[[], None] | None = None,
    ) -> list[Episode]:
        """Run every job and return their episodes in order.

        Args:
            jobs: what to run.
            share_identical: run identical blueprints of a task once and let them share the execution; right
                only when the executor is greedy and the environment deterministic.
            progress: called with the number of episodes that have just finished.
            keep: called with each episode the moment it is finished (copies excepted), in no particular order.
            before_step: called before each step of the engine; what it raises ends the jobs.
        """
        started = time.perf_counter()
        shared = _Shared() if share_identical else None
        done: dict[int, Episode] = {}
        under_way: dict[int, tuple[int, LiveEpisode]] = {}  # ticket: (index of the job, episode)

        def leave() -> None:
            if progress is not None:
                progress(1)

        def go_on(index: int, episode: LiveEpisode) -> None:
            """Submit an episode's next request, or finish it."""
            request = None if episode.finished else episode.ask(self._max_prompt)
            if request is not None:
                under_way[self._engine.submit(request)] = (index, episode)
                return
            done[index] = self._finish(episode, keep)
            leave()

        try:
            pending = deque(enumerate(jobs))
            while pending or under_way:
                while pending and len(under_way) < self._max_live:
                    index, job = pending.popleft()
                    go_on(index, self._open(job))
                if before_step is not None:
                    before_step()
                for ticket, completion in self._step():
                    index, episode = under_way.pop(ticket)
                    self._answer(episode, completion)
                    if shared is not None and not episode.finished and shared.follows(index, episode):
                        self._return_env(episode.env)
                        leave()
                    else:
                        go_on(index, episode)
        except BaseException:
            self._engine.cancel()
            raise
        if shared is not None:
            done |= shared.copies(done)
        self.clock.total_s += time.perf_counter() - started
        return [done[index] for index in range(len(jobs))]

    def begin(self, jobs: Sequence[Job], *, share_identical: bool = False, moving: Sequence[Role]) -> None:
        """Begin jobs that `run` will ask for, where that can be done (`BesideRunner`); here it is not.

        Args:
            jobs: what will be run.
            share_identical: as for `run`.
            moving: roles that may not be asked until then: their weights are being updated.
        """

    def release(self) -> None:
        """Let the engine give back its memory: the learner comes next."""
        self._engine.release()

    def load_weights(self, state: Weights, version: int) -> None:
        """Hand new weights to the engine; None: it shares the learner's module, and only its cache has to go."""
        self._engine.load_weights(state, version)

    def close(self) -> None:
        """Close the environments."""
        for env in self._idle_envs:
            env.close()
        self._idle_envs = []

    def _open(self, job: Job) -> LiveEpisode:
        env = self._idle_envs.pop() if self._idle_envs else self._make_env()
        episode = LiveEpisode(
            job, env, self._chat, cfg=self._cfg, planner_chat=self._planner_chat, album=self._album
        )
        with _Timer(self.clock):
            episode.begin()
        return episode

    def _finish(self, live: LiveEpisode, keep: Callable[[Episode], None] | None) -> Episode:
        episode = live.record()
        if keep is not None:
            keep(episode)
        self._return_env(live.env, broken=episode.stop is StopReason.ENV_ERROR)
        return episode

    def _return_env(self, env: Env, *, broken: bool = False) -> None:
        if broken:
            env.close()
        else:
            self._idle_envs.append(env)

    def _step(self) -> list[tuple[int, Completion]]:
        began = time.perf_counter()
        finished = self._engine.step()
        self.clock.generate_s += time.perf_counter() - began
        return finished

    def _answer(self, episode: LiveEpisode, completion: Completion) -> None:
        """Carry out what a completion says."""
        action = episode.take(completion)
        if action is not None:
            with _Timer(self.clock):
                result = episode.act(action)
            episode.see(result)


class _Shared:
    """Who executes a blueprint, and who waits to copy it: identical ones under a greedy executor run once."""

    def __init__(self) -> None:
        self._leaders: dict[tuple[int, tuple[str, ...]], int] = {}
        self._followers: dict[int, tuple[int, LiveEpisode]] = {}

    def follows(self, index: int, episode: LiveEpisode) -> bool:
        """Whether an earlier episode already executes this one's blueprint; the first to ask becomes the one."""
        if not episode.has_new_blueprint:
            return False
        leader = self._leaders.setdefault(episode.execution_key, index)
        if leader != index:
            self._followers[index] = (leader, episode)
        return leader != index

    def copies(self, done: dict[int, Episode]) -> dict[int, Episode]:
        """Return the episodes of those who waited."""
        return {
            index: episode.record_as_copy(done[leader])
            for index, (leader, episode) in self._followers.items()
        }


class _Timer:
    """Adds the time spent in an environment to a clock."""

    __slots__ = ("_began", "_clock")

    def __init__(self, clock: CollectClock) -> None:
        self._clock = clock

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._clock.env_s += time.perf_counter() - self._began
