"""Ray: whether it is there and has room, and the actors in their places.

Restarts and retries are Ray's own: an actor that dies is started again, elsewhere if need be, and the call that it was
in is made again. Whoever waits for that call learns nothing of it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from himac.errors import ConfigError, HimacError, RunError, missing_extra
from himac.layout import ParallelConfig
from himac.remote.worker import Done, Parts, Worker, software
from himac.rollout.episode import Job

_LIVES = 10  # restarts of one actor; those that a machine's end caused are not counted by Ray
_KNOCK_S = 10.0
_LEAST_CORES = 0.1
_PATIENCE_S = 60.0  # that a place is waited for, which others may just be leaving


def is_installed() -> bool:
    """Whether this environment has Ray."""
    return importlib.util.find_spec("ray") is not None


@contextlib.contextmanager
def connected(cfg: ParallelConfig, *, here: bool = True) -> Iterator[None]:
    """Be part of the Ray that the settings name, and be sure that it has room for the collectors.

    What is connected already stays so. A local Ray, and its files, are gone afterwards.

    Args:
        cfg: the settings; without collectors nothing happens.
        here: whether this process is the one that hands out work; for the others nothing happens either.

    Raises:
        MissingExtraError: Ray is not installed.
        RunError: no Ray answers, or it has no room.
    """
    if not cfg.collectors or not here:
        yield
        return
    if not is_installed():
        raise missing_extra("ray", "ray", f"parallel.collectors = {cfg.collectors}")
    import ray

    if ray.is_initialized():
        check_room(cfg)
        yield
        return
    short = "/tmp" if os.path.isdir("/tmp") else None  # the names of its sockets may not be long
    home = tempfile.mkdtemp(prefix="himac-ray-", dir=short) if cfg.ray == "local" else ""
    try:
        _connect(cfg.ray, home)
        check_room(cfg)
        yield
    finally:
        ray.shutdown()
        if home:
            shutil.rmtree(home, ignore_errors=True)


def _connect(address: str, home: str) -> None:
    """Start a local Ray whose files lie in `home`, or become part of one.

    Raises:
        ConfigError: an address of another kind.
        RunError: nothing answers there.
    """
    import ray

    if address not in ("local", "auto"):
        _knock(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # a GPU is a collector's by collector_size alone; Ray's coming way of saying so is asked for, and its warning spared
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    own = {"include_dashboard": False, "_temp_dir": home} if home else {}
    number = signal.SIGTERM
    handler, hook = signal.getsignal(number), sys.excepthook
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(
            f"no Ray to work with at parallel.ray = {address!r}: {first}",
            hint="ray start --head on one machine, ray start --address HOST:PORT on the others",
        ) from error
    finally:  # a signal ends himac in himac's order, which has an end for Ray in it
        sys.excepthook = hook
        with contextlib.suppress(
            ValueError, TypeError
        ):  # not the main thread; a handler that is not Python's
            signal.signal(number, handler)


def _knock(address: str) -> None:
    """Refuse an address behind which nobody answers: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(
            f'parallel.ray must be "local", "auto" or HOST:PORT, got {address!r}',
            hint="ray start --head prints the address",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise RunError(
            f"nothing answers at parallel.ray = {address!r}: {error}",
            hint="ray start --head prints the address",
        ) from error


def room(cores: float, gpus: float) -> int:
    """Return for how many collectors of such a size the machines of this Ray are large enough, busy or not."""
    import ray

    def on(held: dict[str, float]) -> int:
        by_gpu = held.get("GPU", 0.0) / gpus if gpus else float("inf")
        return int(min(held.get("CPU", 0.0) / cores, by_gpu) + 1e-6)

    return sum(on(node["Resources"]) for node in ray.nodes() if node["Alive"])


def check_room(cfg: ParallelConfig) -> None:
    """Refuse collectors that do not fit in.

    Raises:
        ConfigError: they have no size.
        RunError: the machines are too small, or in use.
    """
    cores, gpus = cfg.collector_size
    if cores < _LEAST_CORES:
        raise ConfigError(
            f"parallel.collector_size must begin with {_LEAST_CORES} processor cores or more, got {cores:g}"
        )
    found = room(cores, gpus)
    if found < cfg.collectors:
        raise RunError(
            f"parallel.collectors = {cfg.collectors}, of {cores:g} cores and {gpus:g} GPUs each: this Ray has room for {found}",
            hint=f"parallel.collectors={found}, or further machines: ray start --address HOST:PORT"
            if found
            else "further machines: ray start --address HOST:PORT",
        )
    _let_go(_reserved(cfg))


def _reserved(cfg: ParallelConfig) -> Any:
    """Return a placement group, one bundle a collector, on as few machines as will do: weights go to each once.

    Raises:
        RunError: others hold what it takes.
    """
    from ray.util.placement_group import placement_group

    cores, gpus = cfg.collector_size
    bundle = {"CPU": cores} | ({"GPU": gpus} if gpus else {})
    group = placement_group([dict(bundle) for _ in range(cfg.collectors)], strategy="PACK")
    if not group.wait(_PATIENCE_S):
        _let_go(group)
        raise RunError(
            f"parallel.collectors = {cfg.collectors}: this Ray is large enough, but others hold its processor cores or GPUs",
            hint="ray status says what is in use",
        )
    return group


def _let_go(group: Any) -> None:
    from ray.util.placement_group import remove_placement_group

    remove_placement_group(group)


class Crew:
    """The collectors, in their places.

    Args:
        cfg: how many, and how large.
        make: builds what a collector is made of, there.

    Raises:
        RunError: see `connected`.
    """

    def __init__(self, cfg: ParallelConfig, make: Callable[[], Parts]) -> None:
        self._number, self._held = 0, None
        cores, gpus = cfg.collector_size
        with contextlib.ExitStack() as stack:
            stack.enter_context(connected(cfg))
            import ray
            from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

            group = _reserved(cfg)
            stack.callback(_let_go, group)
            actor = ray.remote(Worker)
            self._actors = [
                actor.options(
                    num_cpus=cores,
                    num_gpus=gpus,
                    max_restarts=_LIVES,
                    max_task_retries=_LIVES,
                    scheduling_strategy=PlacementGroupSchedulingStrategy(group, bundle),
                ).remote(make, folder=os.getcwd(), path=list(sys.path), threads=max(1, int(cores)))
                for bundle in range(cfg.collectors)
            ]
            self._stack = stack.pop_all()

    def __len__(self) -> int:
        return len(self._actors)

    def put(self, state: Any) -> None:
        """Put weights into the object store: units that are handed out from now on are run with them."""
        import ray

        self._number, self._held = self._number + 1, ray.put(state)

    def hand(self, collector: int, jobs: Sequence[Job], *, share_identical: bool) -> Future[Done]:
        """Hand a unit of work to a collector."""
        # in a list: an actor that has these weights already does not ask for them
        held = [self._held]
        unit: Future[Done] = (
            self._actors[collector].run.remote(jobs, share_identical, self._number, held).future()
        )
        return unit

    def next(self, under_way: Collection[Future[Done]]) -> tuple[Future[Done], Done]:
        """Wait for the first of some units; return it, and what came of it.

        Raises:
            HimacError: the collector's own, or one line about what ended it.
        """
        import ray

        # not ray.wait: it would make a KeyboardInterrupt of its own of whatever a signal raises
        first = next(iter(wait(under_way, return_when=FIRST_COMPLETED).done))
        try:
            done = first.result()
        except ray.exceptions.RayError as error:
            raise _told(error) from error
        if done.software != software():
            theirs = [word for word in done.software if word not in software()]
            raise RunError(
                f"a collector computes with {', '.join(theirs)}, this process with {', '.join(software())}",
                hint="install the same on every machine: other versions draw other tokens",
            )
        return first, done

    def close(self) -> None:
        """End the actors, give their places back, and end a Ray that is the run's own. Closing twice is allowed."""
        self._actors, self._held = [], None  # Ray ends an actor that nobody can call any more
        self._stack.close()


def _told(error: Any) -> HimacError:
    """Return what ended a unit as one of himac's own errors."""
    import ray

    cause = getattr(error, "cause", None) if isinstance(error, ray.exceptions.RayTaskError) else None
    if isinstance(cause, HimacError):
        return cause
    lines = str(cause or error).strip().splitlines() or [""]
    kind = type(cause).__name__ if cause is not None else "Ray"
    return RunError(
        f"a collector failed: {kind}: {lines[-1].strip()}",
        hint="himac train --resume RUN goes on from the last checkpoint; parallel.collectors=0 runs episodes without Ray",
    )
