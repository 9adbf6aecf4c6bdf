"""A trained model on its way to others: one ordinary Hugging Face folder, with a card that says where it comes from."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

import himac
from himac.config import Config, differences
from himac.errors import ConfigError, RunError
from himac.files import make_folder, write_text
from himac.learner.policy import ROLES
from himac.models.load import base_of, load_model, saved_adapters
from himac.runs.folder import METRICS, read_rows
from himac.toml import write_value
from himac.types import LanguageModel, Row


def export_model(source: str, target: Path, config: Config, run: Path | None) -> list[Path]:
    """Write a model's weights, adapter merged, its tokenizer and its card; return the folders written.

    A model with an adapter for each role becomes two: `planner/` and `executor/`.

    Args:
        source: folder of the weights.
        target: where they go; must not hold anything yet.
        config: of the run, for the card.
        run: its folder, for the card; None: a model without one.

    Raises:
        RunError: the target holds something already, or cannot be written.
        ModelError: the weights cannot be read.
    """
    if target.exists() and any(target.iterdir()):
        raise RunError(f"{str(target)!r} is not empty", hint="name another folder: --to FOLDER")
    adapters = saved_adapters(Path(source))
    if set(adapters) <= {"default"}:
        _write(*_merged(source, config, None), target, config, run)
        return [target]
    folders = []
    for role in ROLES:
        _write(*_merged(source, config, role), target / role, config, run)
        folders.append(target / role)
    return folders


def push(folder: Path, repository: str) -> str:
    """Upload a folder to the Hugging Face hub and return its address.

    Raises:
        ConfigError: nobody is logged in, or the hub refuses.
    """
    from huggingface_hub import HfApi, get_token  # transformers brings it
    from huggingface_hub.errors import HfHubHTTPError

    if get_token() is None:
        raise ConfigError(
            "nobody is logged in to the Hugging Face hub", hint="hf auth login, or set HF_TOKEN"
        )
    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder)
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ConfigError(f"cannot push to {repository!r}: {str(error).strip().splitlines()[0]}") from error
    return f"https://huggingface.co/{repository}"


def _merged(source: str, config: Config, role: str | None) -> tuple[LanguageModel, Any]:
    """Return (model with its adapter a part of the weights, tokenizer); added up in float32, in the type they came in."""
    exact = replace(config.model, dtype="float32", gradient_checkpointing=False)
    model, tokenizer = load_model(source, exact, adapters=ROLES if role else ("default",))
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload(adapter_names=[role or "default"])
    return model.to(_type_of(source)), tokenizer


def _type_of(source: str) -> torch.dtype:
    """Return the type that a folder's weights, or those of the model that its adapter is for, are kept in."""
    adapters = saved_adapters(Path(source))
    name = base_of(next(iter(adapters.values()))) if adapters else source
    return AutoConfig.from_pretrained(name).dtype or torch.float32


def _write(model: LanguageModel, tokenizer: Any, target: Path, config: Config, run: Path | None) -> None:
    try:
        make_folder(target)
        model.save_pretrained(str(target))
        tokenizer.save_pretrained(str(target))
        write_text(target / "README.md", card(target.name, model, config, run))
    except OSError as error:
        raise RunError(f"cannot write to {str(target)!r}: {error}") from error


def card(name: str, model: LanguageModel, config: Config, run: Path | None) -> str:
    """Return the model card: what it is, what it scored, how it was trained, how it is served."""
    base, size = config.model.name, sum(p.numel() for p in model.parameters()) / 1e6
    head = ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags: [himac, agents]"]
    if "/" in base and not Path(base).exists():  # a name on the hub
        head.append(f"base_model: {base}")
    began, licence = (
        f"trained from `{Path(base).name if Path(base).exists() else base}`",
        " The licence is that of the model it was trained from.",
    )
    if base == "tiny":
        began, licence = "trained from nothing", ""
    told = f"A language model of {size:,.1f} M parameters for `{config.env.name}`, {began} by himac {himac.__version__} with"
    parts = [
        "\n".join([*head, "---"]),
        f"# {name}",
        f"{told} `algo.method = {write_value(config.algo.method)}`.{licence}",
        _results(run),
        _use(name, config),
        _settings(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _results(run: Path | None) -> str:
    """Return the run's last evaluation of each split as a table."""
    rows: dict[str, Row] = {}
    for row in read_rows(run / METRICS) if run is not None and (run / METRICS).is_file() else ():
        if row["phase"] == "eval":
            rows[row["split"]] = row
    if not rows:
        return ""
    lines = [
        f"| {split} | {row['iteration']} | {row['episodes']} | {row['success']:.1%} | "
        f"{row['success_low']:.1%} - {row['success_high']:.1%} |"
        for split, row in rows.items()
    ]
    head = ["| split | iteration | episodes | success | 95 % interval |", "|---|---|---|---|---|"]
    return "\n".join(["## Results", "", *head, *lines])


def _use(name: str, config: Config) -> str:
    """Return how the model is served and evaluated: it knows no prompts but those that it was trained with."""
    changed = {"env": config.env.name, "method": config.algo.method, **_changed(config, "env", "agent")}
    changed.pop("env.name", None)
    words = [shlex.quote(f"{key}={write_value(value).strip(chr(34))}") for key, value in changed.items()]
    evaluate = " ".join([f"himac eval http://localhost:8000/v1#{name}", *words])
    return "\n".join(
        ["## Use", "", "```bash", f"vllm serve ./{name} --served-model-name {name}", evaluate, "```"]
    )


def _settings(config: Config) -> str:
    """Return the settings that differ from the defaults, as a recipe has them."""
    changed = _changed(config, "env", "agent", "rollout", "algo", "optimizer", "sft")
    lines = [f"{key} = {write_value(value)}" for key, value in changed.items()]
    return "\n".join(["## Settings", "", "```toml", *lines, "```"]) if lines else ""


def _changed(config: Config, *sections: str) -> dict[str, Any]:
    found = differences(config, Config())
    return {key: new for key, (_, new) in found.items() if key.split(".")[0] in sections and new is not None}
