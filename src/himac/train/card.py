"""The model card: what a model is, what it scored and how surely, how it was trained, how it is served.

Results are those of the weights that are exported, and of no other checkpoint. A card is published, so it names no folder of the
machine that it was written on. Left out: what only a person can say, such as what a model should not be used for.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path, PurePath
from typing import Any

from himac import __version__
from himac.config import Config, differences
from himac.files import read_text
from himac.report.reading import read_evaluations, read_machine
from himac.report.tables import markdown, provenance_lines
from himac.runs.folder import METRICS, RECIPE, read_rows
from himac.toml import write_value
from himac.types import LanguageModel, Row

_PAPER = "[HiMAC](https://arxiv.org/abs/2603.00977)"
_TEXTS = {
    "apache-2.0": ("Apache License", "Version 2.0"),
    "mit": ("MIT License", "without restriction"),
}
_HERE = {"run.name", "run.dir", "run.device", "run.sinks", "eval.planner", "eval.executor"}  # of this machine


def model_card(
    name: str, model: LanguageModel, config: Config, run: Path | None, source: str, *, role: str = ""
) -> str:
    """Return the card of an exported model.

    Args:
        name: of its folder.
        model: the model as it is exported.
        config: of the run.
        run: its folder; None: a model without one.
        source: folder of the weights, which says which checkpoint they are.
        role: "planner" or "executor" where each has weights of its own; "" where one model is both.
    """
    base, size = config.model.name, sum(p.numel() for p in model.parameters()) / 1e6
    head = ["library_name: transformers", "pipeline_tag: text-generation", "tags: [himac, agents]"]
    known = licence(base)
    if known:
        head.append(f"license: {known}")
    if _is_of_the_hub(base):
        head.append(f"base_model: {base}")
    began = "trained from nothing" if base == "tiny" else f"trained from `{_plain(base)}`"
    told = (
        f"A language model of {size:,.1f} M parameters for `{_plain(config.env.name)}`, {began} by himac "
        f"{__version__} with `algo.method = {write_value(config.algo.method)}`, after {_PAPER}."
    )
    if role:
        told += f" It is the {role}; the other role is a model of its own."
    if base != "tiny":
        told += f" The model it was trained from has the licence `{known}`." if known else ""
        told += "" if known else " Its licence is that of the model it was trained from."
    parts = [
        "\n".join(["---", *head, "---"]),
        f"# {name}",
        told,
        _results(run, source),
        _use(name, config, role),
        _training(config, run, source),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def licence(base: str) -> str:
    """Return the licence of the model that training began from, as the hub calls it; "" where it is not known here.

    Its own card is read, in its folder or in the hub's cache; else the text that lies beside its weights.
    """
    folder = Path(base)
    found = folder / "README.md"
    if _is_of_the_hub(base):
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(base, "README.md")
        found = Path(cached) if isinstance(cached, str) else found
    if found.is_file():
        head = read_text(found).split("\n---", 1)[0]
        if said := re.search(r"^license:[ \t]*[\"']?([\w.-]+)", head, re.MULTILINE):
            return said[1]
    text = folder / "LICENSE"
    if text.is_file():
        body = read_text(text)
        return next((name for name, words in _TEXTS.items() if all(w in body for w in words)), "other")
    return ""


def iteration_of(source: str) -> int | None:
    """Return after which iteration weights were saved, as their folder says; 0 for a run's start, None for other models.

    >>> iteration_of("runs/a/checkpoints/iteration-000040/model"), iteration_of("runs/a/start"), iteration_of("models/b")
    (40, 0, None)
    """
    path = Path(source)
    if found := re.fullmatch(r"iteration-(\d+)", path.parent.name):
        return int(found[1])
    return 0 if path.name == "start" else None


def _results(run: Path | None, source: str) -> str:
    rows = _evaluations(run, source) if run is not None else []
    if not rows:
        return "## Results\n\nNo evaluation of these weights is on file."
    cells = [
        [
            _plain(row["env"]) if row.get("env") else "",
            row["split"],
            f"{row['episodes']:,}" + (f" of {row['tasks']:,}" if row.get("tasks") else ""),
            "greedy" if not row.get("temperature") else f"{row['temperature']:g}",
            f"{row['success']:.1%}",
            f"{row['success_low']:.1%} - {row['success_high']:.1%}",
            f"{row['score']:.3f}" if "score" in row else "",
        ]
        for row in rows
    ]
    names = ["world", "split", "episodes", "temperature", "success", "95 % interval", "mean score"]
    return "\n".join(
        [
            "## Results",
            "",
            markdown(names, cells),
            "",
            "Intervals are Wilson's, over tasks.",
            *provenance_lines(rows),
        ]
    )


def _evaluations(run: Path, source: str) -> list[Row]:
    """Return the evaluations of these weights: the run's own and those of `himac eval`, one a world, split and temperature."""
    at = iteration_of(source)
    if at is None:
        return []
    rows: dict[tuple[object, ...], Row] = {}
    told = read_rows(run / METRICS) if (run / METRICS).is_file() else ()
    later = [row for row in read_evaluations(run) if _is_of(row, source)]
    for row in [*(row for row in told if row["phase"] == "eval" and row["iteration"] == at), *later]:
        key = (row["split"], row.get("temperature", 0.0))
        world = row.get("env") or _world_of(run)
        if row["episodes"] >= rows.get((world, *key), {"episodes": 0})["episodes"]:
            rows[world, *key] = {**row, "env": world}
    return list(rows.values())


