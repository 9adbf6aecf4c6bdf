"""What a command was given: a recipe and `key=value` words, or a run, a checkpoint, a model's name.

Words are completed by the shell: recipes, then the settings of every section.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from himac.errors import ConfigError
from himac.text import clean

if TYPE_CHECKING:
    from himac.config import Config
    from himac.runs.rows import Broken

Which = Literal["last", "best", "start"]


def complete_words(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return what a word may become: a recipe's name or file, or `section.key=`."""
    from dataclasses import asdict

    from himac.config import SHORT, Config
    from himac.recipes import names
    from himac.toml import flat

    keys = [f"{key}=" for key in (*SHORT, *flat(asdict(Config())))]
    recipes = (*names(), *(str(path) for path in Path().glob("*.toml")))
    return [word for word in (*recipes, *keys) if word.startswith(incomplete)]


def complete_runs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the runs whose name begins so."""
    runs = [path.parent.name for path in Path("runs").glob("*/config.toml")]
    return [name for name in runs if name.startswith(incomplete)]


words_argument = click.argument(
    "words", nargs=-1, metavar="[RECIPE] [KEY=VALUE]...", shell_complete=complete_words
)
"""A TOML recipe, then settings laid over it; without a recipe, over the defaults."""
checkpoint_option = click.option(
    "--checkpoint",
    type=click.Choice(["last", "best", "start"]),
    default="last",
    show_default=True,
    help="Which of a run's checkpoints.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Print the resolved config and stop.")


def examples(*lines: str) -> str:
    """Return the end of a help page."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def split_recipe(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return (recipe, overrides); a first word without "=" is a recipe."""
    first, *rest = words or ("",)
    if first and "=" not in first:
        return first, rest
    return None, list(words)


def config_of(words: Sequence[str]) -> Config:
    """Read a recipe and overrides."""
    from himac.config import load_config

    return load_config(*split_recipe(words))


def run_name(recipe: str | None, config: Config, suffix: str = "") -> str:
    """Return a name for a run that was given none: its recipe, or world and method, and the time."""
    method = config.algo.method.rpartition(":")[2]
    stem = Path(recipe).stem if recipe else f"{config.env.name.rpartition(':')[2]}-{method}"
    return "-".join(part for part in (stem, suffix, time.strftime("%Y%m%d-%H%M%S")) if part)


def run_folder(config: Config, name: str) -> Path:
    """Return a run's folder, which lies in `run.dir`: a name that leads elsewhere may come with somebody's recipe.

    Raises:
        ConfigError: it does not.
    """
    folder = Path(config.run.dir) / name
    home, place = (Path(os.path.abspath(path)) for path in (config.run.dir, folder))
    if Path(name).is_absolute() or home not in place.parents or not name.isprintable():
        raise ConfigError(
            f"run.name names a folder in run.dir = {config.run.dir!r}, got {name!r}",
            hint="for another place set run.dir",
        )
    return folder


def invocation(*, beside: Path = Path()) -> str:
    """Return how himac can be called from a folder: "himac" where the shell finds it, else the path of the program.

    >>> invocation().split()[-1].endswith("himac")
    True
    """
    program = Path(sys.executable).parent / "himac"
    found = shutil.which("himac")
    if not program.is_file():
        return "himac" if found else f"{sys.executable} -m himac"
    if found and os.path.realpath(found) == os.path.realpath(program):
        return "himac"
    return min((os.path.relpath(program, beside), str(program)), key=len)


def room() -> int | None:
    """Return how many columns a terminal has that results go to; None where they go elsewhere, and have all the room."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def tell(told: Mapping[str, str]) -> None:
    """Print topics and what is said of them, a line each; in a terminal long ones go on below, as wide as it is."""
    width = room()
    for what, words in told.items():
        line = clean(f"{what:<10} {words}")
        print(textwrap.fill(line, width, subsequent_indent=" " * 11) if width and width < len(line) else line)


def rehearsed(config: Config) -> dict[str, str]:
    """Run a small iteration of a recipe, with progress; return what a whole run takes, by topic."""
    from himac.runs.console import Terminal
    from himac.train.ready import check_ready
    from himac.train.rehearse import rehearse

    quiet_libraries()
    check_ready(config)
    console = Terminal()
    try:
        return rehearse(config, console=console)
    finally:
        console.close()


def tell_broken(broken: Broken) -> None:
    """Say on stderr how many lines of a run's files could not be read."""
    if told := broken.told():
        print(f"himac: {told}", file=sys.stderr)


def quiet_libraries() -> None:
    """Keep the libraries' own progress bars out of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
