"""What a Ray actor does: it runs units of work with a model, an engine and environments of its own.

A unit is a function of its jobs and the weights alone: nothing that an earlier one left behind (a cached prefix would
move last bits) has a say in it. So Ray may run it again on an actor that has just been restarted, and nobody can tell.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from himac import __version__
from himac.engines.base import lay_into
from himac.images import Album
from himac.remote.weights import unpacked
from himac.rollout.collect import CollectClock, EpisodeRunner
from himac.rollout.episode import Job
from himac.types import Episode, LanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a collector is made of."""

    runner: EpisodeRunner
    model: LanguageModel  # that the runner's engine generates with
    album: Album


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A unit of work, done."""

    episodes: list[Episode]
    pictures: dict[str, bytes]  # that this actor has not sent before
    clock: CollectClock
    processor_s: float
    software: tuple[str, ...]  # of the machine it ran on


class Worker:
    """The actor.

    Args:
        make: builds the parts. Called by the first unit: what fails then is told as its error, not as an actor's death.
        folder: that the run was started in; names in its settings may be relative to it.
        path: where modules are looked for.
        threads: to compute with.
    """

    def __init__(self, make: Callable[[], Parts], *, folder: str, path: Sequence[str], threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if os.path.isdir(folder):
            os.chdir(folder)
        sys.path += [place for place in path if place not in sys.path]
        self._make = make
        self._parts: Parts | None = None
        self._number = 0  # of the weights that the model has
        self._sent: set[str] = set()  # pictures

    def run(self, jobs: Sequence[Job], share_identical: bool, number: int, held: Sequence[Any]) -> Done:
        """Run jobs with weights of that number, which are `held` in the object store, or by the model already."""
        began = time.process_time()
        if self._parts is None:
            self._parts = self._make()
        parts, runner = self._parts, self._parts.runner
        if number != self._number:
            import ray

            lay_into(parts.model, unpacked(ray.get(held[0])))
            runner.load_weights(None, number)
            self._number = number
        runner.release()
        runner.clock = CollectClock()
        episodes = runner.run(jobs, share_identical=share_identical)
        fresh = [name for name in parts.album.names() if name not in self._sent]
        self._sent.update(fresh)
        return Done(
            episodes=episodes,
            pictures={name: parts.album.png(name) for name in fresh},
            clock=runner.clock,
            processor_s=time.process_time() - began,
            software=software(),
        )


def software() -> tuple[str, ...]:
    """Return what must be the same wherever one run's episodes are computed, as words."""
    packages = (f"{name} {version(name)}" for name in ("torch", "transformers"))
    return (f"himac {__version__}", f"Python {platform.python_version()}", *packages)
