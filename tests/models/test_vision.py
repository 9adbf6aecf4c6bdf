"""Pictures in packed rows, shared prefixes and cached slots: the same numbers as the model's own forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from seeing import FAMILIES, Seeing

from himac.engines.transformers import TransformersEngine
from himac.errors import ModelError
from himac.images import FIRST_ID
from himac.models.attention import use_packed_attention
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.models.reading import check_sight
from himac.models.vision import Sight, Vision
from himac.types import Request, Sampling

torch.set_num_threads(1)


def masks_of(sequences):
    """Ask for every word that is not the first of a sequence."""
    return [(ids < FIRST_ID) & (np.arange(len(ids)) > 0) for ids in sequences]


def theirs(seeing, sequences, weights, model=None):
    """Return log-probabilities, one sequence at a time by transformers' own forward, and all gradients of their sum."""
    model = model or seeing.model
    model.zero_grad()
    found, loss = [], 0
    for ids, mask, weight in zip(sequences, masks_of(sequences), weights):
        logps = model(**seeing.as_theirs(ids), use_cache=False).logits[0].log_softmax(-1)
        at = np.flatnonzero(mask)
        said = logps[at - 1, ids[at]]
        found.append(said.detach())
        loss = loss + (said * weight[at]).sum()
    loss.backward()
    return found, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def ours(seeing, sequences, weights, model=None):
    """The same in one packed row."""
    model = model or seeing.model
    use_packed_attention(model)
    model.zero_grad()
    (batch,) = pack(sequences, max_tokens=4096)
    masks = masks_of(sequences)
    out = token_logps(model, batch, masks, vision=seeing.vision).logps
    (out * torch.cat([weights[i][masks[i]] for i in batch.sequences])).sum().backward()
    counts = [int(masks[i].sum()) for i in batch.sequences]
    by_sequence = dict(zip(batch.sequences, out.detach().split(counts)))
    found = [by_sequence[i] for i in range(len(sequences))]
    return found, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def compare(one, other):
    for a, b in zip(one[0], other[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        gap = (gradient - other[1][name]).abs().max() / (other[1][name].abs().max() + 1e-12)
        assert gap < 1e-5, (name, float(gap))


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_give_the_models_own_probabilities_and_gradients(family):
    seeing = Seeing(family)
    sequences = seeing.sequences()
    rng = np.random.default_rng(2)
    weights = [torch.from_numpy(rng.normal(size=len(ids))).float() for ids in sequences]
    expected = theirs(seeing, sequences, weights)
    found = ours(seeing, sequences, weights)
    compare(found, expected)
    assert any("visual.patch_embed" in name for name in found[1])
    assert len(found[1]) == len(list(seeing.model.parameters()))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("frozen", [False, True])
def test_with_adapters_too(family, frozen):
    peft = pytest.importorskip("peft")
    seeing = Seeing(family, frozen=frozen)
    exclude = r".*\bvisual\b.*" if frozen else None
    settings = peft.LoraConfig(
        r=2, target_modules="all-linear", exclude_modules=exclude, task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = peft.get_peft_model(seeing.model, settings).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.05)
    sequences = seeing.sequences()
    weights = [torch.ones(len(ids)) for ids in sequences]
    expected = theirs(seeing, sequences, weights, model)
    found = ours(seeing, sequences, weights, model)
    compare(found, expected)
    assert any("visual" in name for name in found[1]) != frozen


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_are_the_ones_that_transformers_gives(family):
    seeing = Seeing(family)
    for ids in seeing.sequences():
        given = seeing.as_theirs(ids)
        if "image_grid_thw" not in given:
            continue
        wanted, delta = seeing.model.model.get_rope_index(
            given["input_ids"], given["mm_token_type_ids"], image_grid_thw=given["image_grid_thw"],
            attention_mask=given["attention_mask"],
        )  # fmt: skip
        sight = seeing.vision.sight(ids)
        np.testing.assert_array_equal(sight.positions, wanted[:, 0].numpy())
        assert sight.shift == int(delta)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fixed", [False, True])
def test_generation_with_shared_prefixes_is_generate(family, fixed):
    seeing = Seeing(family)
    prompts = [seeing.sequences()[i] for i in (0, 1, 3, 5, 0)]
    seeing.model.generation_config.eos_token_id = None
    expected = [
        seeing.model.generate(
            **seeing.as_theirs(p), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
        )[0, len(p) :].tolist()
        for p in prompts
    ]
    engine = TransformersEngine(
        seeing.model, seeing.tokenizer, max_batch=3, vision=seeing.vision, fixed_shapes=fixed
    )
    engine._ending.eos_ids = frozenset()
    asked = [Request(prompt=p, sampling=Sampling(max_tokens=12, temperature=0)) for p in prompts]
    assert [list(answer.ids) for answer in engine.generate(asked)] == expected
    # the next turn goes on behind the last: another picture, and the engine's own words before it
    longer = [np.concatenate([p, e, prompts[3][:4], prompts[2][7:]]) for p, e in zip(prompts, expected)]
    answers = engine.generate([Request(prompt=p, sampling=Sampling(max_tokens=4)) for p in longer])
    ids = [np.concatenate([p, a.ids]) for p, a in zip(longer, answers)]
    masks = [np.arange(len(x)) >= len(p) for x, p in zip(ids, longer)]
    (batch,) = pack(ids, max_tokens=4096)
    learned = token_logps(seeing.model, batch, masks, vision=seeing.vision).logps.detach().numpy()
    logps = [np.concatenate([np.zeros(len(p)), a.logps]) for p, a in zip(longer, answers)]
    assert np.abs(learned - batch.select(logps, masks)).max() < 1e-4
    assert engine.stats.computed_prompt_tokens < engine.stats.prompt_tokens * 0.7


def test_two_pictures_never_share_a_prefix_and_one_always_does():
    seeing = Seeing("qwen3_vl")
    first, second = seeing.pictures[0], seeing.pictures[1]
    assert first[0] != second[0] and min(first.min(), second.min()) >= FIRST_ID
    stem = np.array([3, 4, 5])
    twice, other = np.concatenate([stem, first, [7]]), np.concatenate([stem, second, [7]])
    (batch,) = pack([twice, other, twice], max_tokens=1000)
    assert batch.num_tokens == 3 + 2 * (36 + 1)
    again = Seeing("qwen3_vl")
    np.testing.assert_array_equal(again.pictures[0], first)  # in another album, and whatever came before


def test_features_are_made_once_for_each_picture_and_anew_for_new_weights(monkeypatch):
    seeing = Seeing("qwen3_vl")
    made = []
    inner = Vision._made
    monkeypatch.setattr(
        Vision, "_made", lambda self, model, numbers: made.extend(numbers) or inner(self, model, numbers)
    )
    engine = TransformersEngine(seeing.model, seeing.tokenizer, max_batch=4, vision=seeing.vision)
    prompts = seeing.sequences()[:2]
    asked = [Request(prompt=p, sampling=Sampling(max_tokens=2)) for p in prompts * 2]
    engine.generate(asked)
    engine.generate(asked)
    assert sorted(made) == [0, 1, 2]
    engine.load_weights(None, 1)
    engine.generate(asked)
    assert sorted(made) == [0, 0, 1, 1, 2, 2]


def test_a_frozen_tower_has_no_gradient_and_makes_a_picture_once_for_all(monkeypatch):
    seeing = Seeing("qwen3_vl", frozen=True)
    made = []
    inner = Vision._made
    monkeypatch.setattr(
        Vision, "_made", lambda self, model, numbers: made.extend(numbers) or inner(self, model, numbers)
    )
    sequences = seeing.sequences()
    weights = [torch.ones(len(ids)) for ids in sequences]
    for _ in range(2):
        _, gradients = ours(seeing, sequences, weights)
    assert not any("visual" in name for name in gradients) and sorted(made) == [0, 1, 2, 3, 4]


def test_a_family_whose_pictures_cannot_be_read_is_refused_in_one_line():
    seeing = Seeing("qwen3_vl")
    seeing.model.config.model_type = "gemma3"
    with pytest.raises(ModelError, match="'gemma3' cannot be read; known: qwen2_vl, qwen2_5_vl, qwen3_vl"):
        Vision(seeing.model, None, seeing.album)


def test_a_model_that_is_read_otherwise_than_by_its_own_forward_is_refused(monkeypatch):
    seeing = Seeing("qwen3_vl")
    use_packed_attention(seeing.model)
    check_sight(seeing.model, seeing.vision)
    inner = Vision.sight

    def rows_and_columns_exchanged(self, ids):
        sight = inner(self, ids)
        return Sight(sight.positions[[0, 2, 1]], sight.picture, sight.offset)

    monkeypatch.setattr(Vision, "sight", rows_and_columns_exchanged)
    with pytest.raises(ModelError, match="'qwen3_vl' are read otherwise than by its own forward"):
        check_sight(seeing.model, seeing.vision)


def test_what_a_frozen_tower_made_is_kept_within_bounds(monkeypatch):
    seeing = Seeing("qwen3_vl", frozen=True)
    one = sum(part.numel() for part in seeing.vision.features(seeing.model, [0])[0])
    monkeypatch.setattr("himac.models.vision.KEPT_ELEMENTS", 2 * one)
    found = seeing.vision.features(seeing.model, [0, 1, 2])
    assert sorted(found) == [0, 1, 2] and sorted(seeing.vision._kept) == [1, 2]
