"""A runner whose episodes are run by several processes: each those of its own tasks, and all hear of all.

Tasks are dealt out, not episodes: the attempts at a task share prefixes, and identical blueprints one execution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from himac.images import Album
from himac.parallel import Ranks
from himac.rollout.collect import CollectClock, Runner
from himac.rollout.episode import Job
from himac.types import Episode, Role, Task, Weights


class SharedRunner:
    """An `EpisodeRunner` of one rank, used as one is.

    Args:
        runner: runs this rank's share.
        ranks: who else runs.
        album: gets the pictures of the others' episodes.
    """

    def __init__(self, runner: Runner, ranks: Ranks, album: Album) -> None:
        self._runner, self._ranks, self._album = runner, ranks, album
        self._told: set[str] = set()  # pictures that all ranks have
        self.elsewhere_s = 0.0

    @property
    def clock(self) -> CollectClock:
        """This rank's."""
        return self._runner.clock

    @clock.setter
    def clock(self, clock: CollectClock) -> None:
        self._runner.clock = clock

    @property
    def is_stale(self) -> bool:
        """Whether what was returned last was run with older weights."""
        return self._runner.is_stale

    def run(
        self,
        jobs: Sequence[Job],
        *,
        share_identical: bool = False,
        progress: Callable[[int], None] | None = None,
        keep: Callable[[Episode], None] | None = None,
    ) -> list[Episode]:
        """Run every job, here or elsewhere, and return their episodes in order; see `EpisodeRunner.run`."""
        own = self._share(jobs)
        self._ranks.whole()  # each generates at its own pace
        done = self._runner.run(
            [jobs[index] for index in own], share_identical=share_identical, progress=progress
        )
        pictures = {name: self._album.png(name) for name in self._album.names() if name not in self._told}
        found: dict[int, Episode] = {}
        for episodes, seen in self._ranks.gather((dict(zip(own, done, strict=True)), pictures)):
            found |= episodes
            for name, png in seen.items():
                self._album.put(name, png)
            self._told |= seen.keys()
        if progress is not None:
            progress(len(jobs) - len(own))
        for index in range(len(jobs)) if keep is not None else ():
            if not found[index].is_copy:
                keep(found[index])  # type: ignore[misc]
        return [found[index] for index in range(len(jobs))]

    def begin(self, jobs: Sequence[Job], *, share_identical: bool = False, moving: Sequence[Role]) -> None:
        """See `EpisodeRunner.begin`. What this rank runs of them; the ranks hear of one another when the episodes are asked for."""
        own = [jobs[index] for index in self._share(jobs)]
        self._runner.begin(own, share_identical=share_identical, moving=moving)

    def _share(self, jobs: Sequence[Job]) -> list[int]:
        """Return the indices of the jobs that this rank runs."""
        by_task: dict[Task, list[int]] = {}
        for index, job in enumerate(jobs):
            by_task.setdefault(job.task, []).append(index)
        tasks = self._ranks.mine(list(by_task.values()), [len(members) for members in by_task.values()])
        return sorted(index for members in tasks for index in members)

    def release(self) -> None:
        """See `EpisodeRunner.release`."""
        self._runner.release()
        self._ranks.parts()

    def load_weights(self, state: Weights, version: int) -> None:
        """See `EpisodeRunner.load_weights`."""
        self._runner.load_weights(state, version)

    def close(self) -> None:
        """See `EpisodeRunner.close`."""
        self._runner.close()
