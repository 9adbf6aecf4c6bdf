"""`himac train` and `himac sft`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from himac.cli.given import (
    complete_runs,
    config_of,
    dry_run_option,
    examples,
    invocation,
    quiet_libraries,
    rehearsed,
    room,
    run_folder,
    run_name,
    split_recipe,
    tell,
    words_argument,
)
from himac.errors import ConfigError
from himac.files import read_text
from himac.recipes import find
from himac.text import clean

if TYPE_CHECKING:
    from himac.config import Config
    from himac.parallel import Ranks


resume_option = click.option(
    "--resume",
    metavar="RUN",
    default="",
    help="Go on with a run that was stopped.",
    shell_complete=complete_runs,
)


@click.command(
    epilog=examples(
        "himac train demo",
        "himac train sokoban env.size=[7,7] optimizer.lr=2e-6",
        "himac train recipe.toml seed=1 run.name=second",
        "himac train demo --check",
        "himac train --resume demo-20260301-101500",
    )
)
@words_argument
@resume_option
@click.option(
    "--check", "rehearsal", is_flag=True, help="Rehearse one small iteration; say what the run takes."
)
@dry_run_option
def train(words: tuple[str, ...], resume: str, rehearsal: bool, dry_run: bool) -> None:
    """Train a run: warm start where asked for, iterations, evaluations."""
    from himac.train.checks import check_sinks, check_trainable

    if resume:
        folder, config = _to_resume(resume, words, "himac train")
        ranks = _ranks(config)
        if not _is_finished(config, folder, ranks):
            _run(config, folder, ranks)
        return

    config = check_trainable(config_of(words))
    if dry_run:
        check_sinks(config)
        _print_config(config)
        return
    if rehearsal:
        tell(rehearsed(config))
        return
    from himac.train.ready import check_ready
    from himac.train.run import new_run

    quiet_libraries()
    check_ready(config)
    recipe, _ = split_recipe(words)
    ranks = _ranks(config)
    folder = run_folder(config, ranks.first(config.run.name or run_name(recipe, config)))
    if ranks.is_first:
        text = read_text(find(recipe)) if recipe else ""
        new_run(folder, config, recipe=text, ranks=ranks.size)
    _run(config, folder, ranks)


@click.command(epilog=examples("himac sft demo sft.demonstrations=500"))
@words_argument
@resume_option
@dry_run_option
def sft(words: tuple[str, ...], resume: str, dry_run: bool) -> None:
    """Make a warm-started model from an expert's demonstrations."""
    from himac.train.checks import check, check_sinks

    if resume:
        folder, config = _to_resume(resume, words, "himac sft")
        _warm_start(config, folder, _ranks(config))
        return
    config = check(config_of(words))
    if not config.sft.demonstrations:
        raise ConfigError("sft.demonstrations must be at least 1, got 0", hint="say sft.demonstrations=2000")
    if dry_run:
        check_sinks(config)
        _print_config(config)
        return
    from himac.train.ready import check_ready
    from himac.train.run import new_run

    quiet_libraries()
    check_ready(config, evaluates=False)
    recipe, _ = split_recipe(words)
    ranks = _ranks(config)
    folder = run_folder(config, ranks.first(config.run.name or run_name(recipe, config, suffix="sft")))
    if ranks.is_first:
        new_run(folder, config, ranks=ranks.size, verb="himac sft")
    _warm_start(config, folder, ranks)


def _ranks(config: Config) -> Ranks:
    """Return the processes of a run, as its launcher started them; loads torch, so a dry run stops before."""
    from himac.parallel.replicated import from_environment

    return from_environment(config.parallel)


def _warm_start(config: Config, folder: Path, ranks: Ranks) -> None:
    """Make the model of a warm start in its folder, and say where it lies."""
    from himac.runs.console import Terminal
    from himac.train.run import make_start

    quiet_libraries()
    console = Terminal() if ranks.is_first else None
    try:
        made = make_start(config, folder, console, ranks=ranks)
    finally:
        if console is not None:
            console.close()
    if ranks.is_first:
        print(made)
    ranks.close()


def _to_resume(name: str, words: tuple[str, ...], verb: str) -> tuple[Path, Config]:
    """Return (folder, config) of a run that a verb made and goes on with."""
    from himac.runs.folder import CONFIG, find_run, maker_of
    from himac.runs.formats import load_saved

    if words:
        raise ConfigError(
            f"--resume takes no further settings, got {words[0]!r}", hint="a run keeps its config"
        )
    folder = find_run(name)
    if (maker := maker_of(folder)) not in ("", verb):
        raise ConfigError(
            f"{str(folder)!r} was made by {maker}, not by {verb}", hint=f"{maker} --resume {folder}"
        )
    return folder, load_saved(folder / CONFIG)


def _is_finished(config: Config, folder: Path, ranks: Ranks) -> bool:
    """Say so where a run has nothing left to do."""
    from himac.report.tables import TABLE
    from himac.runs.folder import CURVE
    from himac.train.finished import finished

    state = ranks.first(finished(folder, config) if ranks.is_first else None)
    if state is None:
        return False
    ranks.close()
    if ranks.is_first:
        of = f"iteration {state.iteration} of {config.run.iterations}"
        limit = "" if state.iteration >= config.run.iterations else ", where a budget was spent"
        print(f"run    {folder} is finished: {of}{limit}; nothing is left to do")
        print(f"curve  {folder / CURVE}\ntable  {folder / TABLE}")
    return True


def _run(config: Config, folder: Path, ranks: Ranks) -> None:
    """Train the run in a folder, draw its curve, and say where everything lies."""
    from himac.report.curves import plot_run
    from himac.report.tables import TABLE, run_table
    from himac.runs.console import Terminal
    from himac.train.run import train

    quiet_libraries()
    console, began = Terminal() if ranks.is_first else None, time.monotonic()
    try:
        train(config, folder, console, ranks=ranks)
    finally:
        if console is not None:
            console.close()
    ranks.close()
    if not ranks.is_first:
        return
    curve = plot_run(folder)
    print(clean(run_table(folder, width=room())))
    print(f"\nrun    {folder}\ncurve  {curve}\ntable  {folder / TABLE}")
    print(f"took   {(time.monotonic() - began) / 60:.1f} minutes\n\nnext")
    me, name = invocation(), folder.name if folder.parent == Path("runs") else str(folder)
    for verb, what in (
        (f"report {name}", "one page: curves, plans, every token and what it earned"),
        (f"play --model {name}", "watch it plan and act"),
        (f"eval {name} split=test", "every level of the test split"),
    ):
        print(f"  {me} {verb}\n      {what}")


def _print_config(config: Config) -> None:
    from himac.config import to_toml

    print(to_toml(config), end="")
