"""The command line: `himac VERB ... key=value ...`.

One idea: a verb is a short function that says what it needs and imports it only then, so `himac --help` loads no
torch. Results go to stdout, logs to stderr; a user's mistake is one line and a hint, exit status 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himac import __version__
from himac.cli import compare as comparison
from himac.cli import report as verbs
from himac.config import PROMPTING, Config, check_trainable, differences, load_config, override, to_toml
from himac.errors import ConfigError, HimacError, MissingFileError

if TYPE_CHECKING:
    from himac.runs.console import RunConsole

Verb = Callable[[argparse.Namespace], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    for key, value in _CALM.items():
        os.environ.setdefault(key, value)
    parser = _parser()
    args, late = parser.parse_known_args(argv)  # argparse drops settings that follow an option
    if late and (not hasattr(args, "overrides") or any(word.startswith("-") for word in late)):
        parser.error(f"unrecognized arguments: {' '.join(late)}")
    if late:
        args.overrides = [*args.overrides, *late]
    try:
        args.run(args)
    except HimacError as error:
        print(f"himac: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"himac: interrupted; {_GO_ON.get(args.verb, 'nothing is half-written')}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    return 0


_GO_ON = {
    "train": "himac train --resume RUN goes on from the last checkpoint",
    "eval": "on an endpoint, the same command goes on where this one stopped",
}
_CALM = {
    "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads sleep: spinning ones starve a shared core
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="himac", description="Train LLM agents that plan, then act.")
    parser.add_argument("--version", action="version", version=f"himac {__version__}")
    choices = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, run, summary, arguments in _VERBS:
        verb = choices.add_parser(name, help=summary, description=summary)
        verb.set_defaults(run=run)
        for flags, settings in arguments:
            verb.add_argument(*flags, **settings)
    return parser


def _train(args: argparse.Namespace) -> None:
    """Start a run, or go on with one."""
    from himac.runs.folder import RECIPE, find_run

    if args.resume:
        folder = find_run(args.resume)
        words = [*([args.recipe] if args.recipe else []), *args.overrides]
        if words:
            raise ConfigError(
                f"--resume takes no further settings, got {words[0]!r}", hint="a run keeps its config"
            )
        _run(_config_of(folder), folder)
        return
    config = _config(args)
    check_trainable(config)
    if args.dry_run:
        print(to_toml(config), end="")
        return
    from himac.envs.base import make_env
    from himac.train.run import new_run

    make_env(config.env.name, **config.env.settings).close()  # a wrong setting is said before a folder exists
    folder = Path(config.run.dir) / (config.run.name or _run_name(args.recipe, config))
    new_run(folder, config)
    if args.recipe:
        (folder / RECIPE).write_text(Path(args.recipe).read_text(encoding="utf-8"), encoding="utf-8")
    _run(config, folder)


def _run(config: Config, folder: Path) -> None:
    """Train the run in a folder, draw its curve, and say where everything lies."""
    from himac.report.curves import plot_run
    from himac.train.run import train

    _quiet_libraries()
    console = _console(config, folder)
    began = time.monotonic()
    try:
        outcome = train(config, folder, console)
    finally:
        console.close()
    curve = plot_run(folder)
    table = _table(folder)
    print(table)
    print(f"\nrun    {outcome.folder}\ncurve  {curve}\ntable  {folder / 'table.md'}")
    print(f"took   {(time.monotonic() - began) / 60:.1f} minutes")


def _table(folder: Path) -> str:
    """Write and return the run's evaluations as a table."""
    from himac.report.tables import evaluation_table
    from himac.runs.folder import METRICS, read_rows, write_text

    table = evaluation_table([r for r in read_rows(folder / METRICS) if r["phase"] == "eval"])
    write_text(folder / "table.md", table + "\n")
    return table


