"""Loading and saving language models.

A model is a Hugging Face name or an ordinary Hugging Face folder, and comes out of himac as one. What
can go wrong with it (no such model, no chat template, attention that cannot be packed) is said in one
line before anything is computed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

from himac.config import ModelConfig, vision_settings
from himac.errors import ConfigError, DataError, HimacError, ModelError, missing_extra
from himac.files import as_usual, read_json, write_text, writing
from himac.images import Album
from himac.models.attention import why_padded
from himac.models.reading import check_sight, check_words
from himac.models.vision import Vision, has_tower, sees, unwrapped, words_alone
from himac.parallel.tensors import laid_as
from himac.text import line
from himac.types import LanguageModel, Tokenizer

ROLES_1 = {"macro": "planner", "micro": "executor"}
"""What himac 0.1.0 called the adapters of the roles."""
_ADAPTER = "adapter_config.json"
_LFS = b"version https://git-lfs"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


DEFAULT = ModelConfig()


def load_model(
    name: str,
    cfg: ModelConfig = DEFAULT,
    *,
    device: torch.device | str = "cpu",
    adapters: tuple[str, ...] = ("default",),
) -> tuple[LanguageModel, Tokenizer]:
    """Return (model, tokenizer), the model in evaluation mode with packed attention.

    Args:
        name: Hugging Face name or local folder; a folder saved with adapters gets them back, trainable.
        cfg: dtype, LoRA, gradient checkpointing; its `name` is not read.
        device: where the weights go.
        adapters: names of the LoRA adapters, where cfg asks for LoRA; the first is active when loaded.

    Raises:
        ModelError: no such model, or no chat template.
        ConfigError: unknown dtype.
        MissingExtraError: an adapter is asked for and peft is not installed.
    """
    dtype = check_dtype(cfg.dtype, torch.device(device))
    tokenizer = _load(AutoTokenizer, name)
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"model {name!r} has no chat template", hint="use an instruct model, or add one to its tokenizer"
        )
    saved = saved_adapters(Path(name))
    if saved and cfg.lora_rank and set(saved) != set(adapters):
        raise ModelError(
            f"the folder {name!r} holds the adapter(s) {', '.join(saved)}, not {', '.join(adapters)}",
            hint="start from the base model, or change model.lora_per_role",
        )
    if saved:
        model = _load_adapters(name, saved, dtype)
    else:
        model = _load_base(name, dtype)
    _freeze_tower(model, cfg)
    why_padded(model)
    if cfg.lora_rank and not saved:
        model = _add_adapters(model, cfg, adapters)
    if cfg.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if hasattr(model, "enable_input_require_grads"):
            model.enable_input_require_grads()
    return model.to(device).eval(), tokenizer


def save_model(
    model: LanguageModel,
    tokenizer: Tokenizer,
    folder: str | Path,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """Save an ordinary Hugging Face folder; for an adapter: the adapter and its base's name, or the way to its folder.

    Args:
        model: whose.
        tokenizer: its.
        folder: made when absent.
        state: the weights, where the model itself holds a part of them; None: the model's.
    """
    with writing(Path(folder), also=(SafetensorError,)):
        model.save_pretrained(str(folder), **({} if state is None else {"state_dict": state}))
        tokenizer.save_pretrained(str(folder))
        as_usual(Path(folder))
    adapters = saved_adapters(Path(folder))
    for path in adapters.values():
        _tell_the_way(path)
    if adapters:  # peft's card: blanks to fill in, and a path of this machine
        (Path(folder) / "README.md").unlink(missing_ok=True)


def holds_one_adapter(name: str) -> bool:
    """Whether a folder holds an adapter that both roles share, and that can therefore be merged."""
    return set(saved_adapters(Path(name))) == {"default"}


def load_weights(model: LanguageModel, folder: str | Path) -> None:
    """Put the weights that `save_model` wrote into a model of the same shape, in place.

    Raises:
        ModelError: the folder holds no such weights.
    """
    saved = saved_adapters(Path(folder))
    if saved:
        from peft import load_peft_weights, set_peft_model_state_dict

        with _loading(str(folder)):
            for name, path in saved.items():
                read = load_peft_weights(str(path), device="cpu")
                set_peft_model_state_dict(model, _laid_in(model, read), adapter_name=name)
        return
    held = _load_base(str(folder), next(model.parameters()).dtype)
    with _loading(str(folder)):
        model.load_state_dict(_laid_in(model, held.state_dict()))


def _laid_in(model: LanguageModel, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return whole tensors in the parts that a model's own lie in, where it has parts."""
    own = next(model.parameters())  # all weights lie in the same way, and each is cut by its first dimension
    others = {name for name, _ in model.named_buffers()}
    return {n: t if n in others else laid_as(t, own, same_shape=False) for n, t in state.items()}


