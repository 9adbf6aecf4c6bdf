"""Loading and saving language models.

One idea: a model is a Hugging Face name or an ordinary Hugging Face folder, and comes out of himac as one. What
can go wrong with it (no such model, no chat template, attention that cannot be packed) is said in one
line before anything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from himac.errors import ConfigError, ModelError, missing_extra
from himac.models.attention import use_packed_attention

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters on every linear layer (arXiv 2106.09685)."""

    rank: int
    alpha: int
    adapters: tuple[str, ...] = ("default",)  # their names; the first is active when loaded


def load_model(
    name: str,
    *,
    dtype: str = "float32",
    device: torch.device | str = "cpu",
    lora: LoraSettings | None = None,
    gradient_checkpointing: bool = False,
) -> tuple[Any, Any]:
    """Return (model, tokenizer), the model in evaluation mode with packed attention.

    Args:
        name: Hugging Face name or local folder; a folder saved with adapters gets them back, trainable.
        dtype: "float32", "bfloat16" or "float16".
        device: where the weights go.
        lora: train a fresh adapter instead of all weights; None trains all weights.
        gradient_checkpointing: recompute activations in the backward pass to save memory.

    Raises:
        ModelError: no such model, no chat template, or unsupported attention.
        ConfigError: unknown dtype.
        MissingExtraError: an adapter is asked for and peft is not installed.
    """
    if dtype not in _DTYPES:
        raise ConfigError(f"model.dtype must be one of {', '.join(_DTYPES)}, got {dtype!r}")
    tokenizer = _load(AutoTokenizer, name)
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"model {name!r} has no chat template", hint="use an instruct model, or add one to its tokenizer"
        )
    saved = _saved_adapters(Path(name))
    if saved and lora is not None and set(saved) != set(lora.adapters):
        raise ModelError(
            f"the folder {name!r} holds the adapter(s) {', '.join(saved)}, not {', '.join(lora.adapters)}",
            hint="start from the base model, or change model.lora_per_role",
        )
    model = (
        _load_adapters(name, saved, dtype)
        if saved
        else _load(AutoModelForCausalLM, name, dtype=_DTYPES[dtype])
    )
    use_packed_attention(model)
    if lora is not None and not saved:
        model = _add_adapters(model, lora)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if hasattr(model, "enable_input_require_grads"):
            model.enable_input_require_grads()
    return model.to(device).eval(), tokenizer


def save_model(model: Any, tokenizer: Any, folder: str | Path) -> None:
    """Save an ordinary Hugging Face folder (for an adapter: the adapter and the name of its base)."""
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _load(auto: Any, name: str, **settings: Any) -> Any:
    try:
        return auto.from_pretrained(name, **settings)
    except (OSError, ValueError, KeyError) as error:
        is_path = Path(name).exists() or name.startswith((".", "/", "~"))
        reason = str(error).strip().splitlines()[0]
        hint = (
            "a model folder holds config.json, weights and a tokenizer"
            if is_path
            else "check the name and the network, or give the path of a local folder"
        )
        raise ModelError(f"cannot load the model {name!r}: {reason}", hint=hint) from error


def _saved_adapters(folder: Path) -> dict[str, Path]:
    """Return {adapter's name: its folder}; peft keeps "default" at the top and others in folders of their name."""
    paths = {
        path.parent for path in (*folder.glob("adapter_config.json"), *folder.glob("*/adapter_config.json"))
    }
    return {"default" if path == folder else path.name: path for path in sorted(paths)}


def _load_adapters(folder: str, saved: dict[str, Path], dtype: str) -> Any:
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise missing_extra("peft", "lora", f"the adapter in {folder!r}") from error
    (first, path), *others = saved.items()
    base = _load(
        AutoModelForCausalLM,
        PeftConfig.from_pretrained(str(path)).base_model_name_or_path,
        dtype=_DTYPES[dtype],
    )
    model = PeftModel.from_pretrained(base, path, adapter_name=first, is_trainable=True)
    for name, other in others:
        model.load_adapter(other, adapter_name=name, is_trainable=True)
    return model


def _add_adapters(model: Any, lora: LoraSettings) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise missing_extra("peft", "lora", "model.lora_rank > 0") from error
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        lora_dropout=0.0,
    )
    first, *others = lora.adapters
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(
            0
        )  # an adapter starts as nothing (B = 0); which A it has must not depend on the process
        model = get_peft_model(model, settings, adapter_name=first)
        for name in others:
            model.add_adapter(name, settings)
    return model
