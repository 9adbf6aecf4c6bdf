"""Drawing the sealed split: every finished run of a plan, before and after training, on tasks that nobody has seen.

All runs of the plan must be done, for what is drawn while something can still be changed is no longer sealed. Each
evaluation is a folder of its own, so the same command goes on after a kill; going on is not another draw. What the split was drawn
for stands in `himac.compare.seal`'s record before the first task is played.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import himac
from himac.compare.comparison import Comparison, PlannedRun, planned_runs
from himac.compare.criteria import FILE as TERMS
from himac.compare.runner import state_of
from himac.compare.seal import FOLDER, Draw, Record, digest_of, finished, read_record, write_record
from himac.config import Config, override
from himac.envs.base import make_env, tasks_of
from himac.envs.splits import SEALED
from himac.errors import RunError
from himac.evaluation.folder import evaluate_in_folder, folder_name
from himac.files import owned
from himac.runs.console import Console
from himac.runs.folder import EVALUATIONS
from himac.train.evaluate import find_model
from himac.types import Row

WHEN = {"before": "start", "after": "last"}
"""Which of a run's checkpoints is judged."""


def unseal(plan: Comparison, out: Path, console: Console) -> Record:
    """Evaluate a plan's runs on the sealed split, and record that it was drawn.

    Args:
        plan: the plan.
        out: folder of the comparison.
        console: told the progress.

    Raises:
        RunError: a run is not finished, or somebody else is at work in the folder.
        ConfigError: a world of the plan has no sealed split.
        DataError: the record was changed by hand.
    """
    runs = planned_runs(plan, out)[1]
    unfinished = [run.folder.name for run in runs if state_of(run) != "done"]
    if unfinished:
        raise RunError(
            f"{len(unfinished)} of the plan's {len(runs)} runs are not finished, first {unfinished[0]}: the sealed split is drawn "
            "once, at the end",
            hint="himac compare PLAN finishes them; what will not be run comes out of the plan",
        )
    with owned(out, "himac compare --unseal"):
        record, wanted = read_record(out), _draw(plan, runs, out)
        if record.draws and _is_same(record.draws[-1], wanted):
            if record.is_complete:
                console.say("the sealed split was drawn for these very runs; nothing is drawn again")
                return record
            console.say("going on with the draw that was broken off")
        else:
            previous = record.draws[-1].hash if record.draws else ""
            draw = Draw(**{key: getattr(wanted, key) for key in _KEYS}, previous=previous).hashed()
            record = Record(draws=(*record.draws, draw))
            write_record(record, out)
        record = finished(record, _results(runs, out / FOLDER / EVALUATIONS, console))
        write_record(record, out)
        return record


_OF_MACHINE = ("model", "planner", "executor", "seconds", "usage")  # paths and times: the folders have them
_KEYS = ("at", "commit", "version", "plan", "runs", "tasks")


def _draw(plan: Comparison, runs: list[PlannedRun], out: Path) -> Draw:
    """Return what would be recorded now."""
    tasks = {}
    for run in runs:
        if run.environment not in tasks:
            tasks[run.environment] = _sealed_tasks(run.config)
    terms = out / TERMS
    weights: dict[str, str] = {}

    def hashed(run: PlannedRun, when: str) -> str:
        model = _config(run, when).eval.executor
        if model not in weights:
            weights[model] = _digest_of_model(Path(model))
        return weights[model]

    return Draw(
        at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        commit=_commit(),
        version=himac.__version__,
        plan=digest_of(terms.read_bytes()) if terms.is_file() else "",
        runs={run.folder.name: [hashed(run, when) for when in WHEN] for run in runs},
        tasks=tasks,
        previous="",
    )


def _is_same(drawn: Draw, wanted: Draw) -> bool:
    """Whether a draw was made for the same weights on the same tasks."""
    return (drawn.runs, drawn.tasks) == (wanted.runs, wanted.tasks)


def _results(runs: list[PlannedRun], folder: Path, console: Console) -> dict[str, dict[str, Row]]:
    """Evaluate every run; methods that start from one model, and play alike, share its evaluation."""
    seen: dict[str, Row] = {}

    def evaluated(run: PlannedRun, when: str) -> Row:
        config = _config(run, when)
        name = folder_name(config)
        if name not in seen:
            row, stopped = evaluate_in_folder(config, folder / name, console)
            if stopped is not None:
                raise stopped
            seen[name] = {key: value for key, value in row.items() if key not in _OF_MACHINE}
            console.say(f"{run.folder.name} {when}: {row['success']:.3f} of {row['episodes']} sealed tasks")
        return seen[name]

    return {run.folder.name: {when: evaluated(run, when) for when in WHEN} for run in runs}


def _config(run: PlannedRun, when: str) -> Config:
    """Return the config of a run's evaluation, before or after training."""
    model, config, _ = find_model(str(run.folder), [], WHEN[when])
    told = {"split": SEALED, "final": "", "tasks": 0, "planner": model, "executor": model}
    return override(config, eval=told)


def _sealed_tasks(config: Config) -> list[str]:
    """Return (how many sealed tasks a world has, the hash of all their first observations)."""
    env = make_env(config.env.name, **config.env.settings)
    tasks = tasks_of(env, SEALED)
    texts = [env.reset(task).text for task in tasks]
    env.close()
    return [str(len(tasks)), digest_of("\0".join(texts).encode())]


def _digest_of_model(folder: Path) -> str:
    """Return the hash of a model's weights; of its name where it is no folder."""
    files = sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return digest_of(str(folder).encode())
    return digest_of("".join(digest_of(path.read_bytes()) for path in files).encode())


def _commit() -> str:
    """Return the commit of himac's own checkout, with a "+" where files were changed; "" where it is none."""
    home = Path(himac.__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(home), *words], capture_output=True, text=True, timeout=20, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if not git("ls-files", "__init__.py"):  # installed somewhere inside another project's checkout
            return ""
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""