def check_loadable(name: str) -> None:
    """Refuse a model whose configuration or tokenizer cannot be read, before anything is made for it.

    Raises:
        ModelError: it is so.
    """
    adapters = saved_adapters(Path(name))
    _load(AutoConfig, base_of(next(iter(adapters.values()))) if adapters else name)
    _load(AutoTokenizer, name)


def check_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the type of the weights; "auto" is bfloat16 where a GPU computes in it, else float32.

    Raises:
        ConfigError: no such type.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        raise ConfigError(f"model.dtype must be one of auto, {', '.join(_DTYPES)}, got {name!r}")
    return _DTYPES[name]


def load_vision(name: str, model: LanguageModel, cfg: ModelConfig, album: Album) -> Vision | None:
    """Return the eyes of a model; None where it has none, or none whose pictures are read.

    Raises:
        ModelError: pictures, or words, are read otherwise than by the model itself; or no image processor lies with it.
    """
    if not sees(model):
        if has_tower(model) and not why_padded(model):
            check_words(model)
        return None
    saved = saved_adapters(Path(name))
    found = (
        name
        if (Path(name) / "preprocessor_config.json").is_file() or not saved
        else base_of(next(iter(saved.values())))
    )
    processor = _load(AutoImageProcessor, found, backend="pil")
    if not why_padded(model):
        check_sight(
            model, Vision(model, processor, Album(), cfg.vision)
        )  # a run's album holds its own pictures
    return Vision(model, processor, album, cfg.vision)


def _load_base(name: str, dtype: torch.dtype) -> LanguageModel:
    """Load a causal language model, or one that sees, where its configuration has a vision tower."""
    shape = _load(AutoConfig, name)
    auto = AutoModelForImageTextToText if hasattr(shape, "vision_config") else AutoModelForCausalLM
    model, told = _load(auto, name, dtype=dtype, use_safetensors=True, output_loading_info=True)
    if missing := sorted(told["missing_keys"]):
        raise ModelError(
            f"the weights of {name!r} are not whole: {len(missing)} of its tensors are missing, {missing[0]} first",
            hint="transformers would fill them with random numbers",
        )
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise ModelError(f"the weights of {name!r} are not finite")
    return model


def _freeze_tower(model: LanguageModel, cfg: ModelConfig) -> None:
    if has_tower(model) and not sees(model):
        within = words_alone(model)
        for name, parameter in model.named_parameters() if within else ():
            parameter.requires_grad_(name.startswith((f"{within}.", "lm_head.")))
    elif sees(model) and vision_settings(cfg.vision).freeze:
        for parameter in unwrapped(model).model.visual.parameters():
            parameter.requires_grad_(False)


def _load(auto: Any, name: str, **settings: Any) -> Any:
    with _loading(name):
        return auto.from_pretrained(name, trust_remote_code=False, **settings)


@contextlib.contextmanager
def _loading(name: str) -> Iterator[None]:
    """Say in one line whatever a library raises over a model's files.

    They may be anything: cut, empty, of other shapes, pointers to files that were never fetched; and transformers, peft,
    safetensors, tokenizers, jinja and torch have a dozen kinds of exceptions for it, a bare `Exception` among them.
    """
    try:
        yield
    except (HimacError, MemoryError):
        raise
    except Exception as error:
        is_path = Path(name).exists() or name.startswith((".", "/", "~"))
        if not Path(name).exists() and (is_path or len(Path(name).parts) > 2):  # no name of the hub
            raise ModelError(
                f"cannot load the model {name!r}: there is no such folder",
                hint="a relative path is looked for from where the command runs",
            ) from error
        if re.match(r"[\w.-]+:\d+(/|$)|[^/]+/v\d+(#|$)", name):
            raise ModelError(
                f"cannot load the model {name!r}: it looks like an endpoint's address",
                hint=f"an address begins with http:// or https://: http://{name}",
            ) from error
        hint = (
            "a model folder holds config.json, weights as safetensors and a tokenizer, each whole"
            if is_path
            else "check the name and the network, or give the path of a local folder"
        )
        raise ModelError(
            f"cannot load the model {name!r}: {_pointer(name) or line(str(error))[:300] or type(error).__name__}",
            hint=hint,
        ) from error