def _sft(args: argparse.Namespace) -> None:
    """Make a warm-started model and stop."""
    config = _config(args)
    if not config.sft.demonstrations:
        raise ConfigError("sft.demonstrations must be at least 1, got 0", hint="say sft.demonstrations=2000")
    if args.dry_run:
        print(to_toml(config), end="")
        return
    from himac.train.run import new_run, starting_model

    folder = Path(config.run.dir) / (config.run.name or _run_name(args.recipe, config, suffix="sft"))
    _quiet_libraries()
    new_run(folder, config)
    print(starting_model(config, folder, _console(config, folder)))


def _eval(args: argparse.Namespace) -> None:
    """Evaluate a run's checkpoint, a model folder, a Hugging Face name or an endpoint."""
    from himac.engines.endpoint import is_endpoint
    from himac.envs.base import provenance
    from himac.report.tables import evaluation_table
    from himac.rollout.evaluate import evaluate
    from himac.runs.console import RunConsole
    from himac.runs.folder import EVALUATIONS, write_text

    model, config, run = _cast(args)
    planner, executor = config.eval.planner, config.eval.executor
    if planner != executor or is_endpoint(executor):
        _eval_in_folder(args, config)
        return
    from himac.train.components import Workbench

    _quiet_libraries()
    console = RunConsole()
    bench = Workbench(config, model)
    tasks = bench.env.tasks(config.eval.split)
    tasks = tasks[: config.eval.tasks] if config.eval.tasks else tasks
    tick = console.collecting(f"evaluating {config.eval.split}", len(tasks))
    summary, episodes = evaluate(
        bench.phases, tasks, temperature=config.eval.temperature, seed=config.run.seed, progress=tick
    )
    console.close()
    row = {"model": str(model), "env": config.env.name, "split": config.eval.split, **summary}
    told = provenance(bench.env)
    if told:
        row["provenance"] = told
    target = Path(args.out) if args.out else None
    if target is None and run is not None:
        prompted = f"-{config.algo.method}" if config.algo.method in PROMPTING else ""
        name = f"{config.env.name}-{config.eval.split}{prompted}-t{config.eval.temperature:g}-{model.parent.name}"
        target = run / EVALUATIONS / f"{name}.json"
    print(evaluation_table([row]))
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, json.dumps(row, indent=1) + "\n")
        print(f"\nsaved  {target} ({len(episodes)} episodes)")


def _eval_in_folder(args: argparse.Namespace, config: Config) -> None:
    """Evaluate endpoints, or two models, in a folder that the same command goes on in."""
    from himac.evaluation.folder import EVALUATION, evaluate_in_folder, folder_name
    from himac.report.tables import evaluation_table
    from himac.runs.console import RunConsole
    from himac.runs.folder import write_text

    _quiet_libraries()
    is_named = any(word.partition("=")[0].strip() == "run.name" for word in args.overrides)
    folder = Path(config.run.dir) / (config.run.name if is_named else folder_name(config))
    console = RunConsole()
    row, stopped = evaluate_in_folder(config, folder, console)
    console.close()
    if row["episodes"]:
        print(f"{evaluation_table([row])}\n")
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        write_text(Path(args.out), json.dumps(row, indent=1) + "\n")
    usage = row["usage"]
    tokens = f"{usage['prompt_tokens']:.0f} + {usage['completion_tokens']:.0f} tokens"
    print(f"saved  {folder / EVALUATION} ({row['episodes']} of {row['tasks']} tasks)")
    print(f"used   {usage['requests']:.0f} requests ({usage['retries']:.0f} of them again), {tokens}")
    if stopped is not None:
        again = "the same command goes on where this one stopped"
        stopped.hint = (
            stopped.hint if again in stopped.hint else "; ".join(filter(None, [stopped.hint, again]))
        )
        raise stopped


def _play(args: argparse.Namespace) -> None:
    """Play in the terminal: a person, or a model whose plan and sub-goals are shown as they go."""
    from himac.cli.play import play_model, play_person

    if args.model is not None and args.model.startswith(("http://", "https://")):
        raise ConfigError("himac play takes local models, got an endpoint", hint="himac eval takes endpoints")
    if args.model is None:
        play_person(_config(args), index=args.index, split=args.split)
        return
    model, config, _ = _resolve(args)
    _quiet_libraries()
    play_model(config, model, index=args.index, split=args.split)


