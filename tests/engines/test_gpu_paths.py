"""What a GPU runs, by the same code on a processor: fixed shapes, stretches in one call, groups as a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import FAMILIES, LetterTokenizer, small_model
from test_transformers_engine import gap_to_learner, play, request, some_prompts

from himac.engines import graphs, kv
from himac.engines.transformers import TransformersEngine
from himac.models import attention, kernel
from himac.models.kernel import Masks, Scores, attend
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.models.ragged import Ragged


def fixed(family="qwen3", **settings):
    return TransformersEngine(small_model(family), LetterTokenizer(), fixed_shapes=True, **settings)


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Plain scores go the way that they go on CUDA."""
    for module in (attention, kv):
        monkeypatch.setattr(module, "takes_ragged", lambda query, scores: scores.is_plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_of_fixed_shapes_give_the_same_tokens(family):
    requests = [
        request(p, temperature=0.9, seed=i, max_tokens=9 + i % 5) for i, p in enumerate(some_prompts() * 3)
    ]
    plain = TransformersEngine(small_model(family), LetterTokenizer(), max_batch=11)
    wanted = plain.generate(requests)
    found = fixed(family, max_batch=11).generate(requests)
    assert [x.ids for x in found] == [x.ids for x in wanted]
    np.testing.assert_allclose(
        np.concatenate([x.logps for x in found]), np.concatenate([x.logps for x in wanted]), atol=1e-4
    )


@pytest.mark.parametrize("max_kv_tokens", [600, 4096])
def test_rows_that_fill_up_a_batch_spoil_no_prefix_that_is_kept(monkeypatch, max_kv_tokens):
    monkeypatch.setattr(graphs, "GRAIN", 16)
    monkeypatch.setattr("himac.engines.transformers.GRAIN", 16)
    engine = fixed(max_batch=13, max_kv_tokens=max_kv_tokens)
    stem = some_prompts()[1]
    ids, masks, logps = play(engine, [[*stem, i // 3] for i in range(13)], num_turns=8)
    assert gap_to_learner(engine.model, ids, masks, logps) < 1e-4
    assert engine.stats.computed_prompt_tokens < engine.stats.prompt_tokens / 2 or max_kv_tokens == 600


def test_a_size_is_recorded_once_it_comes_back_and_forgotten_with_its_memory(monkeypatch):
    engine = fixed(max_batch=8)
    recorded = []

    def note(self, size, device):
        self._pool = "a pool"
        recorded.append(size)

    monkeypatch.setattr(graphs.FixedDecode, "_record", note)
    engine.generate([request([1, 2, 3, i], max_tokens=12, temperature=0) for i in range(8)])
    assert recorded[0] == (8, 256) and engine._fixed._uses[8, 256] == 11  # the first token is the prompt's
    engine.release()
    assert not engine._fixed._uses and engine._fixed._logits is None and engine._fixed._pool is None
    before = engine._store.generation
    engine.generate([request([1, 2], max_tokens=3)])
    engine.generate([request(np.ones(250), max_tokens=7)])
    assert engine._store.generation > before, "a store that grows lies elsewhere"
    assert engine._fixed._generation == engine._store.generation


@pytest.mark.parametrize("at_once", [False, True])
def test_slots_are_copied_and_exchanged(at_once):
    store = kv.SlotStore(at_once=at_once)
    store.reserve(5, 4)
    keys, values = store.layer(0, torch.zeros(2, 1, 3))
    for slot in range(5):
        keys[slot], values[slot] = slot, -slot
        store.tokens[slot] = np.full(slot % 4 + 1, slot)
    store.copy([(0, 3, 2), (1, 4, 1)])
    assert keys[3, 0, :2, 0].tolist() == [0, 0] and keys[4, 0, 0, 0] == 1
    with store.rearranging():  # 0 1 2 -> 2 0 1
        store.swap(0, 1, lengths=(1, 2))
        store.swap(0, 2, lengths=(2, 3))
    assert keys[:3, 1, :2, 2].T.tolist() == [[2, 0, 1]] * 2 and values[:3, 0, 0, 0].tolist() == [-2, 0, -1]
    assert [int(ids[0]) for ids in store.tokens[:3]] == [2, 0, 1]


def test_without_a_gpu_nothing_is_recorded_and_the_reason_is_kept():
    engine = fixed()
    engine.generate([request([1, 2, 3], max_tokens=8)])
    assert engine._fixed.why_not == "no CUDA device" and not engine._fixed._graphs


@pytest.mark.parametrize("family", FAMILIES)
def test_stretches_in_one_call_give_the_same_probabilities_and_gradients(family, monkeypatch, request):
    model = small_model(family)
    ids = [np.concatenate([some_prompts()[1], rest]) for rest in ([1, 2, 3], [1, 5], [7, 8, 9, 2, 4], [1, 2])]
    (batch,) = pack(ids, max_tokens=1000)
    masks = [np.arange(len(x)) > 10 for x in ids]

    def run():
        model.zero_grad()
        logps = token_logps(model, batch, masks).logps
        (logps * torch.linspace(0.5, 1.5, len(logps))).sum().backward()
        return logps.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    wanted = run()
    request.getfixturevalue("on_a_gpu")
    found = run()
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_read_in_one_call_are_the_same(family, on_a_gpu):
    engine = fixed(family, max_batch=3, max_kv_tokens=900)
    stem = some_prompts()[1]
    ids, masks, logps = play(engine, [[*stem, i // 4] for i in range(8)], num_turns=4)
    assert gap_to_learner(engine.model, ids, masks, logps) < 1e-4


@pytest.mark.parametrize("window", [0, 3])
def test_a_loop_over_stretches_is_masked_attention(window):
    torch.manual_seed(0)
    counts, seens = [3, 1, 4], [5, 1, 4]
    query, key, value = torch.randn(8, 4, 8), torch.randn(10, 2, 8), torch.randn(10, 2, 8)
    scores = Scores(scale=0.3, window=window)
    found = Ragged(counts, seens, torch.device("cpu")).attend(query, key, value, scores)
    first_q = first_k = 0
    for count, seen in zip(counts, seens):
        for n in range(count):
            at = seen - count + n  # the query's position in its keys
            low = max(0, at - window + 1) if window else 0
            for head in range(4):
                keys = key[first_k + low : first_k + at + 1, head // 2]
                weights = (keys @ query[first_q + n, head] * 0.3).softmax(0)
                expected = weights @ value[first_k + low : first_k + at + 1, head // 2]
                torch.testing.assert_close(found[first_q + n, head], expected)
        first_q, first_k = first_q + count, first_k + seen


def test_groups_as_a_batch_are_grouped_attention():
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 6, 5, 8), torch.randn(1, 2, 9, 8), torch.randn(1, 2, 9, 8)
    mask = Masks(query).between(4, 5, 0, window=0)
    scores = Scores(scale=0.3)
    wanted = attend(query, key, value, scores, mask=mask)
    torch.testing.assert_close(kernel._by_group(query, key, value, scores, mask), wanted)
