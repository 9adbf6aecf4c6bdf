"""`himac config`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from himac.cli.given import config_of, examples, words_argument

if TYPE_CHECKING:
    from himac.toml import Table


@click.command(
    "config",
    epilog=examples(
        "himac config sokoban optimizer.lr=2e-6",
        "himac config sokoban --diff",
        "himac config --schema > himac.schema.json",
    ),
)
@words_argument
@click.option("--diff", is_flag=True, help="Only what differs from the defaults.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of recipes, for editors.")
def show_config(words: tuple[str, ...], diff: bool, schema: bool) -> None:
    """Print the resolved config, checked as a run would check it."""
    from himac import config as settings
    from himac.toml import write_value
    from himac.train.checks import check, check_sinks

    if schema:
        print(json.dumps(_schema(), indent=1))
        return
    config = check(config_of(words))
    check_sinks(config)
    if diff:
        for key, (default, value) in settings.differences(config, settings.Config()).items():
            told = "" if default is None else f"  # default {write_value(default)}"
            print(f"{key.replace('.settings.', '.')} = {write_value(value)}{told}")
    else:
        print(settings.to_toml(config), end="")


def _schema() -> Table:
    """Return the JSON schema of a recipe, for editors."""
    from himac.config import OPEN, Config
    from himac.toml import json_schema

    found = json_schema(Config)
    for cls in OPEN.values():  # their other keys are the environment's, and the engine's
        found["$defs"][cls.__name__]["additionalProperties"] = True
        found["$defs"][cls.__name__]["properties"].pop("settings")
    return found
