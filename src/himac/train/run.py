"""A training run from its folder's point of view: start, warm start, train, evaluate, save, resume.

A run is its config and its folder. Whatever is random is derived from the config's seed and the iteration, and
whatever grows is cut back to the last checkpoint, so a run that was killed goes on to the numbers it would have had.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from himac.config import Config, to_toml
from himac.envs.base import provenance
from himac.errors import DataError, ModelError, RunError
from himac.files import LOCK, make_folder, owned, read_json, write_text
from himac.learner import checkpoint as ckpt
from himac.learner.learner import Learner
from himac.models.attention import why_padded
from himac.parallel import ALONE, Ranks
from himac.remote import connected
from himac.report.run_status import duration, read_status
from himac.rollout.evaluate import evaluate, subset
from himac.runs.console import Console, Silent
from himac.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    EPISODES,
    MACHINE,
    METRICS,
    RECIPE,
    START,
    WARMING,
    RunWriter,
    read_rows,
)
from himac.runs.log import RunLog
from himac.runs.machine import describe_machine
from himac.runs.sinks import make_sinks
from himac.runs.trackers import LEFT_BEHIND
from himac.train.checks import check_trainable
from himac.train.components import Components
from himac.train.local import pick_device
from himac.train.start import starting_model, way_to_model
from himac.types import Row, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished run has to show."""

    folder: Path
    state: ckpt.TrainState
    before: Row | None  # evaluation of the final split at iteration 0
    after: Row | None  # and at the end


def new_run(
    folder: Path, config: Config, *, recipe: str = "", ranks: int = 1, verb: str = "himac train"
) -> None:
    """Make a run folder and save its config, the text of the recipe it came from, and where it is started.

    Args:
        folder: made when absent.
        config: the run's.
        recipe: the text of the recipe.
        ranks: processes that train it.
        verb: the command that makes it, and that alone goes on with it.

    Raises:
        RunError: the folder already holds a run, or cannot be written.
    """
    if (folder / CONFIG).exists():
        raise RunError(
            f"{str(folder)!r} already holds a run", hint=f"{verb} --resume {folder}, or another run.name"
        )
    machine = describe_machine() | _accelerator(config.run.device) | ({"ranks": ranks} if ranks > 1 else {})
    make_folder(folder)
    try:
        machine |= {"made_by": verb, **way_to_model(config.model.name, folder)}
        write_text(folder / MACHINE, json.dumps(machine, indent=1) + "\n")
        if recipe:
            write_text(folder / RECIPE, recipe)
        write_text(folder / CONFIG, to_toml(config))
    except Exception:
        withdraw(folder)
        raise


