"""`himac data`: fetch, check or generate what an environment plays with.

It says first what will be fetched and from where, fetches it unless it is there, then reads everything once and reports what
was found. Whoever has no official data generates some.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from himac.cli.given import examples
from himac.errors import ConfigError
from himac.files import owned


@click.command(
    epilog=examples(
        "himac data alfworld",
        "himac data alfworld --generate 100 --folder games",
        "himac data webshop",
    )
)
@click.argument("env", type=click.Choice(["alfworld", "webshop"]))
@click.option("--folder", default="", help="Where the data is or goes.")
@click.option("--generate", type=int, metavar="N", help="Generate N problems instead of fetching.")
@click.option("--split", default="train", show_default=True, help="Which split to generate.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the generator.")
def data(env: str, folder: str, generate: int | None, split: str, seed: int) -> None:
    """Fetch, check or generate an environment's data."""
    prepare(env, folder=folder or None, generate=generate, split=split, seed=seed)


def prepare(env: str, *, folder: str | None, generate: int | None, split: str, seed: int) -> None:
    """Fetch, check or generate one environment's data; print what happened.

    Args:
        env: "alfworld" or "webshop".
        folder: where the data is or goes; None is ALFWorld's usual place, and for WebShop himac's cache.
        generate: number of problems to generate; None fetches or checks.
        split: which split to generate (ALFWorld).
        seed: of the generator.

    Raises:
        ConfigError: a folder is needed, or the number is out of range.
    """
    if generate is not None and generate < 1:
        raise ConfigError(f"--generate must be at least 1, got {generate}")
    if generate is not None and folder is None:
        raise ConfigError("--generate needs a folder to write to", hint="--folder games")
    target = None if folder is None else Path(folder).expanduser()
    if env == "alfworld":
        _alfworld(target, generate, split, seed)
    else:
        _webshop(target, generate, seed)


def _alfworld(folder: Path | None, generate: int | None, split: str, seed: int) -> None:
    from himac.envs.alfworld import data
    from himac.envs.alfworld.generate import write_games

    if generate is not None and folder is not None:
        files = write_games(folder, generate, seed=seed, split=split)
        print(f"wrote {len(files)} games of split {split!r} to {folder}")
        print(f"play them: himac play env=alfworld env.path={folder}")
        return
    home = folder or data.data_folder()
    if not data.is_there(home):
        print("\n".join(data.describe_download(home)), flush=True)
        with owned(home, "himac data"), progress("fetching", data.GAMES.size) as advance:
            data.download(home, advance=advance)
    print("\n".join(data.prepare(home).lines()))


def _webshop(folder: Path | None, generate: int | None, seed: int) -> None:
    from himac.envs.base import make_env
    from himac.envs.webshop import data
    from himac.envs.webshop.generate import write_catalogue

    if generate is not None and folder is not None:
        items, instructions = write_catalogue(folder, generate, seed)
        print(f"wrote {items}\nwrote {instructions}")
        print(f"shop there: himac play env=webshop env.items={items} env.instructions={instructions}")
        return
    home = folder or data.data_folder()
    if not data.is_there(home):
        print("\n".join(data.describe_download(home)), flush=True)
        with owned(home, "himac data"), progress("fetching", data.SIZE) as advance:
            data.download(home, advance=advance)
    items, instructions = data.one(home, data.ITEMS), data.one(home, data.INSTRUCTIONS)
    env = make_env("webshop", items=str(items), instructions=str(instructions))
    print(f"WebShop at {home}")
    for name in env.spec.splits:
        print(f"  {name}: {len(env.tasks(name))} goals")
    env.close()
    print(f"shop there: himac play env=webshop env.items={items} env.instructions={instructions}")


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr while bytes come."""
    from himac.runs.console import Terminal

    console = Terminal()
    try:
        yield console.collecting(title, total)
    finally:
        console.close()
