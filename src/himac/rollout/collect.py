"""The Collector: runs episodes of any agent in any environment on any engine.

One idea: rounds. Each round asks every live episode what it wants to say to the model, makes one batched generate
call, and carries the answers out. An episode that ends leaves its place to a pending one, so nothing is
ever generated for the dead. A bad rollout is data, not a crash: a failing environment or an over-long
prompt ends that episode with its StopReason while its peers go on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from himac.chat import Format
from himac.engines.base import Engine
from himac.envs.base import Env
from himac.rollout.episode import Job, LiveEpisode, Penalties
from himac.types import Episode, StopReason


@dataclass(slots=True, kw_only=True)
class CollectClock:
    """Where a collection's time went, in seconds, and how much work it was."""

    generate_s: float = 0.0
    env_s: float = 0.0
    total_s: float = 0.0
    rounds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectSettings:
    """Limits of a collection."""

    max_live: int = 128  # episodes in flight
    max_prompt: int = 2048  # tokens of a context before its oldest turns are trimmed
    penalties: Penalties = field(default_factory=Penalties)


class Collector:
    """Runs jobs to their end.

    Args:
        make_env: builds one environment; called at most `max_live` times, instances are reused.
        engine: generates.
        chat: the engine's chat format.
        settings: limits.
        planner_chat: the chat format of the engine that plans, where it is another; None: the same.
    """

    def __init__(
        self,
        make_env: Callable[[], Env],
        engine: Engine,
        *,
        chat: Format,
        settings: CollectSettings,
        planner_chat: Format | None = None,
    ) -> None:
        self._make_env, self._engine = make_env, engine
        self._chat, self._planner_chat, self._settings = chat, planner_chat, settings
        self._idle_envs: list[Env] = []
        self.clock = CollectClock()

    def collect(
        self,
        jobs: Sequence[Job],
        *,
        share_identical: bool = False,
        progress: Callable[[int], None] | None = None,
        keep: Callable[[Episode], None] | None = None,
    ) -> list[Episode]:
        """Run every job and return their episodes in order.

        Args:
            jobs: what to run.
            share_identical: run identical blueprints of a task once and let them share the execution; right
                only when the executor is greedy and the environment deterministic.
            progress: called with the number of episodes that have just finished.
            keep: called with each episode the moment it is finished (copies excepted), in no particular order.
        """
        started = time.perf_counter()
        pending = deque(enumerate(jobs))
        live: list[tuple[int, LiveEpisode]] = []
        done: dict[int, Episode] = {}
        leaders: dict[tuple[int, tuple[str, ...]], int] = {}
        followers: dict[int, tuple[int, LiveEpisode]] = {}
        while pending or live:
            while pending and len(live) < self._settings.max_live:
                place, job = pending.popleft()
                live.append((place, self._open(job)))
            self._round([episode for _, episode in live])
            still: list[tuple[int, LiveEpisode]] = []
            for place, episode in live:
                if share_identical and episode.has_new_blueprint and not episode.finished:
                    leader = leaders.setdefault(episode.execution_key, place)
                    if leader != place:
                        followers[place] = (leader, episode)
                        self._return_env(episode.env)
                        continue
                if episode.finished:
                    done[place] = episode.record()
                    if keep is not None:
                        keep(done[place])
                    self._return_env(episode.env, broken=done[place].stop is StopReason.ENV_ERROR)
                else:
                    still.append((place, episode))
            if progress is not None and len(still) < len(live):
                progress(len(live) - len(still))
            live = still
        for place, (leader, episode) in followers.items():
            done[place] = episode.record_as_copy(done[leader])
        self.clock.total_s += time.perf_counter() - started
        return [done[place] for place in range(len(jobs))]

    def close(self) -> None:
        """Close the environments."""
        for env in self._idle_envs:
            env.close()
        self._idle_envs = []

    def _open(self, job: Job) -> LiveEpisode:
        env = self._idle_envs.pop() if self._idle_envs else self._make_env()
        penalties = self._settings.penalties
        episode = LiveEpisode(job, env, self._chat, penalties=penalties, planner_chat=self._planner_chat)
        with _Timer(self.clock):
            episode.begin()
        return episode

    def _return_env(self, env: Env, *, broken: bool = False) -> None:
        if broken:
            env.close()
        else:
            self._idle_envs.append(env)

    def _round(self, episodes: Sequence[LiveEpisode]) -> None:
        """Ask, generate once for all, carry out."""
        asking, requests = [], []
        for episode in episodes:
            if episode.finished:
                continue
            request = episode.ask(self._settings.max_prompt)
            if request is not None:
                asking.append(episode)
                requests.append(request)
        if not requests:
            return
        began = time.perf_counter()
        completions = self._engine.generate(requests)
        self.clock.generate_s += time.perf_counter() - began
        self.clock.rounds += 1
        for episode, completion in zip(asking, completions, strict=True):
            action = episode.take(completion)
            if action is not None:
                with _Timer(self.clock):
                    result = episode.act(action)
                episode.see(action, result)


class _Timer:
    """Adds the time spent in an environment to a clock."""

    __slots__ = ("_began", "_clock")

    def __init__(self, clock: CollectClock) -> None:
        self._clock = clock

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._clock.env_s += time.perf_counter() - self._began
