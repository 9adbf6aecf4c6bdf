"""`himac eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from himac.cli.given import checkpoint_option, complete_runs, examples, quiet_libraries
from himac.errors import ConfigError
from himac.types import Row

if TYPE_CHECKING:
    from himac.cli.given import Which
    from himac.config import Config


@click.command(
    "eval",
    epilog=examples(
        "himac eval demo-20260301-101500 split=test",
        "himac eval Qwen/Qwen2.5-1.5B-Instruct env=alfworld split=valid_unseen method=react",
        "himac eval demo-20260301-101500 --planner http://localhost:8000/v1#big-model",
    ),
)
@click.argument("given", nargs=-1, metavar="[MODEL] [KEY=VALUE]...", shell_complete=complete_runs)
@checkpoint_option
@click.option("--planner", metavar="MODEL|URL", default="", help="Who plans, if not MODEL.")
@click.option("--executor", metavar="MODEL|URL", default="", help="Who acts, if not MODEL.")
@click.option("--out", metavar="FILE", default="", help="Also write the result as JSON here.")
def evaluate(given: tuple[str, ...], checkpoint: Which, planner: str, executor: str, out: str) -> None:
    """Evaluate a run, model or endpoint on a whole split.

    MODEL is a run, a checkpoint, a model folder, a Hugging Face name or an endpoint URL#MODEL; settings are laid over
    the run's.
    """
    from himac.config import is_endpoint

    config, run = _who_plays(list(given), checkpoint, planner, executor)
    models = (config.eval.planner, config.eval.executor)
    if models[0] != models[1] or is_endpoint(models[1]):
        is_named = any(word.partition("=")[0].strip() == "run.name" for word in given)
        _in_folder(config, out, is_named=is_named)
    else:
        _at_once(config, out, run)


def _at_once(config: Config, out: str, run: Path | None) -> None:
    """Evaluate one local model."""
    from himac.report.tables import evaluation_table
    from himac.runs.console import Terminal
    from himac.runs.folder import EVALUATIONS
    from himac.train.components import EvalComponents, agent_class
    from himac.train.evaluate import evaluate_model

    quiet_libraries()
    console, model = Terminal(), config.eval.executor
    parts = EvalComponents(config, planner=model, executor=model)
    row, episodes = evaluate_model(config, parts, console)
    console.close()
    parts.close()
    target = Path(out) if out else None
    if target is None and run is not None:
        is_trained = getattr(agent_class(config), "is_trained", True)
        prompted = "" if is_trained else f"-{config.algo.method}"
        world, at = config.env.name.rpartition(":")[2], Path(model).parent.name
        name = f"{world}-{config.eval.split}{prompted}-t{config.eval.temperature:g}-{at}"
        target = run / EVALUATIONS / f"{name}.json"
    print(evaluation_table([row]))
    if target is not None:
        _write(target, row)
        print(f"\nsaved  {target} ({row['episodes']} of {row['tasks']} tasks, {len(episodes)} episodes)")


def _in_folder(config: Config, out: str, *, is_named: bool) -> None:
    """Evaluate endpoints, or two models, in a folder that the same command goes on in."""
    from himac.evaluation.folder import EVALUATION, evaluate_in_folder, folder_name
    from himac.report.tables import evaluation_table
    from himac.runs.console import Terminal

    quiet_libraries()
    folder = Path(config.run.dir) / (config.run.name if is_named else folder_name(config))
    console = Terminal()
    row, stopped = evaluate_in_folder(config, folder, console)
    console.close()
    if row["episodes"]:
        print(f"{evaluation_table([row])}\n")
    if out:
        _write(Path(out), row)
    usage = row["usage"]
    tokens = f"{usage['prompt_tokens']:.0f} + {usage['completion_tokens']:.0f} tokens"
    print(f"saved  {folder / EVALUATION} ({row['episodes']} of {row['tasks']} tasks)")
    print(f"used   {usage['requests']:.0f} requests ({usage['retries']:.0f} of them again), {tokens}")
    if stopped is not None:
        again = "the same command goes on where this one stopped"
        if again not in stopped.hint:
            stopped.hint = "; ".join(filter(None, [stopped.hint, again]))
        raise stopped


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


def _write(target: Path, row: Row) -> None:
    from himac.runs.folder import write_text

    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, json.dumps(row, indent=1) + "\n")
