"""Keys and values of many sequences in slots, and the plans that attend to them.

A slot holds one sequence from position 0 on; whoever shares a prefix copies those rows instead of
computing them; live sequences sit in slots 0 .. n-1, so that a decode step reads them as one batch.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from himac.models.kernel import Masks, Scores, attend, over_window
from himac.models.ragged import Ragged, takes_ragged

_PADDING = 256
"""Padded positions of a row that cost a processor as much as one more call of the attention kernel."""


_SHARE = 4  # of the device's memory that keys and values may take: one part in so many
_MOST_TOKENS = 262_144
_KEPT_BYTES = (
    2**30
)  # of a processor's memory that is kept between collections because its pages have been touched


def bytes_per_token(config: Any, element_size: int) -> int:
    """Return the bytes of keys and values that one token takes over all layers; 0 for a model that has none."""
    if not getattr(config, "num_attention_heads", 0):
        return 0
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_hidden_layers) * int(heads) * int(width) * element_size


def affordable_tokens(per_token: int, device: torch.device) -> int:
    """Return how many tokens' keys and values to keep where nothing was said: a quarter of the device's memory.

    Of all its memory, not of what happens to be free: what is found in the cache changes roundings, and a run that
    goes on should compute what it would have computed.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
    else:
        try:
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):  # no such names on this system
            return _MOST_TOKENS
    return max(1, min(_MOST_TOKENS, total // _SHARE // per_token))


class SlotStore:
    """Per layer, keys and values of shape (slots, kv_heads, capacity, head_dim), allocated as needed."""

    nothing = np.empty(0, np.int32)  # the tokens of an empty slot

    def __init__(self, *, max_tokens: int = 0, at_once: bool = False) -> None:
        self.max_tokens = max_tokens  # on the CPU, room for so many is asked for at once
        self.at_once = (
            at_once  # copies and swaps are made together, which takes few launches and moves a little more
        )
        self.num_slots = 0
        self.capacity = 0
        self.generation = 0  # changes with the memory that keys and values lie in
        self.tokens: list[np.ndarray] = []  # per slot (T,) int32: what its keys and values were computed from
        self.last_used: list[int] = []  # per slot: when it was last part of a batch
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._held: list[int] = []  # while slots are rearranged: whose content each has
        self._extent = 0  # and how many positions of it count
        self._spare: list[torch.UntypedStorage] = []  # CPU memory to use again: its pages have been touched

    def reserve(self, num_slots: int, capacity: int) -> None:
        """Make room for at least so many slots of at least so many tokens; contents stay."""
        if num_slots <= self.num_slots and capacity <= self.capacity:
            return
        new = num_slots - self.num_slots
        self.tokens += [self.nothing] * new
        self.last_used += [-1] * new
        self.num_slots, self.capacity = max(num_slots, self.num_slots), max(capacity, self.capacity)
        for storage in (self._keys, self._values):
            for layer, old in storage.items():
                storage[layer] = self._resized(old)

    def trim(self, most: int, *, live: int) -> None:
        """Keep at most so many slots: the first `live` ones, and of the others those that were used last."""
        if self.num_slots <= most:
            return
        idle = sorted(range(live, self.num_slots), key=lambda slot: -self.last_used[slot])
        staying = set(idle[: most - live])
        gaps = iter([slot for slot in range(live, most) if slot not in staying])
        for slot in sorted(staying):
            if slot >= most:
                gap = next(gaps)
                self.copy([(slot, gap, len(self.tokens[slot]))])
                self.tokens[gap], self.last_used[gap] = self.tokens[slot], self.last_used[slot]
        self.num_slots = most
        self.tokens, self.last_used = self.tokens[:most], self.last_used[:most]
        for storage in (self._keys, self._values):
            for layer, old in storage.items():
                storage[layer] = old[:most]

    def clear(self) -> None:
        """Forget every sequence, and give back its memory; a little of the CPU's is kept to be used again.

        Sizes are forgotten too: what comes next is placed, and so rounded, as in a store that is new. A resumed
        run therefore computes to the last bit what an undisturbed one does.
        """
        self.num_slots = self.capacity = 0
        self.tokens, self.last_used = [], []
        for old in (*self._keys.values(), *self._values.values()):
            self._release(old)
        self._keys, self._values = {}, {}
        self.generation += 1

    def layer(self, number: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values; `like` (kv_heads, T, head_dim) says their shape and type."""
        if number not in self._keys:
            self._keys[number] = self._allocate(like[:, 0])
            self._values[number] = self._allocate(like[:, 0])
        return self._keys[number], self._values[number]

    def put(
        self, layer: int, slots: Tensor, places: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Write new tokens' keys and values, (kv_heads, T, head_dim), to (T,) slots and places; return all of the layer's."""
        keys, values = self.layer(layer, key)
        keys[slots, :, places] = key.transpose(0, 1)
        values[slots, :, places] = value.transpose(0, 1)
        return keys, values

    def copy(self, copies: Sequence[tuple[int, int, int]]) -> None:
        """Copy the first positions of slots to others: (source, target, how many). No source is a target."""
        if self.at_once and copies:
            sources, targets, lengths = zip(*copies)
            self._move(sources, targets, max(lengths))
            return
        for storage in (*self._keys.values(), *self._values.values()):
            for source, target, length in copies:
                storage[target, :, :length] = storage[source, :, :length]

    @contextlib.contextmanager
    def rearranging(self) -> Iterator[None]:
        """Within it slots may be swapped; what was moved is in its place at the end."""
        self._held, self._extent = list(range(self.num_slots)), 0
        try:
            yield
            moved = [slot for slot, held in enumerate(self._held) if slot != held]
            if moved:
                self._move([self._held[slot] for slot in moved], moved, self._extent)
        finally:
            self._held = []

    def swap(self, a: int, b: int, *, lengths: tuple[int, int]) -> None:
        """Exchange two slots, of which the first `lengths` positions count."""
        if a == b:
            return
        length = max(lengths)
        if self.at_once:
            self._held[a], self._held[b] = self._held[b], self._held[a]
            self._extent = max(self._extent, length)
        else:
            for storage in (*self._keys.values(), *self._values.values()):
                kept = storage[a, :, :length].clone()
                storage[a, :, :length] = storage[b, :, :length]
                storage[b, :, :length] = kept
        self.tokens[a], self.tokens[b] = self.tokens[b], self.tokens[a]
        self.last_used[a], self.last_used[b] = self.last_used[b], self.last_used[a]

    def _move(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Copy the first positions of slots to others, all read before any is written."""
        storages = (*self._keys.values(), *self._values.values())
        if not storages:
            return
        source, target = torch.tensor([sources, targets], device=storages[0].device)
        for storage in storages:
            storage[target, :, :length] = storage[source, :, :length]

    def _resized(self, old: Tensor) -> Tensor:
        """Return a layer's storage at the current sizes, with the old contents; in place where it fits."""
        shape = (self.num_slots, old.shape[1], self.capacity, old.shape[3])
        held = old.untyped_storage()
        if old.shape[2] == self.capacity and math.prod(shape) * old.element_size() <= held.nbytes():
            return _laid_over(held, old, shape)
        self.generation += 1
        fresh = self._allocate(old[0, :, 0])
        fresh[: old.shape[0], :, : old.shape[2]] = old
        self._release(old)
        return fresh

    def _allocate(self, like: Tensor) -> Tensor:
        """Return storage for a layer; `like` is (kv_heads, head_dim).

        Zeros, or what was computed before: what is masked must be finite. On the CPU the operating system gives
        pages as they are touched, so room that is never used costs nothing, and touching a page for the
        first time costs much more than writing to it again.
        """
        shape = (self.num_slots, like.shape[0], self.capacity, like.shape[1])
        if like.device.type != "cpu":
            return torch.zeros(shape, dtype=like.dtype, device=like.device)
        num_bytes = math.prod(shape) * like.element_size()
        fitting = [storage for storage in self._spare if storage.nbytes() >= num_bytes]
        if fitting:
            taken = min(fitting, key=lambda storage: storage.nbytes())
            self._spare = [storage for storage in self._spare if storage is not taken]
        else:
            self._spare.clear()  # all too small from now on
            most = self.max_tokens * like.numel() * like.element_size()
            taken = torch.from_numpy(np.zeros(max(num_bytes, most), np.uint8)).untyped_storage()
        return _laid_over(taken, like, shape)

    def _release(self, old: Tensor) -> None:
        """Keep memory of the CPU for later, as long as it is little."""
        storage = old.untyped_storage()
        if (
            old.device.type == "cpu"
            and storage.nbytes() + sum(s.nbytes() for s in self._spare) <= _KEPT_BYTES
        ):
            self._spare.append(storage)


def _laid_over(memory: torch.UntypedStorage, like: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Return a contiguous tensor of `like`'s type over the first bytes of some memory."""
    _, heads, capacity, dim = shape
    return like.new_empty(0).set_(memory, 0, shape, (heads * capacity * dim, capacity * dim, dim, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Consecutive tokens of one sequence, to be computed."""

    slot: int
    start: int  # position of the first
    ids: np.ndarray  # (T,) int32


class PrefillPattern:
    """New tokens of several sequences in one row; each attends to what its slot holds and to itself."""

    def __init__(self, store: SlotStore, spans: Sequence[Span]) -> None:
        self._store, self._spans = store, spans
        self._masks: Masks | None = None  # the same ones in every layer, and these
        self._ragged: tuple[Tensor, Tensor, Ragged] | None = None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        """See `himac.models.attention.AttentionPattern`."""
        if takes_ragged(query, scores):
            return self._attend_ragged(layer, query, key, value, scores)
        keys, values = self._store.layer(layer, key)
        masks = self._masks = self._masks or Masks(query)
        outputs = []
        first = 0
        for span in self._spans:
            row = slice(first, first + len(span.ids))
            end = span.start + len(span.ids)
            keys[span.slot, :, span.start : end] = key[:, row]
            values[span.slot, :, span.start : end] = value[:, row]
            start, mask, is_causal = over_window(span.start, len(span.ids), scores, masks)
            outputs.append(
                attend(
                    query[None, :, row], keys[None, span.slot, :, start:end], values[None, span.slot, :, start:end],
                    scores, mask=mask, is_causal=is_causal,
                )[0]
            )  # fmt: skip
            first = row.stop
        return torch.cat(outputs, dim=1).transpose(0, 1)

    def _attend_ragged(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        """The same in one call: write all new keys and values, then read what each span sees."""
        written, read, ragged = self._ragged = self._ragged or self._laid_out(query.device)
        keys, values = self._store.put(layer, written[0], written[1], key, value)
        return ragged.attend(
            query.transpose(0, 1), keys[read[0], :, read[1]], values[read[0], :, read[1]], scores
        )

    def _laid_out(self, device: torch.device) -> tuple[Tensor, Tensor, Ragged]:
        """Return (slot, position) of the new tokens, (2, T), and of all that are seen, (2, S), and how many each span has."""
        places = []
        for since in (lambda span: span.start, lambda span: 0):
            ranges = [(span.slot, since(span), span.start + len(span.ids)) for span in self._spans]
            slots = np.concatenate([np.full(end - start, slot) for slot, start, end in ranges])
            positions = np.concatenate([np.arange(start, end) for _, start, end in ranges])
            places.append(torch.as_tensor(np.stack([slots, positions]), device=device))
        ragged = Ragged(
            [len(span.ids) for span in self._spans],
            [span.start + len(span.ids) for span in self._spans],
            device,
        )
        return places[0], places[1], ragged


class DecodePattern:
    """One new token for each of the sequences in slots 0 .. n-1.

    Args:
        store: holds the slots.
        lengths: (n,) tokens in each slot, the new one not counted.
        device: where positions and masks go.
    """

    def __init__(self, store: SlotStore, lengths: np.ndarray, device: torch.device) -> None:
        self._store, self._lengths = store, lengths
        self.positions = torch.as_tensor(lengths, device=device)
        self._slots = torch.arange(len(lengths), device=device)
        padding = (
            _PADDING if device.type == "cpu" else math.inf
        )  # elsewhere a call costs more than what it saves
        self._runs = list(runs(lengths + 1, padding))
        self._masks: dict[
            tuple[int, int], tuple[int, Tensor | None]
        ] = {}  # (run, window): the same in every layer

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        """See `himac.models.attention.AttentionPattern`. The query heads of a group read their keys together."""
        keys, values = self._store.put(layer, self._slots, self.positions, key, value)
        heads, num, dim = query.shape
        queries = one_by_sequence(query, key.shape[0], scores)
        attended = []
        for number, (rows, length) in enumerate(self._runs):
            start, mask = self._mask(number, scores.window, query)
            if mask is not None:
                mask = mask.expand(-1, -1, queries.shape[2], -1)
            attended.append(
                attend(
                    queries[rows],
                    keys[rows, :, start:length],
                    values[rows, :, start:length],
                    scores,
                    mask=mask,
                )
            )
        return torch.cat(attended).reshape(num, heads, dim)

    def _mask(self, number: int, window: int, like: Tensor) -> tuple[int, Tensor | None]:
        """Return (first key that any row of a run sees, mask (rows, 1, 1, S) to add; None where all see the same)."""
        if (number, window) not in self._masks:
            rows, length = self._runs[number]
            ends = self._lengths[rows] + 1
            starts = np.maximum(ends - window, 0) if window else np.zeros_like(ends)
            first, mask = int(starts.min()), None
            if (ends != length).any() or (starts != first).any():
                position = torch.arange(first, length, device=like.device)
                low, high = (torch.as_tensor(x, device=like.device)[:, None] for x in (starts, ends))
                hidden = (position < low) | (position >= high)
                mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
                mask = mask.masked_fill_(hidden, float("-inf"))[:, None, None]
            self._masks[number, window] = (first, mask)
        return self._masks[number, window]


def one_by_sequence(query: Tensor, kv_heads: int, scores: Scores) -> Tensor:
    """Lay one query a sequence, (heads, n, head_dim), out as (n, heads, 1, head_dim).

    Where scores are plain the heads that share a key become the queries of one: (n, kv_heads, heads / kv_heads, head_dim).
    """
    heads, num, dim = query.shape
    shape = (num, kv_heads, -1, dim) if scores.is_plain else (num, heads, 1, dim)
    return query.transpose(0, 1).reshape(shape)


def runs(lengths: np.ndarray, padding: float) -> Iterator[tuple[slice, int]]:
    """Cut neighbouring rows into runs that are computed together; yield (rows, longest of them).

    A run is as long as its longest row, so a row joins the one before it only while the tokens that this pads are
    fewer than what a call of its own costs.

    >>> list(runs(np.array([10, 12, 900, 11]), 64))
    [(slice(0, 2, None), 12), (slice(2, 3, None), 900), (slice(3, 4, None), 11)]
    """
    first, longest = 0, int(lengths[0])
    for row, length in enumerate(lengths[1:].tolist(), start=1):
        together = max(longest, length)
        if (row - first + 1) * together - (row - first) * longest - length > padding:
            yield slice(first, row), longest
            first, together = row, length
        longest = together
    yield slice(first, len(lengths)), longest