def _pointer(name: str) -> str:
    """Say where a file of a folder is a pointer of Git LFS; "" where none is."""
    for path in sorted(Path(name).glob("*")) if Path(name).is_dir() else ():
        if path.is_file() and path.stat().st_size < 1000 and path.read_bytes().startswith(_LFS):
            return f"{path.name} is a Git LFS pointer: the file itself was never fetched (git lfs pull)"
    return ""


def base_of(adapter: Path) -> str:
    """Return the name or folder of the model that an adapter was saved for.

    Raises:
        ModelError: its settings are damaged.
    """
    try:
        named = str(read_json(adapter / _ADAPTER)["base_model_name_or_path"] or "")
    except (DataError, KeyError, TypeError) as error:
        raise ModelError(f"cannot load the adapter {str(adapter)!r}: {_ADAPTER} is damaged") from error
    if not named:
        raise ModelError(f"the adapter {str(adapter)!r} does not say which model it is for")
    if not named.startswith("."):
        return named
    found = (adapter / named).resolve()
    if not found.is_dir():
        raise ModelError(
            f"the adapter {str(adapter)!r} is for the model in {str(found)!r}, and there is none",
            hint="move the two together, or name the folder in the adapter's adapter_config.json",
        )
    return str(found)


def saved_adapters(folder: Path) -> dict[str, Path]:
    """Return {adapter's name: its folder}; peft keeps "default" at the top and others in folders of their name."""
    paths = {path.parent for path in (*folder.glob(_ADAPTER), *folder.glob(f"*/{_ADAPTER}"))}
    names = {
        path: "default" if path == folder else ROLES_1.get(path.name, path.name) for path in sorted(paths)
    }
    return {name: path for path, name in names.items()}


def _load_adapters(folder: str, saved: dict[str, Path], dtype: torch.dtype) -> LanguageModel:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise missing_extra("peft", "lora", f"the adapter in {folder!r}") from error
    (first, path), *others = saved.items()
    named = base_of(path)
    base = _load_base(named, dtype)
    with _loading(folder):
        model = PeftModel.from_pretrained(base, path, adapter_name=first, is_trainable=True)
        for name, other in others:
            model.load_adapter(other, adapter_name=name, is_trainable=True)
    for config in model.peft_config.values():
        config.base_model_name_or_path = named
    return model


def _tell_the_way(adapter: Path) -> None:
    """Write where an adapter's base lies, as seen from the adapter's own folder: the two may be moved together."""
    path = adapter / _ADAPTER
    settings = read_json(path)
    base = Path(settings["base_model_name_or_path"])
    if base.is_dir():
        settings["base_model_name_or_path"] = os.path.relpath(base.resolve(), adapter.resolve())
        write_text(path, json.dumps(settings, indent=2) + "\n")


def _left_out(model: LanguageModel, cfg: ModelConfig) -> str | None:
    """Return what no adapter goes on, as an expression: a tower that is frozen, or that rests."""
    if has_tower(model) and not sees(model):
        return rf"(?!{re.escape(words_alone(model))}\.).*"
    return r".*\bvisual\b.*" if sees(model) and vision_settings(cfg.vision).freeze else None


def _add_adapters(model: LanguageModel, cfg: ModelConfig, adapters: tuple[str, ...]) -> LanguageModel:
    """Put low-rank adapters (arXiv 2106.09685) on every linear layer."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise missing_extra("peft", "lora", "model.lora_rank > 0") from error
    settings = LoraConfig(
        r=cfg.lora_rank,
        lora_alpha=2 * cfg.lora_rank,
        target_modules="all-linear",
        exclude_modules=_left_out(model, cfg),
        task_type="CAUSAL_LM",
        lora_dropout=0.0,
    )
    first, *others = adapters
    with torch.random.fork_rng(devices=[]):
        # an adapter starts as nothing (B = 0); which A it has must not depend on the process
        torch.manual_seed(0)
        model = get_peft_model(model, settings, adapter_name=first)
        for name in others:
            model.add_adapter(name, settings)
    return model
