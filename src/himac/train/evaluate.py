"""An evaluation of one model at once, and what a model's name means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from himac.config import Config, overlay
from himac.envs.base import provenance
from himac.errors import MissingFileError
from himac.learner import checkpoint as ckpt
from himac.rollout.evaluate import evaluate, subset
from himac.runs.console import Console
from himac.runs.folder import CHECKPOINTS, CONFIG, START, find_run
from himac.runs.formats import load_saved
from himac.train.components import EvalComponents, trials_of
from himac.types import Episode, Row, Task


def evaluate_tasks(
    config: Config,
    parts: EvalComponents,
    tasks: Sequence[Task],
    console: Console,
    *,
    known: Sequence[Episode] = (),
    keep: Callable[[Episode], None] | None = None,
) -> tuple[Row, list[Episode]]:
    """Run tasks as the config evaluates; `known` and `keep` are those of `himac.rollout.evaluate`."""
    return evaluate(
        parts.collector,
        tasks,
        temperature=config.eval.temperature,
        seed=config.run.seed,
        trials=trials_of(config),
        progress=console.collecting(f"evaluating {config.eval.split}", len(tasks)),
        known=known,
        keep=keep,
    )


def evaluate_model(config: Config, parts: EvalComponents, console: Console) -> tuple[Row, list[Episode]]:
    """Run the split's tasks; return (the summary as its JSON has it, the episodes)."""
    whole = parts.env.tasks(config.eval.split)
    summary, episodes = evaluate_tasks(config, parts, subset(whole, config.eval.tasks), console)
    row = {
        "model": config.eval.executor,
        "env": config.env.name,
        "split": config.eval.split,
        "tasks": len(whole),
        **summary,
    }
    origin = provenance(parts.env)
    return row | ({"provenance": origin} if origin else {}), episodes


def find_model(name: str, overrides: list[str], checkpoint: str) -> tuple[str, Config, Path | None]:
    """Return (model to load, config, run it belongs to) for a run, a checkpoint or a model's name.

    Raises:
        MissingFileError: the run has no such checkpoint yet.
    """
    keys = {word.partition("=")[0].strip() for word in overrides}
    if keys & {"split", "eval.split"} and "eval.tasks" not in keys:
        # a split that is named is taken whole, whatever the run looked at
        overrides = [*overrides, "eval.tasks=0"]
    given = Path(name)
    try:
        run = find_run(given)
    except MissingFileError:
        inside = [p for p in given.resolve().parents if (p / CONFIG).is_file()]
        base = load_saved(inside[0] / CONFIG) if inside else Config()
        model = given / ckpt.MODEL if (given / ckpt.MODEL).is_dir() else given
        return str(model), overlay(base, overrides), inside[0] if inside else None
    config, saved = load_saved(run / CONFIG), ckpt.find(run, checkpoint)
    was_only_started = not (run / CHECKPOINTS).exists() and (run / START).is_dir()  # by himac sft
    if checkpoint == "start" or was_only_started:
        made = run / START
        return str(made) if made.is_dir() else config.model.name, overlay(config, overrides), run
    if saved is None:
        raise MissingFileError(
            f"run {run.name!r} has no checkpoint {checkpoint!r} yet",
            hint="--checkpoint start evaluates its start",
        )
    return str(ckpt.model_folder(saved)), overlay(config, overrides), run
