"""A runner whose episodes are run by Ray's collectors, used as an `EpisodeRunner` is.

Units of work are handed out one by one to whoever is idle, so a fast collector gets more of them. What is in a unit
depends on the jobs and one setting, never on who is there or on time: as many collectors as you like, one of them
killed or not, compute the same bits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from torch import Tensor

from himac.images import Album
from himac.layout import ParallelConfig
from himac.parallel import ALONE, Ranks
from himac.remote.cluster import Crew
from himac.remote.weights import packed
from himac.remote.worker import Done, Parts
from himac.rollout.collect import CollectClock
from himac.rollout.episode import Job
from himac.types import Episode, Role, Task, Weights


class RemoteRunner:
    """Runs jobs on collectors, which are started with the first of them.

    Args:
        cfg: how many collectors there are, and where.
        make: builds what one is made of, there.
        weights: returns {name: tensor} of what may have changed since the start; on ranks that are not the first the
            content does not matter. All ranks call it.
        ranks: the processes that learn; the first one hands out, and all hear of all.
        album: gets the pictures of the episodes.
    """

    def __init__(
        self,
        cfg: ParallelConfig,
        make: Callable[[], Parts],
        weights: Callable[[], dict[str, Tensor]],
        *,
        ranks: Ranks = ALONE,
        album: Album | None = None,
    ) -> None:
        self._cfg, self._make, self._weights = cfg, make, weights
        self._ranks, self._album = ranks, album or Album()
        self._crew: Crew | None = None
        self._version, self._has_put = 0, False
        self.clock = CollectClock()
        self.is_stale, self.elsewhere_s = False, 0.0

    def run(
        self,
        jobs: Sequence[Job],
        *,
        share_identical: bool = False,
        progress: Callable[[int], None] | None = None,
        keep: Callable[[Episode], None] | None = None,
    ) -> list[Episode]:
        """Run every job somewhere and return their episodes in order; see `EpisodeRunner.run`.

        `progress` and `keep` are called on the first rank, whenever a unit comes back.
        """
        began = time.perf_counter()
        state = None if self._has_put else self._weights()
        self._has_put = True
        done: tuple[list[Episode], dict[str, bytes]] = ([], {})
        if self._ranks.is_first:
            crew = self._crew = self._crew or Crew(self._cfg, self._make)
            if state is not None:
                crew.put(packed(state))
            done = self._hand_out(crew, jobs, share_identical, progress, keep)
        episodes, pictures = self._ranks.first(done)
        for name, png in pictures.items():
            self._album.put(name, png)
        self.clock.total_s += time.perf_counter() - began
        return episodes

    def _hand_out(
        self,
        crew: Crew,
        jobs: Sequence[Job],
        share_identical: bool,
        progress: Callable[[int], None] | None,
        keep: Callable[[Episode], None] | None,
    ) -> tuple[list[Episode], dict[str, bytes]]:
        """Return (the episodes of all jobs, new pictures)."""
        pending = deque(units_of(jobs, self._cfg.collector_episodes))
        idle = deque(range(len(crew)))
        under_way: dict[Future[Done], tuple[int, list[int]]] = {}  # unit: (collector, indices of jobs)
        found: dict[int, Episode] = {}
        pictures: dict[str, bytes] = {}
        while pending or under_way:
            while pending and idle:
                collector, members = idle.popleft(), pending.popleft()
                unit = crew.hand(collector, [jobs[i] for i in members], share_identical=share_identical)
                under_way[unit] = (collector, members)
            unit, done = crew.next(under_way)
            collector, members = under_way.pop(unit)
            idle.append(collector)
            found |= zip(members, done.episodes, strict=True)
            pictures |= done.pictures
            self._count(done, len(crew))
            for episode in done.episodes if keep is not None else ():
                if not episode.is_copy:
                    keep(episode)  # type: ignore[misc]
            if progress is not None:
                progress(len(members))
        return [found[index] for index in range(len(jobs))], pictures

    def _count(self, done: Done, collectors: int) -> None:
        """Add a unit's seconds up; those of generating and of worlds are a collector's mean, to be read beside the total."""
        self.clock.generate_s += done.clock.generate_s / collectors
        self.clock.env_s += done.clock.env_s / collectors
        self.elsewhere_s += done.processor_s

    def begin(self, jobs: Sequence[Job], *, share_identical: bool = False, moving: Sequence[Role]) -> None:
        """Begin nothing early: collectors wait for the newest weights."""

    def release(self) -> None:
        """Nothing to give back: the memory of collectors is not the learner's."""

    def load_weights(self, state: Weights, version: int) -> None:
        """Have the collectors sample with the learner's weights of this version from the next job on.

        Args:
            state: None; the learner's module is asked.
            version: one that was put already is not put again.
        """
        if version != self._version:
            self._version, self._has_put = version, False

    def close(self) -> None:
        """End the collectors. Closing twice is allowed."""
        crew, self._crew, self._has_put = self._crew, None, False
        if crew is not None:
            crew.close()


def units_of(jobs: Sequence[Job], most: int) -> list[list[int]]:
    """Return the indices of jobs, unit by unit: whole tasks, at most so many episodes or one task.

    A task's attempts share prefixes, and identical blueprints one execution: they stay together.
    """
    by_task: dict[Task, list[int]] = {}
    for index, job in enumerate(jobs):
        by_task.setdefault(job.task, []).append(index)
    units: list[list[int]] = []
    for members in by_task.values():
        if units and len(units[-1]) + len(members) <= most:
            units[-1] += members
        else:
            units.append(list(members))
    return units
