"""Prefix-tree packed log-probabilities against the plain forward of each sequence on its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import FAMILIES, VOCAB, small_model
from transformers import AutoModelForCausalLM, FalconConfig, Llama4TextConfig, MambaConfig

from himac.errors import ModelError
from himac.models import attention, head, logps
from himac.models.attention import use_packed_attention
from himac.models.logps import token_logps
from himac.models.packing import pack

torch.set_num_threads(1)


def tree_of_sequences():
    """Sequences that branch at several depths, one that is another's prefix, one that is there twice."""
    rng = np.random.default_rng(0)
    root = rng.integers(0, VOCAB, 20)
    sequences = []
    for i in range(3):
        stem = np.concatenate([root[: 10 + 3 * i], rng.integers(0, VOCAB, 10)])
        for j in range(4):
            sequences.append(np.concatenate([stem, rng.integers(0, 3, 2), rng.integers(0, VOCAB, 5 + j)]))
    sequences += [root, root[:5], sequences[3].copy()]
    masks = [rng.random(len(ids)) < 0.5 for ids in sequences]
    for mask in masks:
        mask[0] = False
    return sequences, masks


def plain_logps(model, ids, mask, temperature):
    logps = (model(torch.tensor(ids)[None]).logits[0].float() / temperature).log_softmax(-1)
    at = np.flatnonzero(mask)
    return logps[at - 1, ids[at]], -(logps.exp() * logps).sum(-1)[at - 1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_tokens", [1000, 40])
def test_packed_logps_and_gradients_equal_the_plain_forward(family, max_tokens):
    model = small_model(family)
    sequences, masks = tree_of_sequences()
    weights = [torch.linspace(-1, 2, int(mask.sum())) for mask in masks]
    expected, entropies = zip(*(plain_logps(model, s, m, 0.7) for s, m in zip(sequences, masks)))
    sum((logps * weight).sum() for logps, weight in zip(expected, weights)).backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for batch in pack(sequences, max_tokens=max_tokens):
        found = token_logps(model, batch, masks, temperature=0.7)
        wanted = torch.cat([expected[i] for i in batch.sequences])
        torch.testing.assert_close(found.logps, wanted, atol=5e-5, rtol=1e-5)
        torch.testing.assert_close(
            found.entropies, torch.cat([entropies[i] for i in batch.sequences]), atol=5e-5, rtol=1e-5
        )
        (found.logps * torch.cat([weights[i] for i in batch.sequences])).sum().backward()
    for parameter, wanted in zip(model.parameters(), gradients):
        scale = float(wanted.abs().max()) + 1e-6
        assert float((parameter.grad - wanted).abs().max()) < 1e-4 * scale


def test_a_prefix_goes_through_the_model_once():
    prompt = np.arange(50)
    sequences = [np.concatenate([prompt, np.full(5, 60 + i)]) for i in range(8)]
    (batch,) = pack(sequences, max_tokens=1000)
    assert batch.num_tokens == 50 + 8 * 5


def test_gradient_checkpointing_gives_the_same_gradients():
    sequences, masks = tree_of_sequences()
    (batch,) = pack(sequences, max_tokens=1000)
    found = []
    for checkpointing in (False, True):
        model = small_model("qwen3").train()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        token_logps(model, batch, masks).logps.sum().backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, recomputed in zip(*found):
        torch.testing.assert_close(plain, recomputed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_large_vocabulary_taken_in_chunks_gives_the_same_numbers_and_gradients(monkeypatch, family, frozen):
    sequences, masks = tree_of_sequences()
    (batch,) = pack(sequences, max_tokens=1000)
    found = []
    for elements in (logps.CHUNK_ELEMENTS, 5 * VOCAB):
        for module in (logps, head):
            monkeypatch.setattr(module, "CHUNK_ELEMENTS", elements)  # a limit, not a behaviour
        model = small_model(family)
        if frozen:  # as with an adapter, where only the states have a gradient
            model.get_output_embeddings().weight.requires_grad_(False)
        result = token_logps(model, batch, masks, temperature=0.7, entropy_grad=True, states_at=masks)
        (result.logps.sum() + result.entropies.square().sum() + result.states.sum()).backward()
        gradients = [p.grad for p in model.parameters() if p.requires_grad]
        found.append([result.logps.detach(), result.entropies.detach(), result.states.detach(), *gradients])
    assert head.head_of(model) is not None
    for whole, chunked in zip(*found):
        torch.testing.assert_close(chunked, whole, atol=1e-4 * max(1, float(whole.abs().max())), rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cap", [0.0, 2.0])
def test_a_head_in_chunks_against_autograd_through_whole_logits(monkeypatch, dtype, cap):
    torch.manual_seed(0)
    states = torch.randn(7, 16, dtype=dtype)
    module = torch.nn.Linear(16, 31).to(dtype)
    rows = np.array([0, 3, 3, 6, 1])  # two of one row; of three rows nothing is asked
    targets = np.array([5, 0, 30, 2, 2])
    pull_N, pull_K = torch.randn(5), torch.randn(7)
    found = []
    for chunk in (0, 2 * 31):
        module.zero_grad()
        given = states.clone().requires_grad_()
        if chunk:
            monkeypatch.setattr(head, "CHUNK_ELEMENTS", chunk)
            logp, entropy = head.Head(module=module, scale=0.5, cap=cap).logps(
                given, rows, targets, temperature=0.7, entropy_grad=True
            )
        else:
            z = module(given).float() * 0.5
            z = (cap * torch.tanh(z / cap) if cap else z) / 0.7
            logps_KV = z.log_softmax(-1)
            logp, entropy = logps_KV[rows, targets], -(logps_KV.exp() * logps_KV).sum(-1)
        ((logp * pull_N).sum() + (entropy * pull_K).sum()).backward()
        found.append([logp, entropy, given.grad, module.weight.grad, module.bias.grad])
    near = 1e-5 if dtype == torch.float32 else 2e-2
    for whole, chunked in zip(*found):
        assert whole.dtype == chunked.dtype
        torch.testing.assert_close(chunked, whole, atol=near * float(whole.detach().abs().max()), rtol=near)


def test_a_head_that_is_no_linear_layer_is_taken_whole(monkeypatch):
    class Doubled(torch.nn.Linear):
        def forward(self, states):
            return 2 * super().forward(states)

    sequences, masks = tree_of_sequences()
    (batch,) = pack(sequences, max_tokens=1000)
    model = small_model("llama")
    before = token_logps(model, batch, masks).logps
    own = Doubled(32, VOCAB, bias=False)
    own.weight = torch.nn.Parameter(model.lm_head.weight / 2)
    model.lm_head = own
    monkeypatch.setattr(logps, "CHUNK_ELEMENTS", 1)
    assert head.head_of(model) is None
    torch.testing.assert_close(token_logps(model, batch, masks).logps, before)


def test_the_first_token_cannot_be_asked_for():
    (batch,) = pack([np.array([1, 2])], max_tokens=10)
    with pytest.raises(ValueError, match="first token"):
        token_logps(small_model("qwen3"), batch, [np.array([True, True])])


def test_a_batch_without_masked_tokens_has_no_logps():
    (batch,) = pack([np.array([1, 2])], max_tokens=10)
    assert token_logps(small_model("qwen3"), batch, [np.array([False, False])]).logps.shape == (0,)


def test_without_a_plan_the_model_behaves_as_before():
    model = small_model("qwen3")
    ids = torch.arange(12).view(2, 6)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    before = model(ids, attention_mask=mask).logits
    use_packed_attention(model)
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, before, atol=0, rtol=0)


_SHAPE = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.mark.parametrize("family", ["mistral_window", "gemma2", "gemma3", "gpt_oss"])
@pytest.mark.parametrize("block", [3, 128])
def test_windows_are_cut_right_wherever_a_block_begins(monkeypatch, family, block):
    monkeypatch.setattr(attention, "_BLOCK", block)  # a limit, not a behaviour
    model = small_model(family)
    sequences, masks = tree_of_sequences()
    expected = [plain_logps(model, ids, mask, 1.0)[0] for ids, mask in zip(sequences, masks)]
    (batch,) = pack(sequences, max_tokens=1000)
    found = token_logps(model, batch, masks).logps
    torch.testing.assert_close(found, torch.cat([expected[i] for i in batch.sequences]), atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            lambda: Llama4TextConfig(
                **_SHAPE, num_key_value_heads=2, head_dim=8, intermediate_size=48, num_local_experts=2
            ),
            "chunked_attention",
        ),
        (lambda: MambaConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2), "linear_attention"),
        (lambda: FalconConfig(**_SHAPE), "attention interface"),
    ],
)
def test_models_with_other_attention_are_refused_in_one_line(config, reason):
    model = AutoModelForCausalLM.from_config(config())
    with pytest.raises(ModelError, match=reason) as caught:
        use_packed_attention(model)
    assert "\n" not in str(caught.value) and caught.value.hint
