"""An evaluation in a folder of its own, that goes on where it stopped.

    runs/eval-.../
      config.toml        the resolved config; which models played stands in [eval]
      episodes.jsonl     one line an episode, written the moment it ends
      models.json        which weights played, by the size and date of their files
      usage.json         requests, tokens and seconds so far, over all commands
      evaluation.json    the summary, of what there is
      metrics.jsonl      the same as a run's evaluation, once it is complete

Endpoints fail, budgets end, machines are taken away and people press Ctrl-C, and each episode was paid for. What is finished is
read back and not run again, so the same command goes on; an episode that was under way starts anew. The
folder is a run's, so `himac show` and `himac report` read it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from himac.config import Config
from himac.engines.endpoint import Usage
from himac.envs.base import provenance, tasks_of
from himac.errors import DataError, EndpointError, RunError
from himac.files import owned, read_json, write_text
from himac.images import Album
from himac.rollout.evaluate import subset
from himac.rollout.summary import FAILED, conclude
from himac.runs.console import Console
from himac.runs.episodes import evaluation_row, read_episode
from himac.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    EPISODES,
    IMAGES,
    RunWriter,
    cut_back,
    read_rows,
)
from himac.runs.formats import load_saved
from himac.toml import flat
from himac.train.components import EvalComponents
from himac.train.evaluate import evaluate_tasks
from himac.train.run import new_run
from himac.types import Episode, Row, StopReason, Task

EVALUATION, USAGE, MODELS = "evaluation.json", "usage.json", "models.json"
_SECTIONS = ("model", "env", "agent", "eval")  # of the config, that a result depends on whole


def evaluate_in_folder(config: Config, folder: Path, console: Console) -> tuple[Row, EndpointError | None]:
    """Evaluate `config.eval.planner` and `config.eval.executor` on the split, or go on doing so.

    Args:
        config: the settings; both models are named in it.
        folder: where it is kept; made when absent.
        console: told the progress.

    Returns:
        (the summary, why it is not complete). None: it is complete.

    Raises:
        RunError: the folder holds something else.
    """
    parts = EvalComponents(config, planner=config.eval.planner, executor=config.eval.executor)
    try:
        whole = tasks_of(parts.env, config.eval.split)
        tasks = subset(whole, config.eval.tasks)
        with owned(folder, "himac eval"):
            kept = EvaluationFolder(config, folder, tasks, parts.usage, size=len(whole), album=parts.album)
            return _evaluate(config, parts, kept, tasks, console)
    finally:
        parts.close()


def _evaluate(
    config: Config, parts: EvalComponents, kept: EvaluationFolder, tasks: Sequence[Task], console: Console
) -> tuple[Row, EndpointError | None]:
    """Run what is not on file yet."""
    if kept.episodes:
        console.say(f"going on: {len(kept.episodes)} episodes are there")
    stopped: EndpointError | None = None
    try:
        evaluate_tasks(config, parts, tasks, console, known=tuple(kept.episodes), keep=kept.keep)
    except EndpointError as error:
        stopped = error
    finally:
        kept.record.write()
    row = kept.finish(told=provenance(parts.env), is_complete=stopped is None)
    _say_failures(console, kept.episodes)
    return row, stopped


class EvaluationFolder:
    """An evaluation's episodes on file, those of interrupted commands included.

    Args:
        config: the evaluation's.
        folder: made when absent.
        tasks: the split.
        usage: counts what endpoints are asked for.
        size: of the whole split.
        album: holds the pictures that episodes name.

    Raises:
        RunError: the folder holds something else.
    """

    def __init__(
        self, config: Config, folder: Path, tasks: Sequence[Task], usage: Usage, *, size: int, album: Album
    ) -> None:
        self._size = size
        self.episodes = _open_folder(config, folder)
        self.record = UsageRecord(folder, usage)
        self._config, self._folder = config, folder
        self._index_of = {task: number for number, task in enumerate(tasks)}
        grown = [name for name in (EPISODES, IMAGES) if (folder / name).is_file()] if self.episodes else []
        lengths = {name: (folder / name).stat().st_size for name in grown}
        self._writer = RunWriter(folder, lengths=lengths, album=album)

    def keep(self, episode: Episode) -> None:
        """Put a finished episode on file."""
        self.episodes.append(episode)
        group, split = self._index_of[episode.task], self._config.eval.split
        self.record.write()  # before the episode: when killed in between, what was spent is counted and the episode runs again
        self._writer.episodes([evaluation_row(episode, iteration=0, group=group, split=split)])

    def finish(self, *, told: Row, is_complete: bool) -> Row:
        """Write and return the summary of what there is."""
        row = _row(
            self._config,
            self.episodes,
            told=told,
            asked=len(self._index_of),
            num_tasks=self._size,
            is_complete=is_complete,
            usage=self.record.totals(),
        )
        write_text(self._folder / EVALUATION, json.dumps(row, indent=1) + "\n")
        if is_complete:
            self._writer.metrics({"iteration": 0, "phase": "eval", **row})
        self._writer.close()
        return row


def folder_name(config: Config) -> str:
    """Return the folder's name: the same for the same evaluation, so that the same command finds it."""
    identity = json.dumps([_identity(config), _models(config)], sort_keys=True)
    digest = hashlib.blake2b(identity.encode(), digest_size=4).hexdigest()
    return f"eval-{config.env.name.rpartition(':')[2]}-{config.eval.split}-{config.algo.method}-{digest}"