def _is_of(row: Row, source: str) -> bool:
    """Whether a saved evaluation is of these weights in both roles, and whole."""
    asked = [Path(str(row.get(key, ""))) for key in ("planner", "executor")]
    wanted = Path(source)
    same = all(path.parts[-2:] == wanted.parts[-2:] for path in asked)
    return same and bool(row.get("complete", True))


def _world_of(run: Path) -> str:
    from himac.runs.folder import CONFIG
    from himac.runs.formats import load_saved

    return load_saved(run / CONFIG).env.name


def _use(name: str, config: Config, role: str) -> str:
    """Return how the model is served and evaluated: it knows no prompts but those that it was trained with."""
    changed = {"env": config.env.name, "method": config.algo.method, **_changed(config, "env", "agent")}
    changed.pop("env.name", None)
    words = [shlex.quote(f"{key}={write_value(value).strip(chr(34))}") for key, value in changed.items()]
    if role:
        serve = [
            f"vllm serve ./{one} --served-model-name {one} --port {port}"
            for one, port in (("planner", 8000), ("executor", 8001))
        ]
        who = "--planner http://localhost:8000/v1#planner --executor http://localhost:8001/v1#executor"
    else:
        serve = [f"vllm serve ./{name} --served-model-name {name}"]
        who = f"http://localhost:8000/v1#{name}"
    return "\n".join(["## Use", "", "```bash", *serve, " ".join(["himac eval", who, *words]), "```"])


def _training(config: Config, run: Path | None, source: str) -> str:
    """Return where the recipe comes from, and the settings that differ from the defaults."""
    told = []
    if run is not None:
        at, made = iteration_of(source), read_machine(run)
        where = made.get("gpu") or made.get("processor")
        told.append(
            f"Run `{run.resolve().name}`, seed {config.run.seed}"
            + (f", after iteration {at} of {config.run.iterations}" if at is not None else "")
            + (f", on {where}" if where else "")
            + f", himac {made.get('himac', __version__)}."
        )
        if (run / RECIPE).is_file():
            told.append("Its recipe file and the words of its command line together say:")
    changed = _changed(
        config,
        "run",
        "budget",
        "model",
        "agent",
        "rollout",
        "engine",
        "algo",
        "optimizer",
        "sft",
        "env",
        "eval",
    )
    lines = [f"{key} = {write_value(value)}" for key, value in changed.items() if key not in _HERE]
    if lines:
        told.append("\n".join(["```toml", *lines, "```"]))
    return "\n\n".join(["## Training", *told]) if told else ""


def _changed(config: Config, *sections: str) -> dict[str, Any]:
    found = differences(config, Config())
    return {
        key: _unplaced(new)
        for key, (_, new) in found.items()
        if key.split(".")[0] in sections and new is not None
    }


def _unplaced(value: Any) -> Any:
    """Return a setting without the folders of this machine."""
    is_place = isinstance(value, str) and (PurePath(value).is_absolute() or value.startswith("~"))
    return PurePath(value).name if is_place else value


def _plain(name: str) -> str:
    """Return a name without the folder it is in."""
    return Path(name).name if Path(name).exists() or PurePath(name).is_absolute() else name


def _is_of_the_hub(base: str) -> bool:
    return "/" in base and not Path(base).exists() and not PurePath(base).is_absolute()
