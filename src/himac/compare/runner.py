"""Carrying a plan out: each run a subprocess, each finished run left alone.

What has been done stands on disk and nowhere else. A run that is whole is skipped, one that was begun goes on
with `himac train --resume`, one that is missing is started as soon as its warm start is there. So the same command
goes on after a kill, and a second machine's runs can be laid beside the first's. One comparison holds a lock on
its folder, and its runs inherit it: nobody joins in while a run left behind by a killed comparison still writes.
"""

from __future__ import annotations

import fnmatch
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from himac.compare.comparison import STARTS, Comparison, PlannedRun, WarmStart, planned_runs
from himac.compare.criteria import Criteria, criteria_of, refuse_low_target
from himac.config import Config, differences
from himac.errors import ConfigError, RunError, closest
from himac.files import make_folder, owned
from himac.report.reading import read_metrics
from himac.report.tables import TABLE
from himac.runs.folder import CONFIG
from himac.runs.formats import load_saved
from himac.types import Row

_POLL_S = 0.2
_LOOK_S = 2.0  # between two looks at a run's metrics
_PATIENCE_S = 20.0  # for a run that was told to stop


@dataclass(slots=True)
class _Active:
    """A subprocess at work."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    bar: TaskID
    run: PlannedRun | None  # None: a warm start
    looked_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A run that did not end well."""

    name: str
    reason: str
    log: Path | None  # None: it was not begun


def state_of(run: PlannedRun) -> str:
    """Return "missing", "begun" or "done".

    Raises:
        RunError: the folder holds a run with other settings.
    """
    if not (run.folder / CONFIG).is_file():
        return "missing"
    _refuse_other_settings(run.folder, run.config)
    rows = read_metrics(run.folder)
    last = rows[-1] if rows else {}
    settings = run.config.eval
    is_judged = last.get("phase") == "eval" and last.get("split") == (settings.final or settings.split)
    is_drawn = (run.folder / TABLE).is_file()  # the last thing that a run writes
    return "done" if is_judged and is_drawn and last["iteration"] > 0 else "begun"


def carry_out(
    plan: Comparison, out: Path, *, jobs: int, console: Console, only: Sequence[str] = ()
) -> list[Failure]:
    """Run whatever a plan still lacks.

    Args:
        plan: the plan.
        out: folder of the comparison.
        jobs: subprocesses at a time.
        console: where progress goes.
        only: patterns, as of files, of the names of runs to carry out; (): all.

    Returns:
        The runs that failed; all others are done.

    Raises:
        ConfigError: a pattern that no run's name fits.
        RunError: another comparison works in the folder, or a folder holds something else.
    """
    starts, runs = planned_runs(plan, out)
    wanted = _fitting(runs, only)
    with (
        owned(
            out,
            "himac compare",
            hint="wait for it, or for a run that it left behind; --read shows what is there",
        ) as lock,
        _bars(console) as bars,
    ):
        for start in starts:
            if start.model.is_dir():
                _refuse_other_settings(start.folder, start.config)
        missing = [run for run in wanted if state_of(run) != "done"]
        part = f"{len(wanted)} of {len(runs)}" if only else f"{len(runs)}"
        console.print(f"{plan.name}: {part} runs, {len(wanted) - len(missing)} done, {jobs} at a time")
        return _Crew(out, jobs, console, bars, lock, criteria_of(plan)).work(_with_starts(missing, starts))


def _fitting(runs: Sequence[PlannedRun], only: Sequence[str]) -> list[PlannedRun]:
    """Return the runs whose names fit one of the patterns.

    Raises:
        ConfigError: a pattern that none fits.
    """
    names = [run.folder.name for run in runs]
    for pattern in only:
        if not fnmatch.filter(names, pattern):
            raise ConfigError(
                f"--only {pattern!r} fits none of the plan's runs: {', '.join(names[:4])}, ...{closest(pattern, names)}"
            )
    return [run for run in runs if not only or any(fnmatch.fnmatchcase(run.folder.name, p) for p in only)]


