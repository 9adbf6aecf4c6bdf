"""The plain path: models that cannot be packed, against each sequence on its own and against transformers' `generate`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import VOCAB, LetterTokenizer
from test_packed_logps import plain_logps, tree_of_sequences
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Lfm2Config,
    MambaConfig,
    Qwen3NextConfig,
)

from himac.cli.main import main
from himac.config import Config, load_config, override
from himac.engines.padded import PaddedEngine
from himac.learner.checkpoint import TrainState
from himac.models import head, logps
from himac.models.attention import why_padded
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.models.tiny import build_tokenizer
from himac.train.components import Components
from himac.train.rehearse import Noted
from himac.types import Request, Sampling

torch.set_num_threads(1)
_SHAPE = {
    "vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
FAMILIES = {
    "mamba": lambda **more: MambaConfig(
        **{"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, **more}
    ),
    "falcon": lambda **more: FalconConfig(**{**_SHAPE, "alibi": True, **more}),
    "bloom": lambda **more: BloomConfig(**{**_SHAPE, "n_layer": 2, "n_head": 4, **more}),
    "lfm2": lambda **more: Lfm2Config(
        **{**_SHAPE, "num_key_value_heads": 2, "intermediate_size": 48, "layer_types": ["conv", "full_attention"], **more}
    ),
    "qwen3_next": lambda **more: Qwen3NextConfig(
        **{
            **_SHAPE, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48, "num_experts": 4,
            "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
            "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"], **more,
        }
    ),
}  # fmt: skip


def small(family: str, **more):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(FAMILIES[family](**more)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(2.0)
    model.generation_config.eos_token_id = None
    model.config.eos_token_id = more.get("eos_token_id")
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chunk", [0, 5 * VOCAB])
def test_padded_logps_and_gradients_equal_the_plain_forward(family, chunk, monkeypatch):
    if chunk:
        for module in (logps, head):
            monkeypatch.setattr(module, "CHUNK_ELEMENTS", chunk)  # a limit, not a behaviour
    model = small(family)
    assert "cannot be packed" in why_padded(model)
    sequences, masks = tree_of_sequences()
    weights = [torch.linspace(-1, 2, int(mask.sum())) for mask in masks]
    expected, entropies = zip(*(plain_logps(model, s, m, 0.7) for s, m in zip(sequences, masks)))
    sum((lp * weight).sum() for lp, weight in zip(expected, weights)).backward()
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for batch in pack(sequences, max_tokens=200):
        found = token_logps(model, batch, masks, temperature=0.7)
        order = batch.sequences
        torch.testing.assert_close(found.logps, torch.cat([expected[i] for i in order]), atol=1e-4, rtol=1e-4)
        wanted = torch.cat([entropies[i] for i in order])
        torch.testing.assert_close(found.entropies, wanted, atol=1e-4, rtol=1e-4)
        (found.logps * torch.cat([weights[i] for i in order])).sum().backward()
    for parameter, wanted in zip(model.parameters(), gradients):
        if wanted is not None:
            assert float((parameter.grad - wanted).abs().max()) < 2e-4 * (float(wanted.abs().max()) + 1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_generation_is_that_of_generate_and_its_logps_are_the_learner_s(family):
    model = small(family)
    engine = PaddedEngine(model, LetterTokenizer(), max_batch=3)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, VOCAB, n) for n in (4, 9, 9, 6, 4)]
    greedy = engine.generate(
        [Request(prompt=p, sampling=Sampling(max_tokens=6, temperature=0.0)) for p in prompts]
    )
    for prompt, answer in zip(prompts, greedy):
        wanted = model.generate(torch.tensor(prompt)[None], max_new_tokens=6, do_sample=False, pad_token_id=0)
        assert list(answer.ids) == wanted[0, len(prompt) :].tolist()
    asked = [
        Request(prompt=p, sampling=Sampling(max_tokens=3 + i, temperature=0.8, seed=i))
        for i, p in enumerate(prompts)
    ]
    sampled = engine.generate(asked)
    assert [len(answer.ids) for answer in sampled] == [3, 4, 5, 6, 7]
    alone = [PaddedEngine(model, LetterTokenizer()).generate([request])[0] for request in asked]
    assert [answer.ids for answer in alone] == [answer.ids for answer in sampled]
    rows = [np.concatenate([p, answer.ids]) for p, answer in zip(prompts, sampled)]
    marks = [np.arange(len(row)) >= len(p) for row, p in zip(rows, prompts)]
    (batch,) = pack(rows, max_tokens=1000)
    with torch.no_grad():
        learned = token_logps(model, batch, marks, temperature=0.8).logps
    told = torch.tensor(np.concatenate([sampled[i].logps for i in batch.sequences]), dtype=torch.float32)
    torch.testing.assert_close(learned, told, atol=1e-4, rtol=1e-4)


@pytest.fixture
def mamba(tmp_path: Path) -> Path:
    """A folder with a small Mamba and a tokenizer with a chat template."""
    tokenizer = build_tokenizer(["go east wait hall"] * 5, vocab=400)
    torch.manual_seed(0)
    model = small("mamba", vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(tmp_path / "mamba")
    tokenizer.save_pretrained(tmp_path / "mamba")
    return tmp_path / "mamba"


def test_such_a_model_trains_and_is_told_of(mamba: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "check", str(mamba)]) == 0
    said = capsys.readouterr().out
    assert "padded rows, slower: model type 'mamba' cannot be packed" in said and "cache      0.0 kB" in said
    words = [
        "env=toy",
        "env.doors=1",
        "agent.think=false",
        "agent.planner_tokens=8",
        "agent.executor_tokens=4",
    ]
    config: Config = load_config(None, [*words, "rollout.tasks=2", "agent.max_steps=3", "algo.method=flat"])
    config = override(config, rollout={"group_size": 2}, optimizer={"lr": 1e-3})
    parts = Components(config, mamba)
    parts.policy.freeze_reference()
    before = [p.detach().clone() for p in parts.policy.trainable]
    log = Noted()
    learner = parts.learner()
    parts.loop(learner, log=log, outside=log).iterate(TrainState())
    (row,) = log.rows
    assert row["gap_max"] < 1e-4 and row["trained_tokens"] > 0
    assert any(not torch.equal(old, new) for old, new in zip(before, parts.policy.trainable))