def _data(args: argparse.Namespace) -> None:
    """Fetch, check or generate an environment's data."""
    from himac.cli.data import prepare

    prepare(args.env, folder=args.folder, generate=args.generate, split=args.split, seed=args.seed)


def _doctor(_: argparse.Namespace) -> None:
    """Say what is installed and what each missing piece would enable."""
    from himac.cli.doctor import report

    print(report())


def _config_verb(args: argparse.Namespace) -> None:
    """Print the resolved config, or what differs from the defaults."""
    config = _config(args)
    if args.diff:
        for key, (default, value) in differences(config, Config()).items():
            print(f"{key} = {value!r}  (default {default!r})")
    else:
        print(to_toml(config), end="")


def _config(args: argparse.Namespace) -> Config:
    """Read recipe and overrides; a first word with '=' is an override, not a recipe."""
    if args.recipe and "=" in args.recipe:
        args.overrides = [args.recipe, *args.overrides]
        args.recipe = None
    return load_config(args.recipe, args.overrides)


def _resolve(args: argparse.Namespace) -> tuple[Path, Config, Path | None]:
    """Return (model to load, config, run it belongs to) for a run, a checkpoint or a model name."""
    from himac.learner import checkpoint as ckpt
    from himac.runs.folder import CONFIG, find_run
    from himac.train.run import START

    given = Path(args.model)
    try:
        run = find_run(given)
    except MissingFileError:
        inside = [p for p in given.resolve().parents if (p / CONFIG).is_file()]
        run_of = inside[0] if inside else None
        base = _config_of(run_of) if run_of else Config()
        config = _overlay(base, args.overrides)
        model = given / "model" if (given / "model").is_dir() else given
        return model, config, run_of
    saved = ckpt.find(run, args.checkpoint)
    if args.checkpoint == "start":
        made = run / START
        model = made if made.is_dir() else Path(_config_of(run).model.name)
    elif saved is None:
        raise MissingFileError(
            f"run {run.name!r} has no checkpoint {args.checkpoint!r} yet",
            hint="--checkpoint start evaluates its start",
        )
    else:
        model = ckpt.model_folder(saved)
    return model, _overlay(_config_of(run), args.overrides), run


def _cast(args: argparse.Namespace) -> tuple[Path, Config, Path | None]:
    """Return (the evaluated model, config, its run) for `himac eval`; [eval] says in full who plans and who acts."""
    from himac.engines.endpoint import is_endpoint

    words = [word for word in (args.model, *args.overrides) if word]
    has_model = bool(words) and ("=" not in words[0] or is_endpoint(words[0]) or Path(words[0]).exists())
    args.model, args.overrides = (words[0], words[1:]) if has_model else (None, words)
    if args.model and not is_endpoint(args.model):
        model, config, run = _resolve(args)
        whole = str(model)
    else:
        config, run, whole = load_config(None, args.overrides), None, args.model or ""
    roles = {}
    for role, given in (("planner", args.planner), ("executor", args.executor)):
        name = given or getattr(config.eval, role) or whole
        if not name:
            raise ConfigError(
                f"himac eval needs a model that {'plans' if role == 'planner' else 'acts'}, got none",
                hint=f"name a run, a model or an endpoint, or --{role}",
            )
        roles[role] = name if name == whole or is_endpoint(name) else _model_of(name, args.checkpoint)
    return Path(roles["executor"]), override(config, eval=roles), run


def _model_of(name: str, checkpoint: str) -> str:
    """Return the model to load for a run, a checkpoint or a model name."""
    return str(_resolve(argparse.Namespace(model=name, overrides=[], checkpoint=checkpoint))[0])


def _overlay(config: Config, overrides: list[str]) -> Config:
    """Lay overrides over an existing config; another environment forgets the old one's settings."""
    from himac.config import overlay

    return overlay(config, overrides)


def _config_of(folder: Path) -> Config:
    from himac.runs.folder import CONFIG

    return load_config(folder / CONFIG)


