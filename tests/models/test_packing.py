"""Packing sequences so that each prefix is there once."""

from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from himac.models import packing
from himac.models.packing import pack

sequences = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=7).map(lambda x: np.array(x, np.int32)), max_size=10
)


def test_doctests():
    assert doctest.testmod(packing).failed == 0


@settings(max_examples=150, deadline=None)
@given(sequences, st.integers(1, 30))
def test_every_sequence_is_found_again_and_rows_keep_their_limit(given_sequences, max_tokens):
    batches = pack(given_sequences, max_tokens=max_tokens)
    assert sorted(i for b in batches for i in b.sequences) == list(range(len(given_sequences)))
    for batch in batches:
        for i, places in zip(batch.sequences, batch.index):
            assert batch.ids[places].tolist() == given_sequences[i].tolist()
            assert batch.positions[places].tolist() == list(range(len(places)))
        longest = max(len(given_sequences[i]) for i in batch.sequences)
        assert batch.num_tokens <= max(max_tokens, longest)


@settings(max_examples=150, deadline=None)
@given(sequences)
def test_one_row_holds_each_unique_prefix_once(given_sequences):
    unique = {tuple(x[: n + 1].tolist()) for x in given_sequences for n in range(len(x))}
    assert sum(batch.num_tokens for batch in pack(given_sequences, max_tokens=10_000)) == len(unique)


@settings(max_examples=150, deadline=None)
@given(sequences)
def test_runs_cover_the_row_and_know_what_comes_before_them(given_sequences):
    for batch in pack(given_sequences, max_tokens=10_000):
        assert np.concatenate(
            [np.arange(r.start, r.start + r.length) for r in batch.pieces]
        ).tolist() == list(range(batch.num_tokens))
        for run in batch.pieces:
            before = [n for start, end in run.ancestors for n in range(start, end)]
            assert batch.positions[before].tolist() == list(range(batch.positions[run.start]))
            path = batch.ids[[*before, *range(run.start, run.start + run.length)]].tolist()
            assert any(path == given_sequences[i].tolist() for i in batch.sequences)


def test_select_follows_the_batch():
    given_sequences = [np.array([2, 2]), np.array([1, 1, 1])]
    (batch,) = pack(given_sequences, max_tokens=10)
    values = [np.array([0.0, 1.0]), np.array([0.0, 2.0, 3.0])]
    masks = [np.array([False, True]), np.array([False, True, True])]
    assert batch.sequences == (1, 0)
    assert batch.select(values, masks).tolist() == [2.0, 3.0, 1.0]


def test_nothing_packs_to_nothing():
    assert pack([], max_tokens=8) == []
