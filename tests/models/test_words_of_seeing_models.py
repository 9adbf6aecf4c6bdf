"""Models that see, in worlds of text: words as their own forward reads them, of families whose pictures are read or not."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from seeing import FAMILIES, Seeing

from himac.config import ModelConfig, load_config
from himac.engines.padded import PaddedEngine
from himac.engines.transformers import TransformersEngine
from himac.envs.base import make_env
from himac.errors import ConfigError, ModelError
from himac.learner.policy import Policy
from himac.models.attention import use_packed_attention, why_padded
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.models.reading import check_words
from himac.models.tiny import build_tokenizer
from himac.train.inspect import inspect_model
from himac.train.local import check_eyes
from himac.types import Request, Sampling

torch.set_num_threads(1)
_TEXT = {
    "vocab_size": 400, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip
_TOWER = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
_SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
_DELTA = {
    "num_hidden_layers": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}  # fmt: skip
_SMALL_TOWER = {
    "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
    "num_position_embeddings": 16,
}  # fmt: skip
UNREAD: dict[str, tuple[str, dict[str, Any]]] = {  # transformers' name, settings
    "gemma3": ("Gemma3", {"text_config": _TEXT | _SLIDING, "vision_config": _TOWER, "mm_tokens_per_image": 4}),
    "qwen3_5": ("Qwen3_5", {"text_config": _TEXT | _DELTA, "vision_config": _SMALL_TOWER}),
    "smolvlm": ("SmolVLM", {"text_config": _TEXT | {"model_type": "llama"}, "vision_config": _TOWER, "pad_token_id": 0}),
    "llava": (
        "Llava",
        {"text_config": _TEXT | {"model_type": "llama"}, "vision_config": _TOWER | {"model_type": "clip_vision_model"}},
    ),
    "internvl": (
        "InternVL",
        {
            "text_config": _TEXT | {"model_type": "qwen2"},
            "vision_config": _TOWER | {"image_size": [28, 28], "patch_size": [14, 14]},
        },
    ),
}  # fmt: skip


def unread(family: str) -> Any:
    """Return a small model with random weights of a family whose pictures are not read."""
    name, settings = UNREAD[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(**settings)
        model = getattr(transformers, f"{name}ForConditionalGeneration")(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.2)
    model.generation_config.eos_token_id = None
    return model


def built(family: str) -> Any:
    return Seeing(family).model if family in FAMILIES else unread(family)


@cache
def tokenizer() -> Any:
    return build_tokenizer(["you go through a door"] * 3, vocab=400)


def rows() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    stem = rng.integers(10, 300, 12)
    return [np.concatenate([stem, rng.integers(10, 300, n)]) for n in (9, 5, 14)]


@pytest.mark.parametrize("family", [*FAMILIES, *UNREAD])
def test_words_have_the_models_own_probabilities_and_gradients(family: str) -> None:
    model, sequences = built(family), rows()
    masks = [np.arange(len(ids)) > 3 for ids in sequences]
    said = [
        model(input_ids=torch.as_tensor(ids)[None], use_cache=False).logits[0].log_softmax(-1)[np.arange(3, len(ids) - 1), ids[4:]]
        for ids in sequences
    ]  # fmt: skip
    torch.cat(said).sum().backward()
    theirs = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    if not why_padded(model):
        use_packed_attention(model)
    (batch,) = pack(sequences, max_tokens=1000)
    found = token_logps(model, batch, masks).logps
    expected = torch.cat([said[i] for i in batch.sequences])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-5)
    found.sum().backward()
    ours = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    assert theirs.keys() == ours.keys() and not any("vision" in n or "visual" in n for n in ours)
    for name, gradient in ours.items():
        gap = (gradient - theirs[name]).abs().max() / (theirs[name].abs().max() + 1e-12)
        assert gap < 2e-5, (name, float(gap))


@pytest.mark.parametrize("family", UNREAD)
def test_words_are_generated_as_by_generate(family: str) -> None:
    model, prompts = unread(family), rows()
    expected = [
        model.generate(input_ids=torch.as_tensor(p)[None], max_new_tokens=8, do_sample=False, pad_token_id=0)[0, len(p) :].tolist()
        for p in prompts
    ]  # fmt: skip
    kind = PaddedEngine if why_padded(model) else TransformersEngine
    engine = kind(model, tokenizer(), max_batch=2)
    if kind is TransformersEngine:
        engine._ending.eos_ids = frozenset()
        asked = [Request(prompt=p, sampling=Sampling(max_tokens=8, temperature=0)) for p in prompts]
        assert [list(answer.ids) for answer in engine.generate(asked)] == expected
    asked = [Request(prompt=p, sampling=Sampling(max_tokens=8, seed=n)) for n, p in enumerate(prompts)]
    answers = engine.generate(asked)
    ids = [np.concatenate([p, a.ids]) for p, a in zip(prompts, answers)]
    masks = [np.arange(len(x)) >= len(p) for x, p in zip(ids, prompts)]
    (batch,) = pack(ids, max_tokens=1000)
    with torch.no_grad():
        learned = token_logps(model, batch, masks).logps.numpy()
    logps = [np.concatenate([np.zeros(len(p)), a.logps]) for p, a in zip(prompts, answers)]
    assert np.abs(learned - batch.select(logps, masks)).max() < 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("gemma") / "model"
    model = unread("gemma3")
    model.save_pretrained(found)
    tokenizer().save_pretrained(found)
    return found


def test_a_model_whose_pictures_are_not_read_plays_in_worlds_of_text_alone(folder: Path) -> None:
    policy = Policy.load(folder, ModelConfig(), device=torch.device("cpu"))
    assert policy.vision is None
    learning = {n.split(".")[1] for n, p in policy.model.named_parameters() if p.requires_grad}
    assert learning == {"language_model"}
    check_eyes(make_env("toy"), policy, "gemma")
    with pytest.raises(
        ConfigError, match=r"shows pictures, and .* sees none: pictures of model type 'gemma3' are not read"
    ):
        check_eyes(make_env("sokoban", observation="image"), policy, "gemma")
    assert (
        "'gemma3': not read; it plays in worlds of text"
        in inspect_model(str(folder), load_config(None, []))["pictures"]
    )


def test_adapters_leave_a_tower_that_rests_alone(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    policy = Policy.load(folder, ModelConfig(lora_rank=2), device=torch.device("cpu"))
    names = [name for name, p in policy.model.named_parameters() if "lora" in name]
    assert names and all(".language_model." in name for name in names)
    policy.save(tmp_path / "adapter")
    again = Policy.load(tmp_path / "adapter", ModelConfig(lora_rank=2), device=torch.device("cpu"))
    assert again.vision is None


def test_words_read_otherwise_than_by_the_model_itself_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from himac.models import reading

    model = unread("gemma3")
    use_packed_attention(model)
    check_words(model)
    inner = reading.read
    monkeypatch.setattr(
        reading, "read", lambda model, ids, places, *rest: inner(model, ids, places * 2, *rest)
    )
    with pytest.raises(
        ModelError, match=r"words of model type 'gemma3' are read otherwise than by its own forward"
    ):
        check_words(model)