def withdraw(folder: Path) -> None:
    """Take a run away that came to nothing: its few files, and the folder where nothing else lies in it."""
    if has_begun(folder):
        return
    for name in (CONFIG, RECIPE, MACHINE, METRICS, EPISODES, LOCK, *LEFT_BEHIND):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    for name in (WARMING, "tensorboard", "wandb"):
        shutil.rmtree(folder / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def has_begun(folder: Path) -> bool:
    """Whether a run has anything that took time: a start or a part of one, metrics, checkpoints."""
    path = folder / METRICS
    told = path.is_file() and path.stat().st_size > 0
    return told or any(any((folder / name).glob("*")) for name in (START, f"{WARMING}/steps", CHECKPOINTS))


def train(config: Config, folder: Path, console: Console | None = None, *, ranks: Ranks = ALONE) -> Outcome:
    """Train, or go on training, the run in `folder` (see `new_run`).

    Args:
        config: the run's settings, as its folder has them.
        folder: the run's.
        console: told what happens; None: nobody is.
        ranks: the processes that do it together; all call this, with the same folder, and the first one writes.

    Raises:
        ConfigError: the config describes an evaluation.
    """
    console = console if console is not None and ranks.is_first else Silent()
    check_trainable(config)
    with _held(folder, "himac train", ranks), connected(config.parallel, here=ranks.is_first):
        return _train(config, folder, console, ranks)


def make_start(
    config: Config, folder: Path, console: Console | None = None, *, ranks: Ranks = ALONE
) -> str | Path:
    """Make a run's warm start alone, or go on making it; return the model's folder."""
    console = console if console is not None and ranks.is_first else Silent()
    with _held(folder, "himac sft", ranks):
        return starting_model(config, folder, console, ranks=ranks)


@contextlib.contextmanager
def _held(folder: Path, doing: str, ranks: Ranks) -> Iterator[None]:
    """Own a run's folder; take it away again where what is done in it fails before it has begun."""
    with contextlib.ExitStack() as stack:
        if ranks.is_first:
            stack.enter_context(owned(folder, doing, hint="himac watch follows it"))
        try:
            yield
        except Exception:
            if ranks.is_first:
                withdraw(folder)
            raise


def _train(config: Config, folder: Path, console: Console, ranks: Ranks) -> Outcome:
    parts = Components(config, starting_model(config, folder, console, ranks=ranks), ranks=ranks)
    if ranks.is_first:
        _note_world(folder, parts)
    if padded := why_padded(parts.policy.model):
        console.say(f"padded rows, nothing shared, and so slower: {padded}")
    if config.algo.has_kl:
        parts.policy.freeze_reference()  # before a checkpoint is loaded: the reference is where the run began
    learner = parts.learner()
    state, is_resumed = _take_up(folder, learner, console, ranks)
    writer = RunWriter(folder, lengths=state.lengths, album=parts.album) if ranks.is_first else None
    after = state.iteration if is_resumed else None
    sinks = (
        make_sinks(config.run.sinks, folder, config=config, after=after, say=console.say) if writer else ()
    )
    log = RunLog(
        writer,
        console,
        iterations=config.run.iterations,
        sinks=sinks,
        save_episodes=config.run.save_episodes,
        ahead=time_left(folder, config) if writer else None,
    )
    try:
        return _Session(config, folder, parts, learner, log, writer).go(state, resumed=is_resumed)
    finally:
        log.close()
        parts.close()


def time_left(folder: Path, config: Config) -> Callable[[Row], Callable[[], str]]:
    """Return what takes row by row and returns what says, whenever it is asked, how long the run will still take.

    It says nothing where the time is over, and where the evaluation under way is all that is left: its own bar tells.
    """
    rows = list(read_rows(folder / METRICS))

    def ahead(row: Row) -> Callable[[], str]:
        rows.append(row)
        status, since = read_status(rows, config), time.monotonic()
        is_last = status.stage == "evaluating" and (status.left_s or 0.0) <= status.part_s
        until = since + (0.0 if is_last or not status.left_s else status.left_s)

        def told() -> str:
            left_s = until - time.monotonic()
            return f"run: about {duration(left_s)} left" if left_s >= 1 else ""

        return told

    return ahead


def _take_up(folder: Path, learner: Learner, console: Console, ranks: Ranks) -> tuple[ckpt.TrainState, bool]:
    """Load the newest checkpoint that is whole; return how far it had come, and whether there was one.

    A damaged one is set aside and the one before it is taken: the run's files are cut back to what that one remembers.

    Raises:
        RunError: there are checkpoints, and none is whole.
    """
    while saved := ranks.first(ckpt.find(folder)):
        fault = ranks.first(ckpt.damage(saved) if ranks.is_first else "")
        try:
            if not fault:
                state = ckpt.read_state(saved)
                learner.load(saved)
                console.say(f"resuming {folder.name} after iteration {state.iteration}")
                if ranks.is_first:
                    ckpt.drop_old(folder)  # a kill may have come between a save and its tidying
                return state, True
        except (DataError, ModelError) as error:
            if ckpt.is_sealed(saved):  # it is what was written: something else is wrong
                raise
            fault = str(error)
        if ranks.is_first:
            aside = ckpt.set_aside(saved)
            console.say(
                f"{saved.name} is damaged ({fault}): set aside as {aside.name}, going on from the one before"
            )
        ranks.wait()
    if lost := ranks.first(ckpt.damaged(folder)):
        raise RunError(
            f"no checkpoint of {str(folder)!r} is whole any more; damaged ones: {', '.join(path.name for path in lost)}",
            hint="its files are as they were; start anew under another run.name",
        )
    return ckpt.TrainState(), False


def _accelerator(name: str) -> dict[str, str]:
    """Name the GPU that `run.device` means here; nothing where it means none."""
    device = pick_device(name)
    return {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}


def _note_world(folder: Path, parts: Components) -> None:
    """Record the environment's provenance in machine.json."""
    origin = provenance(parts.env)
    if origin:
        path = folder / MACHINE
        found = read_json(path) if path.is_file() else {}
        write_text(path, json.dumps(found | {"world": origin}, indent=1) + "\n")


class _Session:
    """One process's share of a run: what the loop leaves to the outside (clock, evaluation, files)."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        parts: Components,
        learner: Learner,
        log: RunLog,
        writer: RunWriter | None,
    ) -> None:
        self._config, self._folder = config, folder
        self._parts, self._learner, self._log, self._writer = parts, learner, log, writer
        self._ranks = parts.ranks
        self._lap_began, self._processor_began = time.perf_counter(), self._processor()

    def go(self, state: ckpt.TrainState, *, resumed: bool) -> Outcome:
        """Evaluate, train, evaluate."""
        loop = self._parts.loop(self._learner, log=self._log, outside=self)
        before = None
        if not resumed:
            before = self._evaluate_final(state)
            state = self.save(self.evaluate(state) if self._config.eval.every else state, is_best=False)
        state = loop.train(state)
        after = self._evaluate_final(state)  # not part of the checkpoint: a killed one runs again
        return Outcome(folder=self._folder, state=state, before=before, after=after)

    def lap(self) -> float:
        """Return the seconds since the last lap, by the first rank's clock: the run's length is decided by it."""
        began, self._lap_began = self._lap_began, time.perf_counter()
        return self._ranks.first(self._lap_began - began)

    def processor_s(self) -> float:
        """Return the seconds of processor cores, of all ranks, since this was last asked."""
        began, self._processor_began = self._processor_began, self._processor()
        return float(self._ranks.sum(np.array(self._processor_began - began)))

    def _processor(self) -> float:
        """Return the seconds of processor cores so far, of this process and of those that run episodes for it alone."""
        return time.process_time() + self._parts.collector.runner.elsewhere_s

    def out_of_time(self, state: ckpt.TrainState) -> bool:
        """Whether the run has trained for as long as it may."""
        return state.out_of_time(self._config.budget)

    def evaluate(self, state: ckpt.TrainState) -> ckpt.TrainState:
        """Evaluate on the validation split, or a subset of it; return the state with its best."""
        settings = self._config.eval
        tasks = self._parts.env.tasks(settings.split)
        chosen = subset(tasks, settings.tasks)
        summary = self._run_evaluation(state, chosen, settings.split)
        best = max(state.best_success, summary["success"])
        return replace(state, best_success=best, evaluated=state.iteration)

    def save(self, state: ckpt.TrainState, *, is_best: bool) -> ckpt.TrainState:
        """Write a checkpoint; it remembers how long the run's files were."""
        lengths = {} if self._writer is None else self._writer.lengths()
        state = self._ranks.first(replace(state, lengths=lengths))
        ckpt.save(self._folder, state, self._learner, is_best=is_best, ranks=self._ranks)
        return state

    def _evaluate_final(self, state: ckpt.TrainState) -> Row | None:
        split = self._config.eval.final
        return self._run_evaluation(state, self._parts.env.tasks(split), split) if split else None

    def _run_evaluation(self, state: ckpt.TrainState, tasks: Sequence[Task], split: str) -> Row:
        parts = self._parts
        summary, episodes = evaluate(
            parts.collector,
            tasks,
            temperature=self._config.eval.temperature,
            seed=self._config.run.seed,
            progress=self._log.collecting(f"evaluating {split}", len(tasks)),
        )
        # a resumed run has nothing cached after an evaluation, so this one may not have either
        parts.collector.load_weights(None, version=self._learner.version)
        row = {
            "iteration": state.iteration,
            "phase": "eval",
            "split": split,
            **state.totals(),
            **summary,
        }
        origin = provenance(parts.env)
        if origin:
            row["provenance"] = origin
        self._log.evaluation(row, episodes)
        return row
