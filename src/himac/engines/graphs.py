"""Decode steps of fixed shapes, recorded once as CUDA graphs and replayed: one launch a step instead of thousands.

A step of a small model takes a GPU less time than a processor needs to ask for it. So rows and keys are rounded up to
few sizes, everything a step reads lies in buffers that stay, and a size that comes back is recorded. Rows that fill up a
batch write to the last position of their slot, which no sequence ever uses.

Left out: prompts, whose lengths hardly repeat, and models whose forward looks at its results (they run step by step).
"""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from himac.engines.kv import SlotStore, one_by_sequence
from himac.errors import ModelError
from himac.models.kernel import Scores, attend
from himac.models.reading import read
from himac.types import LanguageModel

GRAIN = 256  # keys are rounded up to multiples of this
_RECORD_AT = 3  # uses of a size before it is recorded: recording costs about two steps


class FixedDecode:
    """The decode step of an engine, in few shapes.

    Args:
        model: generates; its attention is routed through `himac.models.attention`.
        store: holds keys and values; its capacity is a multiple of `GRAIN`, and no sequence fills a slot.
        max_batch: most rows of a step.
    """

    def __init__(self, model: LanguageModel, store: SlotStore, max_batch: int) -> None:
        self._model, self._store = model, store
        self._max_batch = rows_of(max_batch)
        self._graphs: dict[tuple[int, int], Any] = {}
        self._uses: Counter[tuple[int, int]] = Counter()
        self._generation = -1  # of the storage that graphs point into
        self._inputs: Tensor | None = (
            None  # (4, most rows) int64: last tokens, tokens before them, their positions, their places in slots
        )
        self._logits: Tensor | None = None  # (most rows, V), of the last step
        self._pool: Any = None
        self.why_not = ""  # graphs are not recorded

    def step(self, last: list[int], lengths: np.ndarray, positions: np.ndarray) -> Tensor:
        """Return logits, (n, V) float32, that follow one more token of each sequence in slots 0 .. n-1.

        Args:
            last: (n,) the tokens.
            lengths: (n,) tokens in each slot, the new ones not counted.
            positions: (n,) of the new ones; with pictures before them they are not their numbers.
        """
        num, capacity = len(last), self._store.capacity
        rows = min(rows_of(num), self._store.num_slots)
        keys = min(-(-(int(lengths.max()) + 1) // GRAIN) * GRAIN, capacity)
        device = next(self._model.parameters()).device
        if self._inputs is None:
            self._inputs = torch.zeros(4, self._max_batch, dtype=torch.int64, device=device)
        fresh = np.zeros((4, rows), np.int64)
        fresh[:, :num] = last, lengths, positions, lengths
        fresh[3, num:] = capacity - 1
        self._inputs[:, :rows].copy_(torch.from_numpy(fresh))
        self._run(rows, keys, device)
        assert self._logits is not None
        return self._logits[:num].float()

    def clear(self) -> None:
        """Forget what was recorded, and give its memory back."""
        self._forget()
        self._inputs = self._logits = None

    def _forget(self) -> None:
        """Drop what was recorded, and its memory with it: a pool that no graph uses cannot be recorded into again."""
        self._graphs.clear()
        self._uses.clear()
        self._pool = None

    def _run(self, rows: int, keys: int, device: torch.device) -> None:
        if self._generation != self._store.generation:
            self._forget()
            self._generation = self._store.generation
        size = (rows, keys)
        self._uses[size] += 1
        if size not in self._graphs and self._uses[size] >= _RECORD_AT and not self.why_not:
            self._record(size, device)
        graph = self._graphs.get(size)
        if graph is None:
            self._forward(*size)
        else:
            graph.replay()

    def _forward(self, rows: int, keys: int) -> None:
        assert self._inputs is not None
        ids, lengths, positions, places = (row[:rows] for row in self._inputs)
        logits = read(self._model, ids, positions, FixedPattern(self._store, lengths, places, keys))
        if self._logits is None:
            self._logits = logits.new_empty(self._max_batch, logits.shape[-1])
        self._logits[:rows] = logits

    def _record(self, size: tuple[int, int], device: torch.device) -> None:
        """Record one size; a model that cannot be recorded goes on step by step, and `why_not` says why."""
        if device.type != "cuda":
            self.why_not = "no CUDA device"
            return
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
        torch.cuda.synchronize(device)
        collecting = gc.isenabled()
        gc.disable()  # freeing another graph while one is recorded is an error
        try:
            with torch.cuda.stream(stream):
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    self._forward(*size)
                finally:
                    graph.capture_end()
        except (RuntimeError, ModelError) as error:
            self.why_not = str(error).splitlines()[0]
        else:
            self._graphs[size] = graph
        finally:
            if collecting:
                gc.enable()
        torch.cuda.synchronize(device)


class FixedPattern:
    """As `himac.engines.kv.DecodePattern`, of a fixed number of keys and with nothing that the host must know.

    Args:
        store: holds the slots.
        lengths: (B,) int64, tokens in each slot, the new one not counted; read when the step runs.
        places: (B,) int64, where in its slot each new token's key and value are written.
        keys: positions of a slot that are looked at.
    """

    def __init__(self, store: SlotStore, lengths: Tensor, places: Tensor, keys: int) -> None:
        self._store, self._lengths, self._places, self._keys = store, lengths, places, keys
        self._slots = torch.arange(len(lengths), device=lengths.device)
        self._masks: dict[int, Tensor] = {}  # by window: the same in every layer

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        """See `himac.models.attention.AttentionPattern`."""
        keys, values = self._store.put(layer, self._slots, self._places, key, value)
        heads, num, dim = query.shape
        queries = one_by_sequence(query, key.shape[0], scores)
        mask = self._mask(scores.window, query).expand(-1, -1, queries.shape[2], -1)
        seen = (slice(num), slice(None), slice(self._keys))
        attended = attend(queries, keys[seen], values[seen], scores, mask=mask, comes_back=True)
        return attended.reshape(num, heads, dim)

    def _mask(self, window: int, like: Tensor) -> Tensor:
        """Return what to add to scores, (B, 1, 1, keys): -inf where a key is not seen."""
        if window not in self._masks:
            position = torch.arange(self._keys, device=like.device)
            hidden = position > self._lengths[:, None]
            if window:
                hidden |= position <= self._lengths[:, None] - window
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            self._masks[window] = mask.masked_fill_(hidden, float("-inf"))[:, None, None]
        return self._masks[window]


def rows_of(num: int) -> int:
    """Round a number of rows up to one of few.

    >>> [rows_of(n) for n in (1, 3, 9, 40, 65, 200, 257)]
    [1, 4, 16, 48, 96, 224, 320]
    """
    if num <= 8:
        return int(1 << (num - 1).bit_length())
    grain = 16 if num <= 64 else 32 if num <= 256 else 64
    return -(-num // grain) * grain
