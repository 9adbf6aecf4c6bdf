"""`himac eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from himac.cli.given import checkpoint_option, complete_runs, examples, quiet_libraries, room, run_folder
from himac.errors import ConfigError
from himac.text import clean
from himac.types import Row

if TYPE_CHECKING:
    from himac.cli.given import Which
    from himac.config import Config
    from himac.errors import EndpointError


@click.command(
    "eval",
    epilog=examples(
        "himac eval demo-20260301-101500 split=test",
        "himac eval Qwen/Qwen2.5-1.5B-Instruct env=webshop split=test method=react",
        "himac eval demo-20260301-101500 --planner http://localhost:8000/v1#big-model",
    ),
)
@click.argument("given", nargs=-1, metavar="[MODEL] [KEY=VALUE]...", shell_complete=complete_runs)
@checkpoint_option
@click.option("--planner", metavar="MODEL|URL", default="", help="Who plans, if not MODEL.")
@click.option("--executor", metavar="MODEL|URL", default="", help="Who acts, if not MODEL.")
@click.option("--out", metavar="FILE", default="", help="Also write the result as JSON here.")
@click.option("--json", "as_json", is_flag=True, help="Print the result for programs.")
def evaluate(
    given: tuple[str, ...], checkpoint: Which, planner: str, executor: str, out: str, as_json: bool
) -> None:
    """Evaluate a run, model or endpoint on a whole split.

    MODEL is a run, a checkpoint, a model folder, a Hugging Face name or an endpoint URL#MODEL; settings are laid over
    the run's.
    """
    config, run = _who_plays(list(given), checkpoint, planner, executor)
    folder = _folder_of(config, run, given)
    row, stopped = _in_folder(config, folder)
    saved = Path(out) if out else _result_of(config, run)
    if saved:
        _write(saved, row)
    if as_json:
        print(json.dumps(row, indent=1))
    else:
        _tell(row, folder, saved)
    if stopped is not None:
        again = "the same command goes on where this one stopped"
        if again not in stopped.hint:
            stopped.hint = "; ".join(filter(None, [stopped.hint, again]))
        raise stopped


def _folder_of(config: Config, run: Path | None, given: tuple[str, ...]) -> Path:
    """Return where the evaluation is kept: with its run, where it is one run's; else among the runs."""
    from himac.evaluation.folder import folder_name
    from himac.runs.folder import EVALUATIONS

    if any(word.partition("=")[0].strip() == "run.name" for word in given):
        return run_folder(config, config.run.name)
    root = run / EVALUATIONS if run is not None and _is_local(config) else Path(config.run.dir)
    return root / folder_name(config)


def _result_of(config: Config, run: Path | None) -> Path | None:
    """Return where a run's evaluation is saved beside its folder, under a name that a person can read."""
    from himac.plugins import resolve
    from himac.runs.folder import EVALUATIONS

    if run is None or not _is_local(config):
        return None
    is_trained = getattr(resolve("agents", config.algo.method), "is_trained", True)
    prompted = "" if is_trained else f"-{config.algo.method}"
    world, at = config.env.name.rpartition(":")[2], Path(config.eval.executor).parent.name
    return run / EVALUATIONS / f"{world}-{config.eval.split}{prompted}-t{config.eval.temperature:g}-{at}.json"


def _is_local(config: Config) -> bool:
    """Whether one local model plays both roles."""
    from himac.config import is_endpoint

    return config.eval.planner == config.eval.executor and not is_endpoint(config.eval.executor)


def _in_folder(config: Config, folder: Path) -> tuple[Row, EndpointError | None]:
    """Evaluate in a folder that the same command goes on in; return (result, what ended it early)."""
    from himac.evaluation.folder import evaluate_in_folder
    from himac.runs.console import Terminal

    quiet_libraries()
    console = Terminal()
    try:
        return evaluate_in_folder(config, folder, console)
    finally:
        console.close()


def _tell(row: Row, folder: Path, saved: Path | None) -> None:
    """Print the result, what it cost, and where it lies."""
    from himac.evaluation.folder import EVALUATION
    from himac.report.tables import evaluation_table

    if row["episodes"]:
        print(f"{clean(evaluation_table([row], width=room()))}\n")
    print(f"saved  {saved or folder / EVALUATION} ({_extent(row)})")
    print(f"kept   {folder}, for himac show and himac report")
    usage = row["usage"]
    unused = {
        "thoughts_only": "a thought alone",
        "empty": "nothing",
        "filtered": "withheld by a content filter",
        "refused": "refused by the model",
    }
    found = [f"{usage[key]:.0f} {words}" for key, words in unused.items() if usage.get(key)]
    if found:
        print(f"empty  of {usage['answers']:.0f} answers: {', '.join(found)}")
    if usage.get("thoughts_only"):
        print("       more room for thoughts: agent.planner_tokens, agent.executor_tokens")
    if usage["requests"]:
        tokens = f"{usage['prompt_tokens']:.0f} + {usage['completion_tokens']:.0f} tokens"
        print(f"used   {usage['requests']:.0f} requests ({usage['retries']:.0f} of them again), {tokens}")


def _who_plays(
    words: list[str], checkpoint: Which, planner: str, executor: str
) -> tuple[Config, Path | None]:
    """Return (config whose [eval] says in full who plans and who acts, the run they come from)."""
    from himac.config import is_endpoint, load_config, override
    from himac.train.checks import check
    from himac.train.evaluate import find_model

    model, words = _split_model(words)
    if model and not is_endpoint(model):
        model, config, run = find_model(model, words, checkpoint)
    else:
        config, run = load_config(None, words), None
    roles = {}
    for role, given in (("planner", planner), ("executor", executor)):
        name = given or getattr(config.eval, role) or model
        if not name:
            raise ConfigError(
                f"himac eval needs a model that {'plans' if role == 'planner' else 'acts'}, got none",
                hint=f"name a run, a model or an endpoint, or --{role}",
            )
        is_final = name == model or is_endpoint(name)
        roles[role] = name if is_final else find_model(name, [], checkpoint)[0]
    return check(override(config, eval=roles)), run


def _split_model(words: list[str]) -> tuple[str, list[str]]:
    """Return (model, settings); a first word is a model unless it is a setting: an address may hold a "="."""
    from himac.config import is_endpoint

    first = words[0] if words else ""
    if first and ("=" not in first or is_endpoint(first) or Path(first).exists()):
        return first, words[1:]
    return "", words


def _extent(row: Row) -> str:
    """Say how many of how many."""
    of_split = f", of {row['tasks']} in the split" if row["asked"] < row["tasks"] else ""
    return f"{row['episodes']} of {row['asked']} tasks{of_split}"


def _write(target: Path, row: Row) -> None:
    from himac.files import make_folder, write_text

    make_folder(target.parent)
    write_text(target, json.dumps(row, indent=1) + "\n")
