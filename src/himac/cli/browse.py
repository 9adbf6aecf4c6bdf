"""The verbs that show what there is: `himac recipes`, `himac runs`."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import click

from himac.cli.given import examples
from himac.text import clean

json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


def complete_recipes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of shipped recipes and plans that begin so."""
    from himac.recipes import shipped

    return [recipe.name for recipe in shipped() if recipe.name.startswith(incomplete)]


@click.command(epilog=examples("himac recipes", "himac recipes demo > mine.toml"))
@click.argument("name", default="", metavar="[NAME]", shell_complete=complete_recipes)
@json_option
def recipes(name: str, as_json: bool) -> None:
    """List the recipes and plans that come with himac, or print one."""
    from himac.recipes import find, names, shipped

    if name:
        path = find(name, plan=name in names(plan=True))
        print(path.read_text(encoding="utf-8"), end="")
        return
    found = shipped()
    if as_json:
        print(json.dumps([{"name": r.name, "about": r.about, "path": str(r.path)} for r in found], indent=1))
        return
    for heading, is_plan in (("himac train RECIPE", False), ("himac compare PLAN", True)):
        print(heading)
        for recipe in found:
            if recipe.is_plan == is_plan:
                print(f"  {recipe.name}\n      {recipe.about}")
        print()
    print("himac recipes NAME prints one, to be changed: himac recipes demo > mine.toml")


@click.command(epilog=examples("himac runs", "himac runs runs/compare-sokoban", "himac runs --json"))
@click.argument("folder", default="runs", metavar="[FOLDER]")
@json_option
def runs(folder: str, as_json: bool) -> None:
    """List runs: how far, how good, how large."""
    from himac.errors import MissingFileError
    from himac.report.overview import list_runs, told

    root = Path(folder)
    if not root.is_dir():
        raise MissingFileError(f"no folder {folder!r}", hint="himac train demo makes a run in runs/")
    lines = list_runs(root)
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=1))
        return
    if not lines:
        print(f"no run in {folder!r}")
        return
    for text in told(lines, width=shutil.get_terminal_size().columns):
        print(clean(text))
