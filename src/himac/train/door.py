"""The Python door: `himac.train(config)` and `himac.evaluate(model)`, for notebooks and programs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from himac.config import Config, differences, override
from himac.errors import RunError
from himac.runs.console import Console, Silent, Terminal
from himac.runs.folder import CONFIG
from himac.runs.formats import load_saved
from himac.train import run as runs
from himac.train.checks import check, check_trainable
from himac.train.components import EvalComponents
from himac.train.evaluate import evaluate_model, find_model
from himac.train.ready import check_ready
from himac.types import Episode, Row


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found."""

    summary: Row  # as in the JSON of `himac eval`: "success", "success_low", "success_high", ...
    episodes: Sequence[Episode]


def train(config: Config, *, folder: str | Path | None = None, verbose: bool = False) -> runs.Outcome:
    """Train a run to its end, or go on with one that was stopped.

    Args:
        config: from `himac.load_config(recipe, ["key=value", ...])`.
        folder: the run's; None makes one under config.run.dir. Where it holds a run of this config, that goes on.
        verbose: print to stderr what the command line prints.

    Returns:
        The folder, how far the run came, and its final evaluations.

    Raises:
        ConfigError: the config cannot be trained.
        RunError: the folder holds a run of another config.

    >>> import himac
    >>> config = himac.load_config(None, ["env=toy", "model=tiny", "agent.think=false", "sft.demonstrations=2000"])
    >>> outcome = himac.train(config)  # doctest: +SKIP
    """
    check_trainable(config)
    name = config.run.name or f"{config.env.name.rpartition(':')[2]}-{time.strftime('%Y%m%d-%H%M%S')}"
    home = Path(folder) if folder is not None else Path(config.run.dir) / name
    if (home / CONFIG).is_file():
        changed = differences(load_saved(home / CONFIG), config)
        if changed:
            raise RunError(f"{str(home)!r} holds a run of another config: {', '.join(changed)}")
    else:
        check_ready(config)
        runs.new_run(home, config)
    console = Terminal() if verbose else None
    try:
        return runs.train(config, home, console)
    finally:
        if console is not None:
            console.close()


def evaluate(
    model: str | Path,
    overrides: Sequence[str] = (),
    *,
    checkpoint: Literal["last", "best", "start"] = "last",
    verbose: bool = False,
) -> Evaluation:
    """Evaluate a run's checkpoint, a model folder or a Hugging Face name.

    Args:
        model: a run's config comes with it; anything else starts from the defaults.
        overrides: words as on the command line: "split=test", "eval.tasks=50", "env=toy".
        checkpoint: which of a run's.
        verbose: show progress on stderr.

    Raises:
        ConfigError: a setting that does not exist or does not fit.
        MissingFileError: the run has no such checkpoint.
    """
    name, config, _ = find_model(str(model), list(overrides), checkpoint)
    config = check(override(config, eval={"planner": name, "executor": name}))
    console: Console = Terminal() if verbose else Silent()
    parts = EvalComponents(config, planner=name, executor=name)
    try:
        return Evaluation(*evaluate_model(config, parts, console))
    finally:
        parts.close()
