"""`himac panel export`."""

from __future__ import annotations

from pathlib import Path

import click

from himac.cli.given import examples


@click.group()
def panel() -> None:
    """Whole, disjoint splits of a world as files for other code."""


@panel.command(
    epilog=examples(
        "himac panel export sokoban --out panel",
        "himac panel export alfworld env.path=games/json_2.1.1 --out panel",
        "himac panel export webshop --out panel env.items=items_shuffle.json \\",
        "    env.instructions=items_ins_v2.json",
    )
)
@click.argument("env", metavar="WORLD")
@click.argument("given", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", metavar="FOLDER", required=True, help="Where the files go.")
def export(env: str, given: tuple[str, ...], out: str) -> None:
    """Write a world's splits, with counts and checksums."""
    from himac.config import load_config
    from himac.envs.base import make_env
    from himac.envs.panel import PANEL
    from himac.envs.panel import export as write

    config = load_config(None, [f"env={env}", *given])
    world = make_env(config.env.name, **config.env.settings)
    folder = Path(out).expanduser()
    row = write(world, folder, config.env.settings)
    world.close()
    for split, told in row["splits"].items():
        print(f"{split:12}  {told['tasks']:>6,} tasks  {told['sha256'][:16]}  {folder / told['file']}")
    print(f"saved  {folder / PANEL}")
