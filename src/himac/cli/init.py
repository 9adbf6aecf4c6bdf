"""`himac init`: a folder to start a world of one's own in."""

from __future__ import annotations

from pathlib import Path

import click

from himac.cli.given import examples, invocation
from himac.errors import ConfigError

_FILES = ("world.py", "recipe.toml", "test_world.py")


@click.command(epilog=examples("himac init my-world"))
@click.argument("folder", metavar="FOLDER")
def init(folder: str) -> None:
    """Make a folder to start a world from: expert, recipe, test."""
    import himac
    from himac.files import make_folder, read_text, write_text

    home, source = Path(folder), Path(himac.__file__).parent / "scaffold"
    if taken := [name for name in _FILES if (home / name).exists()]:
        raise ConfigError(
            f"{str(home / taken[0])!r} is there already, and nothing is written over",
            hint="name another folder",
        )
    make_folder(home)
    for name in _FILES:
        write_text(home / name, read_text(source / name))
    me = invocation(beside=home)
    print(f"{folder}: {', '.join(_FILES)}\n\nnext")
    for line, what in (
        (f"cd {folder}", ""),
        (f"{me} check env=world:Courier", "does the world keep what it promises, and does its expert win?"),
        (f"{me} play env=world:Courier", "play it"),
        (f"{me} train recipe.toml", "a tiny model learns it"),
    ):
        print(f"  {line}" + (f"\n      {what}" if what else ""))
