"""A trained model on its way to others: one ordinary Hugging Face folder, with a card that says where it comes from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig

from himac.config import Config
from himac.errors import ConfigError, RunError
from himac.files import as_usual, make_folder, reason, write_text, writing
from himac.learner.policy import ROLES
from himac.models.load import base_of, load_model, saved_adapters
from himac.text import line
from himac.train.card import model_card
from himac.types import LanguageModel


def export_model(source: str, target: Path, config: Config, run: Path | None) -> list[Path]:
    """Write a model's weights, adapter merged, its tokenizer and its card; return the folders written.

    A model with an adapter for each role becomes two: `planner/` and `executor/`. The target is there when all is written.

    Args:
        source: folder of the weights.
        target: where they go; must not hold anything yet.
        config: of the run, for the card.
        run: its folder, for the card; None: a model without one.

    Raises:
        RunError: the target holds something already, or cannot be written.
        ModelError: the weights cannot be read.
    """
    with writing(target):
        if target.exists() and any(target.iterdir()):
            raise RunError(f"{str(target)!r} is not empty", hint="name another folder: --to FOLDER")
    adapters = saved_adapters(Path(source))
    roles = () if set(adapters) <= {"default"} else ROLES
    part = target.with_name(f".part-{target.name}")
    try:
        with writing(target):
            shutil.rmtree(part, ignore_errors=True)
            make_folder(part)
        for role in roles or ("",):
            model, tokenizer = _merged(source, config, role or None)
            with writing(target, also=(SafetensorError,)):
                _write(model, tokenizer, part / role, config)
                told = model_card(role or target.name, model, config, run, source, role=role)
                write_text(part / role / "README.md", told)
        with writing(target):
            if target.exists():
                target.rmdir()
            part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [target / role for role in roles] or [target]


def check_login() -> None:
    """See that somebody is logged in to the Hugging Face hub.

    Raises:
        ConfigError: nobody is.
    """
    from huggingface_hub import get_token  # transformers brings it

    if get_token() is None:
        raise ConfigError(
            "nobody is logged in to the Hugging Face hub", hint="hf auth login, or set HF_TOKEN"
        )


def push(folder: Path, repository: str) -> str:
    """Upload a folder to the Hugging Face hub and return its address.

    Raises:
        ConfigError: nobody is logged in, the hub refuses, or it cannot be reached.
    """
    from huggingface_hub import HfApi

    check_login()
    api = HfApi()
    try:
        made = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="exported by himac")
    except Exception as error:  # the hub's, its transport's, which changed twice, and those of files
        raise ConfigError(
            f"cannot push to {repository!r}: {line(reason(error))}",
            hint=f"{folder} is whole: hf upload {repository} {folder} tries it again",
        ) from error
    return str(made)


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


def _write(model: LanguageModel, tokenizer: Any, folder: Path, config: Config) -> None:
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    if (licence := Path(config.model.name) / "LICENSE").is_file():
        shutil.copy(licence, folder / "LICENSE")
    as_usual(folder)
