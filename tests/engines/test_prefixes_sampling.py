"""Placing prompts over the cache, and drawing tokens."""

from __future__ import annotations

import doctest

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from himac.engines import prefixes, sampling
from himac.engines.prefixes import place
from himac.engines.sampling import draw, stream

tokens = st.lists(st.integers(0, 2), min_size=1, max_size=6)


def test_doctests():
    assert doctest.testmod(prefixes).failed == 0
    assert doctest.testmod(sampling).failed == 0


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=4, max_size=8),
    st.lists(tokens, min_size=1, max_size=4),
)
def test_carrying_out_placements_gives_every_prompt_its_own_tokens(held, wanted):
    slots = [np.array(x, np.int32) for x in held]
    prompts = [np.array(x, np.int32) for x in wanted]
    live = set(range(len(slots) - len(prompts)))
    contents = [x.tolist() for x in slots]
    placements = place(prompts, slots, list(range(len(slots))), live=live)
    assert sorted(p.prompt for p in placements) == list(range(len(prompts)))
    assert len({p.slot for p in placements}) == len(prompts) and not live & {p.slot for p in placements}
    for p in sorted(placements, key=lambda p: p.wave):
        ids = prompts[p.prompt].tolist()
        assert p.start < len(ids) or p.twin >= 0
        contents[p.slot] = contents[p.source][: p.start] + ids[p.start :]
        assert contents[p.slot] == ids
    for slot in live:
        assert contents[slot] == slots[slot].tolist()


@settings(max_examples=200, deadline=None)
@given(st.lists(tokens, min_size=1, max_size=6))
def test_an_empty_cache_computes_each_unique_prefix_once(wanted):
    prompts = [np.array(x, np.int32) for x in wanted]
    placements = place(prompts, [prompts[0][:0]] * len(prompts), [-1] * len(prompts), live=set())
    unique = {tuple(x[: n + 1]) for x in wanted for n in range(len(x))}
    assert sum(len(prompts[p.prompt]) - p.start for p in placements) == len(unique)


def test_draws_follow_the_distribution():
    p = torch.tensor([0.5, 0.2, 0.2, 0.1])
    n = 20_000
    uniform = torch.tensor(stream(3).random(n))
    ids, logps = draw(p.log().expand(n, 4), torch.ones(n), torch.ones(n), uniform)
    assert np.allclose(np.bincount(ids, minlength=4) / n, p, atol=0.015)
    assert torch.allclose(logps, p.log()[ids])


def test_top_p_cuts_the_tail_and_logps_are_of_what_was_sampled_from():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    n = 2000
    ids, logps = draw(
        p.log().expand(n, 4), torch.ones(n), torch.full((n,), 0.7), torch.tensor(stream(3).random(n))
    )
    assert set(ids.tolist()) == {0, 1}
    assert torch.allclose(logps, (p / (p[0] + p[1])).log()[ids])


def test_rows_without_top_p_are_untouched_beside_one_that_has_it():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]] * 3).log()
    _, logps = draw(
        logits, torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.7, 1.0, 0.7]), torch.full((3,), 0.1).double()
    )
    assert torch.allclose(logps.exp(), torch.tensor([0.5 / 0.8, 0.5, 0.5]))


def test_temperature_sharpens():
    logits = torch.tensor([[0.0, 1.0]])
    _, logps = draw(logits, torch.tensor([0.5]), torch.ones(1), torch.tensor([0.99], dtype=torch.float64))
    assert torch.allclose(logps, torch.tensor([[0.0, 2.0]]).log_softmax(-1)[:, 1])
