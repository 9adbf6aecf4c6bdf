"""The plain path, for models that no packed row can be made of: one padded row a sequence, every prefix each time.

Linear attention, state spaces, convolutions, attention in chunks, biases by position: whatever transformers computes
row by row. Slower, because what sequences share is computed for each, and otherwise the same: the same packs and results.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from himac.models.head import reading_head
from himac.models.packing import PackedBatch
from himac.types import LanguageModel

_ROW_TOKENS = 8192  # of the rows of one forward, padding included


def padded_states(
    model: LanguageModel, batch: PackedBatch, kept: np.ndarray, *, cut: bool
) -> tuple[Tensor, Tensor]:
    """Return (what the output head reads (K, hidden), its logits (K, V)) after the tokens at some packed indices.

    Args:
        model: a causal language model of transformers.
        batch: its sequences are laid out one a row, padded on the right, where nothing before can see it.
        kept: (K,) packed indices; of a shared prefix, those of one of its sequences are taken.
        cut: keep the head from computing anything; the logits are then empty, (0, V).
    """
    device = next(model.parameters()).device
    row_of = np.zeros((batch.num_tokens, 2), np.int64)
    for number, indices in enumerate(batch.index):
        row_of[indices] = np.stack([np.full(len(indices), number), np.arange(len(indices))], axis=1)
    wanted = row_of[kept]
    order = sorted(range(len(batch.index)), key=lambda number: len(batch.index[number]))
    states: dict[int, Tensor] = {}
    logits: dict[int, Tensor] = {}
    empty: Tensor | None = None
    while order:
        longest = len(batch.index[order[-1]])
        count = max(1, min(len(order), _ROW_TOKENS // longest))
        rows, order = order[-count:], order[:-count]
        ids = np.zeros((count, longest), np.int64)
        mask = np.zeros((count, longest), np.int64)
        for row, number in enumerate(rows):
            ids[row, : len(batch.index[number])] = batch.ids[batch.index[number]]
            mask[row, : len(batch.index[number])] = 1
        with reading_head(model, cut=cut) as read:
            out = model(
                input_ids=torch.as_tensor(ids, device=device),
                attention_mask=torch.as_tensor(mask, device=device),
                use_cache=False,
            ).logits
        empty = out[:0, 0] if out.shape[1] else out.new_zeros(0, out.shape[-1])
        for row, number in enumerate(rows):
            at = np.flatnonzero(wanted[:, 0] == number)
            place = torch.as_tensor(wanted[at, 1], device=device)
            states |= dict(zip(at.tolist(), read[0][row, place]))
            if not cut:
                logits |= dict(zip(at.tolist(), out[row, place]))
    numbers = range(len(kept))
    assert empty is not None
    return (
        torch.stack([states[n] for n in numbers]) if len(kept) else read[0][:0, 0],
        torch.stack([logits[n] for n in numbers]) if len(kept) and not cut else empty,
    )