def _console(config: Config, folder: Path) -> RunConsole:
    from himac.runs.console import RunConsole
    from himac.runs.sinks import make_sinks

    sinks = make_sinks(config.run.sinks, folder)
    return RunConsole(save_episodes=config.run.save_episodes, sinks=sinks)


def _run_name(recipe: str | None, config: Config, suffix: str = "") -> str:
    stem = Path(recipe).stem if recipe else f"{config.env.name}-{config.algo.method}"
    return "-".join(part for part in (stem, suffix, time.strftime("%Y%m%d-%H%M%S")) if part)


def _quiet_libraries() -> None:
    """Keep the libraries' own progress bars out of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()


_Arguments = list[tuple[tuple[str, ...], dict[str, Any]]]
_RECIPE: _Arguments = [
    (("recipe",), {"nargs": "?", "help": "TOML recipe; left out: the defaults"}),
    (("overrides",), {"nargs": "*", "metavar": "key=value", "help": "settings laid over the recipe"}),
]
_DRY: _Arguments = [(("--dry-run",), {"action": "store_true", "help": "print the resolved config and stop"})]
_MODEL: _Arguments = [
    (("overrides",), {"nargs": "*", "metavar": "key=value", "help": "settings laid over the run's"}),
    (
        ("--checkpoint",),
        {"default": "last", "choices": ("last", "best", "start"), "help": "which of a run's"},
    ),
]
_VERBS: list[tuple[str, Verb, str, _Arguments]] = [
    ("train", _train, "warm-start where asked for, train, evaluate", [
        *_RECIPE, *_DRY, (("--resume",), {"metavar": "RUN", "help": "go on with a run that was stopped"}),
    ]),
    ("sft", _sft, "make a warm-started model from an expert's demonstrations", [*_RECIPE, *_DRY]),
    ("eval", _eval, "evaluate a run, a checkpoint or a model on a whole split", [
        (("model",), {"nargs": "?", "help": "run, checkpoint, model folder, Hugging Face name, or endpoint URL#MODEL"}),
        *_MODEL,
        (("--planner",), {"metavar": "MODEL_OR_URL", "help": "who plans; left out: the model"}),
        (("--executor",), {"metavar": "MODEL_OR_URL", "help": "who acts; left out: the model"}),
        (("--out",), {"help": "JSON file; left out: the run's evaluations folder"}),
    ]),
    ("play", _play, "play a task yourself, or watch a model play it", [
        *_RECIPE,
        (("--model",), {"help": "run, checkpoint or model that plays; left out: you play"}),
        (("--checkpoint",), {"default": "last", "choices": ("last", "best", "start"), "help": "which of a run's"}),
        (("--index",), {"type": int, "default": 0, "help": "which task of the split"}),
        (("--split",), {"default": "", "help": "left out: the environment's first"}),
    ]),
    ("compare", comparison.compare, "run a plan of methods and environments, or set runs side by side", comparison.ARGUMENTS),
    ("report", verbs.report, "write one HTML file about one run or several", verbs.REPORT),
    ("show", verbs.show, "print episodes of a run, readably", verbs.SHOW),
    ("watch", verbs.watch, "follow a live run", verbs.WATCH),
    ("plot", verbs.plot, "draw runs' learning curves as PNG and SVG", verbs.PLOT),
    ("data", _data, "fetch, check or generate an environment's data", [
        (("env",), {"choices": ("alfworld", "webshop"), "help": "which environment"}),
        (("--folder",), {"help": "where the data is or goes"}),
        (("--generate",), {"type": int, "metavar": "N", "help": "generate N problems instead of fetching"}),
        (("--split",), {"default": "train", "help": "which split to generate"}),
        (("--seed",), {"type": int, "default": 0, "help": "of the generator"}),
    ]),
    ("config", _config_verb, "print the resolved config", [
        *_RECIPE, (("--diff",), {"action": "store_true", "help": "only what differs from the defaults"}),
    ]),
    ("doctor", _doctor, "say what is installed, and what each missing piece would enable", []),
]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
