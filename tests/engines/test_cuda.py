"""On a GPU itself: recorded steps, flash attention over stretches, and a whole iteration; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import FAMILIES, LetterTokenizer, small_model
from test_transformers_engine import play, request, some_prompts
from torch.nn.attention import SDPBackend, sdpa_kernel

from himac.engines.transformers import TransformersEngine
from himac.models.kernel import Masks, Scores, attend
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.models.ragged import Ragged

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
HALF = ["qwen2", "qwen3", "llama", "mistral_window", "gemma2", "gemma3", "gpt_oss"]


def engine_of(family, dtype=torch.float32, scale=3.0, **settings):
    model = small_model(family, scale=scale).to("cuda", dtype)
    return TransformersEngine(model, LetterTokenizer(), **settings)


def gap(model, ids, masks, logps):
    (batch,) = pack(ids, max_tokens=100_000)
    with torch.no_grad():
        found = token_logps(model, batch, masks, temperature=0.8).logps.cpu().numpy()
    return np.abs(found - batch.select(logps, masks))


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_steps_give_the_tokens_of_plain_ones(family):
    requests = [request(p, temperature=0.9, seed=i, max_tokens=24) for i, p in enumerate(some_prompts() * 3)]
    wanted = engine_of(family, max_batch=11, fixed_shapes=False).generate(requests)
    engine = engine_of(family, max_batch=11)
    found = engine.generate(requests)
    if family not in ("qwen3_moe", "gpt_oss"):  # which expert gets how many tokens is asked on the host
        assert engine._fixed._graphs and not engine._fixed.why_not, engine._fixed.why_not
    same = np.mean([x.ids == y.ids for x, y in zip(found, wanted)])
    assert same >= 0.9  # roundings of other shapes may turn a token now and then


@pytest.mark.parametrize("family", HALF)
def test_engine_and_learner_agree_in_half_precision(family):
    engine = engine_of(family, torch.bfloat16, scale=1.0, max_batch=3, max_kv_tokens=2048)
    stem = some_prompts()[1]
    ids, masks, logps = play(engine, [[*stem, i // 4] for i in range(8)], num_turns=6)
    found = gap(engine.model, ids, masks, logps)
    assert found.mean() < 0.02 and found.max() < 0.2


def test_new_weights_are_what_recorded_steps_compute_with():
    engine = engine_of("qwen3", max_batch=4)
    contexts = [[*some_prompts()[1], i] for i in range(4)]
    play(engine, contexts, num_turns=4)
    assert engine._fixed._graphs
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter.mul_(1.05)
    engine.load_weights(None, 1)
    ids, masks, logps = play(engine, contexts, num_turns=4)
    assert gap(engine.model, ids, masks, logps).max() < 1e-3


@pytest.mark.parametrize("window", [0, 5])
def test_one_call_over_stretches_is_the_loop_forward_and_backward(window):
    torch.manual_seed(0)
    counts, seens = [30, 1, 4, 64], [50, 1, 9, 64]
    shapes = [(sum(counts), 4, 32), (sum(seens), 2, 32), (sum(seens), 2, 32)]
    exact = [torch.randn(shape, device="cuda").bfloat16().float().requires_grad_() for shape in shapes]
    half = [x.detach().bfloat16().requires_grad_() for x in exact]
    ragged, scores = Ragged(counts, seens, torch.device("cuda")), Scores(scale=0.2, window=window)
    wanted = ragged._one_by_one(*exact, scores)
    found = ragged.attend(*half, scores)
    weights = torch.randn_like(wanted)
    (wanted * weights).sum().backward()
    (found.float() * weights).sum().backward()
    for a, b in [(found, wanted), *((h.grad, e.grad) for h, e in zip(half, exact))]:
        error = (a.float() - b).norm() / b.norm()
        assert error < 0.02


def test_a_store_that_grows_is_recorded_anew():
    engine = engine_of("qwen3", max_batch=4)
    engine.generate([request([1, 2, 3, i], max_tokens=16) for i in range(2)])
    engine.generate([request([1, 2, 3, i], max_tokens=200) for i in range(4)])
    assert engine._fixed._graphs and not engine._fixed.why_not, engine._fixed.why_not


def test_grouped_queries_with_a_mask_take_a_fused_kernel():
    query = torch.randn(1, 8, 40, 64, device="cuda", dtype=torch.bfloat16)
    key, value = (torch.randn(1, 2, 90, 64, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    mask = Masks(query).between(50, 40, 0, window=0)
    with sdpa_kernel([SDPBackend.MATH]):
        wanted = attend(*(x.float() for x in (query, key, value)), Scores(scale=0.125), mask=mask.float())
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION]):
        found = attend(query, key, value, Scores(scale=0.125), mask=mask)
    assert (found.float() - wanted).norm() / wanted.norm() < 0.02