def _identity(config: Config) -> Row:
    """Return the settings that an evaluation's result depends on."""
    whole = asdict(config)
    seed, method = config.run.seed, config.algo.method
    return {"run": {"seed": seed}, "algo": {"method": method}, **{name: whole[name] for name in _SECTIONS}}


def _models(config: Config) -> dict[str, list[tuple[str, int, int]]]:
    """Return {role: (name, bytes, date in ns) of each file of its weights}; [] for what is no local folder."""

    def files(name: str) -> list[tuple[str, int, int]]:
        folder = Path(name)
        found = sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
        return [
            (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in found
        ]

    return {"planner": files(config.eval.planner), "executor": files(config.eval.executor)}


def _open_folder(config: Config, folder: Path) -> list[Episode]:
    """Make the folder, or check that it holds this evaluation; return the episodes that are there."""
    models = json.dumps(_models(config)) + "\n"
    if not (folder / CONFIG).exists():
        write_text(folder / MODELS, models)  # before the config, which says that the folder is whole
        new_run(folder, config, verb="himac eval")
        return []
    held = flat(_identity(load_saved(folder / CONFIG)))
    wanted = flat(_identity(config))
    changed = [key for key in {**held, **wanted} if held.get(key) != wanted.get(key)]
    if (folder / MODELS).is_file() and (folder / MODELS).read_text(encoding="utf-8") != models:
        changed.append("the weights")
    if (folder / CHECKPOINTS).exists() or changed:
        what = f"another evaluation ({changed[0]} differs)" if changed else "a training run"
        raise RunError(f"{str(folder)!r} holds {what}", hint="give another run.name, or none at all")
    path = folder / EPISODES
    if not path.is_file():
        return []
    cut_back(path)  # a killed command leaves half a line
    return [read_episode(row) for row in read_rows(path)]


class UsageRecord:
    """What the evaluation has used up, over all commands: on file after every episode."""

    def __init__(self, folder: Path, usage: Usage) -> None:
        self._path, self._usage, self._began = folder / USAGE, usage, time.monotonic()
        self._before: dict[str, float] = {}
        if self._path.is_file():
            found = read_json(self._path)
            if not isinstance(found, dict) or not all(isinstance(n, int | float) for n in found.values()):
                raise DataError(
                    f"{str(self._path)!r} is damaged: counts expected, got {str(found)[:80]}",
                    hint="what was spent so far is lost with it; delete it to go on from none",
                )
            self._before = found
        usage.on_spend = self.write  # before a request is sent: what a kill interrupts was paid for

    def totals(self) -> dict[str, float]:
        """Return the counts."""
        now = {**self._usage.counts(), "seconds": round(time.monotonic() - self._began, 2)}
        return {key: round(count + self._before.get(key, 0), 2) for key, count in now.items()}

    def write(self) -> None:
        """Save them."""
        write_text(self._path, json.dumps(self.totals()) + "\n", durable=False)


def _row(
    config: Config,
    episodes: list[Episode],
    *,
    told: Row,
    asked: int,
    num_tasks: int,
    is_complete: bool,
    usage: dict[str, float],
) -> Row:
    """Return an evaluation as its JSON has it."""
    ordered = sorted(episodes, key=lambda e: (e.replica, e.task.index))
    models = {"planner": config.eval.planner, "executor": config.eval.executor}
    return {
        **({"model": config.eval.executor} if len(set(models.values())) == 1 else {}),
        **models,
        "env": config.env.name,
        "split": config.eval.split,
        "method": config.algo.method,
        **({"provenance": told} if told else {}),
        "complete": is_complete,
        "tasks": num_tasks,  # of the split
        "asked": asked,  # those that the evaluation is of
        **conclude(ordered),
        "temperature": config.eval.temperature,
        "seconds": usage["seconds"],
        "usage": usage,
    }


def _say_failures(console: Console, episodes: list[Episode]) -> None:
    """Say how many episodes could not be run, and why the first."""
    failed = [e for e in episodes if e.stop in FAILED]
    if failed:
        lines = failed[0].error.strip().splitlines()
        reason = lines[-1] if lines else failed[0].stop.value
        if failed[0].stop is StopReason.PROMPT_TOO_LONG:
            reason = "its first prompt alone is longer than model.max_prompt, or than the model takes"
        console.say(f"{len(failed)} of {len(episodes)} episodes could not be run (first: {reason})")
