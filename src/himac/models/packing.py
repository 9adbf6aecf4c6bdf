"""Many token sequences in one row, every common prefix once; numpy alone.

Sort the sequences, and each one adds only what it does not share with the one before it. The new
tokens of a sequence are a *piece*; a piece attends to its ancestors (the shared prefix, which lies in earlier
pieces) and causally to itself. So a group's prompt passes through the model once, forward and backward,
however many completions follow it:

    sequences  [1 2 3 4]  [1 2 3 5 6]  [1 7]
    packed row  1 2 3 4 | 5 6 | 7            7 tokens instead of 11
    positions   0 1 2 3   3 4   1

What is left out: sharing anything but prefixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens that one sequence adds to the packed row."""

    start: int  # packed index of its first token
    length: int  # number of tokens, >= 1
    ancestors: tuple[tuple[int, int], ...]  # packed [start, end) of the shared prefix, in reading order


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """Sequences packed into one row of T unique tokens."""

    ids: np.ndarray  # (T,) int64 token ids
    positions: np.ndarray  # (T,) int64 position of each token in its sequences
    pieces: tuple[Piece, ...]  # cover the row in order
    sequences: tuple[int, ...]  # which of the sequences given to `pack` lie here
    index: tuple[np.ndarray, ...]  # per sequence (T_s,) int64: packed index of each of its tokens

    @property
    def num_tokens(self) -> int:
        """T: the tokens that pass through the model."""
        return len(self.ids)

    def select(self, values: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
        """Return the masked values of this batch's sequences, in the order of `token_logps`.

        Args:
            values: per sequence given to `pack`, (T_s,).
            masks: per sequence given to `pack`, (T_s,) bool.
        """
        return np.concatenate([values[i][masks[i]] for i in self.sequences])


def pack(sequences: Sequence[np.ndarray], *, max_tokens: int) -> list[PackedBatch]:
    """Pack sequences into rows of at most `max_tokens` unique tokens.

    Sequences with a long common prefix come to lie together. One that is longer than `max_tokens` gets a
    row of its own.

    Args:
        sequences: token ids, each (T_s,) with T_s >= 1.
        max_tokens: most tokens of a row, counted after sharing.

    >>> batch, = pack([np.array([1, 7]), np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5, 6])], max_tokens=8)
    >>> batch.ids.tolist(), batch.positions.tolist(), batch.sequences
    ([1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 3, 4, 1], (1, 2, 0))
    >>> [(piece.start, piece.length, piece.ancestors) for piece in batch.pieces]
    [(0, 4, ()), (4, 2, ((0, 3),)), (6, 1, ((0, 1),))]
    >>> batch.index[1].tolist()
    [0, 1, 2, 4, 5]
    >>> [b.num_tokens for b in pack([np.array([1, 2, 3]), np.array([1, 2, 4]), np.array([5])], max_tokens=4)]
    [4, 1]
    """
    arrays = [np.ascontiguousarray(sequence, np.int64) for sequence in sequences]
    order = sorted(range(len(arrays)), key=lambda i: lexical_key(arrays[i]))
    batches: list[PackedBatch] = []
    members: list[int] = []
    shared: list[int] = []  # per member: length of the prefix it shares with the member before it
    num_tokens = 0
    for i in order:
        common = common_prefix(arrays[members[-1]], arrays[i]) if members else 0
        if members and num_tokens + len(arrays[i]) - common > max_tokens:
            batches.append(_lay_out(arrays, members, shared))
            members, shared, num_tokens, common = [], [], 0, 0
        members.append(i)
        shared.append(common)
        num_tokens += len(arrays[i]) - common
    if members:
        batches.append(_lay_out(arrays, members, shared))
    return batches


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """Return how many leading tokens two sequences share.

    >>> common_prefix(np.array([1, 2, 3]), np.array([1, 2, 4, 5]))
    2
    """
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    first = int(differs.argmax()) if n else 0
    return first if n and differs[first] else n


def lexical_key(ids: np.ndarray) -> bytes:
    """Return bytes that sort as the token ids do, one token after the other.

    >>> lexical_key(np.array([1, 300])) < lexical_key(np.array([2]))
    True
    """
    return np.asarray(ids).astype(">u4").tobytes()


def _lay_out(arrays: list[np.ndarray], members: list[int], shared: list[int]) -> PackedBatch:
    pieces: list[Piece] = []
    index: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    offset = 0
    for i, common in zip(members, shared):
        prefix = index[-1][:common] if index else np.empty(0, np.int64)
        length = len(arrays[i]) - common
        if length:
            pieces.append(Piece(start=offset, length=length, ancestors=_spans(prefix)))
        index.append(np.concatenate([prefix, np.arange(offset, offset + length)]))
        ids.append(arrays[i][common:])
        offset += length
    positions = np.empty(offset, np.int64)
    for indices in index:
        positions[indices] = np.arange(len(indices))
    return PackedBatch(
        ids=np.concatenate(ids),
        positions=positions,
        pieces=tuple(pieces),
        sequences=tuple(members),
        index=tuple(index),
    )


def _spans(indices: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return increasing indices as contiguous [start, end) spans.

    >>> _spans(np.array([0, 1, 2, 5, 6]))
    ((0, 3), (5, 7))
    """
    if not len(indices):
        return ()
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    return tuple((int(part[0]), int(part[-1]) + 1) for part in np.split(indices, breaks))