class _Crew:
    """Starts subprocesses as places and warm starts become free."""

    def __init__(
        self, out: Path, jobs: int, console: Console, bars: Progress, lock: int | None, terms: Criteria
    ) -> None:
        self._terms = terms
        self._out, self._jobs, self._console, self._bars, self._lock = out, jobs, console, bars, lock
        self._active: list[_Active] = []
        self._failures: list[Failure] = []

    def work(self, waiting: list[WarmStart | PlannedRun]) -> list[Failure]:
        """Work until nothing is left, and leave no subprocess behind."""
        whole = self._bars.add_task("all", total=len(waiting), told="")
        try:
            while waiting or self._active:
                waiting = self._fill(waiting)
                time.sleep(_POLL_S)
                for active in [a for a in self._active if a.process.poll() is not None]:
                    self._end(active)
                    self._bars.advance(whole)
                self._look()
        finally:
            self._stop_all()
        return self._failures

    def _fill(self, waiting: list[WarmStart | PlannedRun]) -> list[WarmStart | PlannedRun]:
        """Begin what can begin, in order; return what still waits."""
        failed = {failure.name for failure in self._failures}
        left = []
        for job in waiting:
            needs = f"start {job.needs}" if isinstance(job, PlannedRun) and job.needs else ""
            if needs in failed:
                reason = "its warm start failed"
                self._failures.append(Failure(name=job.folder.name, reason=reason, log=None))
            elif len(self._active) >= self._jobs or (needs and not Path(job.config.model.name).is_dir()):
                left.append(job)
            else:
                self._begin(job)
        return left

    def _begin(self, job: WarmStart | PlannedRun) -> None:
        is_run = isinstance(job, PlannedRun)
        if isinstance(job, PlannedRun):
            name = job.folder.name
            is_begun = state_of(job) == "begun"
            words = ["train", "--resume", str(job.folder)] if is_begun else ["train", *job.words]
        else:
            name = f"start {job.name}"
            is_begun = (job.folder / CONFIG).is_file()
            words = ["sft", "--resume", str(job.folder)] if is_begun else ["sft", *job.words]
        log = self._out / "logs" / f"{name.replace(' ', '-')}.log"
        make_folder(log.parent)
        with open(log, "ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "himac", *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                pass_fds=() if self._lock is None else (self._lock,),
            )
        bar = self._bars.add_task(name, total=1.0, told="")
        self._active.append(
            _Active(
                name=name, process=process, log=log, bar=bar, run=job if isinstance(job, PlannedRun) else None
            )
        )
        self._console.print(f"{'run' if is_run else 'warm start'}: himac {shlex.join(words)}", markup=False)

    def _end(self, active: _Active) -> None:
        self._active.remove(active)
        self._bars.remove_task(active.bar)
        if active.process.returncode:
            reason = _last_words(active.log) or f"exit status {active.process.returncode}"
            self._failures.append(Failure(name=active.name, reason=reason, log=active.log))
            self._console.print(f"failed: {active.name}: {reason}", markup=False)
        else:
            rows = read_metrics(active.run.folder) if active.run else []
            if active.run:
                self._check_target(active.run, rows)
            self._console.print(f"done: {active.name}{_result(rows)}", markup=False)

    def _look(self) -> None:
        """Show how far the runs have come; stop all where one began at the target.

        Raises:
            ConfigError: a run's start is not below the target.
        """
        now = time.monotonic()
        for active in self._active:
            is_read = active.run and (self._terms.target_of(active.run.environment) or not self._bars.disable)
            if active.run and is_read and now - active.looked_s > _LOOK_S:
                active.looked_s = now
                rows = read_metrics(active.run.folder)
                self._check_target(active.run, rows)
                if not self._bars.disable:
                    share, told = _progress(active.run, rows)
                    self._bars.update(active.bar, completed=share, told=told)

    def _check_target(self, run: PlannedRun, rows: Sequence[Row]) -> None:
        target = self._terms.target_of(run.environment)
        split = run.config.eval.split
        first = next((row for row in rows if row.get("phase") == "eval" and row["split"] == split), {})
        if target:
            refuse_low_target(target, first, run.folder.name)

    def _stop_all(self) -> None:
        for active in self._active:
            active.process.terminate()
        for active in self._active:
            try:
                active.process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                active.process.kill()
                active.process.wait()


def _with_starts(runs: Sequence[PlannedRun], starts: Sequence[WarmStart]) -> list[WarmStart | PlannedRun]:
    """Put each warm start that is not there yet before the first run that needs it."""
    unbuilt = {start.name: start for start in starts if not start.model.is_dir()}
    order: list[WarmStart | PlannedRun] = []
    for run in runs:
        if run.needs in unbuilt:
            order.append(unbuilt.pop(run.needs))
        order.append(run)
    return order


def _progress(run: PlannedRun, rows: Sequence[Row]) -> tuple[float, str]:
    """Return (share of the budget that is spent, as of the last evaluation; what to say)."""
    if not rows:
        return 0.0, ""
    budget = run.config.budget
    judged = [row for row in rows if row["phase"] == "eval"]
    spent = [rows[-1]["iteration"] / max(run.config.run.iterations, 1)]
    for key in ("env_steps", "tokens", "processed_tokens", "processor_s"):
        limit = getattr(budget, key)
        spent += [judged[-1].get(f"total_{key}", 0) / limit] if limit and judged else []
    told = f"iteration {rows[-1]['iteration']}"
    curve = [row for row in judged if row["split"] == run.config.eval.split]
    return min(max(spent), 1.0), f"{told}, success {curve[-1]['success']:.3f}" if curve else told


def _result(rows: Sequence[Row]) -> str:
    return f", success {rows[-1]['success']:.3f} on {rows[-1]['split']}" if rows else ""


def _last_words(log: Path) -> str:
    """Return the line in which himac says what went wrong, or else the log's last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = [line for line in lines if line.startswith("himac: ")]
    return (said or [line for line in lines if line] or [""])[-1]


def _refuse_other_settings(folder: Path, wanted: Config) -> None:
    """A folder's run counts for a plan only if the plan would start exactly this run, here or where it was made."""
    found = load_saved(folder / CONFIG)
    model, made_in = found.model, Path(found.run.dir)
    if Path(model.name).is_relative_to(made_in / STARTS):
        model = replace(model, name=str(Path(wanted.run.dir) / Path(model.name).relative_to(made_in)))
    here = replace(found.run, dir=wanted.run.dir, name=wanted.run.name)
    differing = differences(replace(found, run=here, model=model), wanted)
    if differing:
        told = "; ".join(f"{key} is {got!r}, planned {want!r}" for key, (want, got) in differing.items())
        raise RunError(
            f"{str(folder)!r} holds a run with other settings: {told}",
            hint="another --out, or move the old run away",
        )


def _bars(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
