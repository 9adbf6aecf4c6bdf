"""A runner that begins episodes in a thread of its own, beside an update, as far as that update leaves their weights alone.

With an adapter for each role, what phase B collects depends on the executor, and phase A's update moves the planner; the next
phase A begins with blueprints, and phase B's update moves the executor. So either may begin early and nothing of it is
stale: a role whose weights move is not asked before the update is over and the episodes are wanted. They come out as
without this, to the last bit, for the engine is asked the same in the same order; only when is another matter.

The engine computes with modules of its own over the learner's weights (`Policy.aside`): which adapter is active is said by
the modules, and two threads want different ones. Where collections may be *behind*, what learns is copied for them as they
begin, and nobody waits: then the next blueprints are judged by the executor of before its update, and where the roles share
weights, what is trained was sampled by those of before. Left out: vLLM, which has one engine for both roles.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from himac.rollout.collect import CollectClock, EpisodeRunner
from himac.rollout.episode import Job
from himac.types import Episode, Role, Weights


class GivenUp(Exception):
    """Nobody wants the episodes any more."""


class Gate:
    """Lets a role be asked only while its weights are at rest.

    Args:
        catch_up: lets what is asked have the learner's weights of now, where it does not share them.
        behind: nobody waits: what is asked has weights of its own.
        shared: the roles have one set of weights, which every update moves.
    """

    def __init__(
        self, catch_up: Callable[[], None] = lambda: None, *, behind: bool = False, shared: bool = False
    ) -> None:
        self.catch_up, self._behind, self._shared = catch_up, behind, shared
        self._changed = threading.Condition()
        self._moving: frozenset[Role] = frozenset()
        self._is_shut = self._is_given_up = False
        self.is_stale = False  # someone was asked who has learned since
        self.waited_s = 0.0

    def wait(self, role: Role) -> None:
        """Return once the role may be asked.

        Raises:
            GivenUp: it need not be asked any more.
        """
        began = time.perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: self._is_given_up or not self._is_shut or role not in self._moving)
            self.waited_s += time.perf_counter() - began
            self.is_stale |= self._behind and role in self._moving
        self.check()

    def check(self) -> None:
        """Go on.

        Raises:
            GivenUp: nobody wants what it is for.
        """
        if self._is_given_up:
            raise GivenUp

    def shut(self, moving: Sequence[Role]) -> None:
        """Let nobody ask these roles until `open`, unless with the weights of now."""
        self.catch_up()
        with self._changed:
            self._moving, self._is_shut, self._is_given_up = frozenset(moving), not self._behind, False
            self.is_stale, self.waited_s = self._behind and self._shared, 0.0

    def open(self, *, give_up: bool = False) -> None:
        """Let all roles be asked, or whoever asks give up."""
        with self._changed:
            self._is_shut, self._is_given_up = False, give_up
            self._changed.notify_all()


class BesideRunner:
    """An `EpisodeRunner` of which a collection may begin before it is asked for.

    Args:
        runner: runs the episodes; its engine waits at the gate before it asks a role.
        gate: what it waits at.
    """

    def __init__(self, runner: EpisodeRunner, gate: Gate) -> None:
        self._runner, self._gate = runner, gate
        self._begun: _Begun | None = None
        self._has_caught_up = False
        self.is_stale, self.elsewhere_s = False, 0.0
        self.clock = CollectClock()
        """Where the time went of what was returned; waiting for weights to come to rest is left out."""

    def begin(self, jobs: Sequence[Job], *, share_identical: bool = False, moving: Sequence[Role]) -> None:
        """Begin jobs that `run` will ask for; roles whose weights are `moving` are asked no earlier than that."""
        self._give_up()
        self._runner.release()
        self._gate.shut(moving)
        self._has_caught_up = True
        self._begun = _Begun(self._runner, jobs, share_identical, self._gate.check)

    def run(
        self,
        jobs: Sequence[Job],
        *,
        share_identical: bool = False,
        progress: Callable[[int], None] | None = None,
        keep: Callable[[Episode], None] | None = None,
    ) -> list[Episode]:
        """Run every job, or wait for those that were begun; see `EpisodeRunner.run`."""
        begun = self._begun
        if begun is None or begun.key != _key(jobs):
            self._give_up()
            if not self._has_caught_up:
                self._catch_up()
            found = self._runner.run(jobs, share_identical=share_identical, progress=progress, keep=keep)
            self._count(waited_s=0.0)
            self.is_stale = False
            return found
        begun.tell(progress)
        self._gate.open()
        episodes = begun.episodes.result()
        begun.thread.join()
        self._begun, self.is_stale = None, self._gate.is_stale
        self._count(waited_s=self._gate.waited_s)
        for episode in episodes if keep is not None else ():
            if not episode.is_copy:
                keep(episode)  # type: ignore[misc]
        return episodes

    def release(self) -> None:
        """See `EpisodeRunner.release`; not while episodes are under way."""
        if self._begun is None:
            self._runner.release()

    def load_weights(self, state: Weights, version: int) -> None:
        """See `EpisodeRunner.load_weights`. Episodes under way keep what they computed, and go on with what they began with."""
        if self._begun is None:
            self._catch_up()
            self._runner.load_weights(state, version)

    def close(self) -> None:
        """End what is under way, and close the environments."""
        self._give_up()
        self._runner.close()

    def _give_up(self) -> None:
        """Wait until nothing is under way; what has begun is dropped at its next step."""
        if self._begun is not None:
            self._gate.open(give_up=True)
            self._begun.thread.join()
            self._begun, self._runner.clock = None, CollectClock()
        self._gate.open()

    def _catch_up(self) -> None:
        self._gate.catch_up()
        self._has_caught_up = True

    def _count(self, *, waited_s: float) -> None:
        """Take over what the runner's clock has counted, a wait at the gate left out."""
        counted, self._runner.clock = self._runner.clock, CollectClock()
        self.clock.generate_s += counted.generate_s - waited_s
        self.clock.total_s += counted.total_s - waited_s
        self.clock.env_s += counted.env_s


class _Begun:
    """Episodes under way in a thread."""

    def __init__(
        self, runner: EpisodeRunner, jobs: Sequence[Job], share_identical: bool, check: Callable[[], None]
    ) -> None:
        self.key = _key(jobs)
        self.episodes: Future[list[Episode]] = Future()
        self._lock = threading.Lock()
        self._finished = 0
        self._progress: Callable[[int], None] | None = None

        def work() -> None:
            try:
                found = runner.run(
                    jobs, share_identical=share_identical, progress=self._note, before_step=check
                )
            except BaseException as error:  # raised again where the episodes are asked for
                self.episodes.set_exception(error)
            else:
                self.episodes.set_result(found)

        self.thread = threading.Thread(target=work, name="himac-collects", daemon=True)
        self.thread.start()

    def tell(self, progress: Callable[[int], None] | None) -> None:
        """Call `progress` for what is finished and, from now on, what finishes."""
        with self._lock:
            self._progress = progress
            if progress is not None and self._finished:
                progress(self._finished)

    def _note(self, count: int) -> None:
        with self._lock:
            self._finished += count
            if self._progress is not None:
                self._progress(count)


def _key(jobs: Sequence[Job]) -> list[tuple[object, ...]]:
    """Say which episodes jobs are; a seed is derived from phase, iteration, task and replica."""
    return [(job.task, job.replica, job.seed, job.env_seed) for job in jobs]
