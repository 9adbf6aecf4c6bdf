"""What a model says about tokens: their log-probabilities, each prefix computed once.

The packed row of `himac.models.packing` goes through the model once, and logits are made only
where a masked token is predicted. The equation is log p(ids[t] | ids[:t]) at a temperature, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from himac.models.attention import TreePattern, why_padded
from himac.models.head import CHUNK_ELEMENTS, head_of, reading_head
from himac.models.packing import PackedBatch
from himac.models.padded import padded_states
from himac.models.reading import read
from himac.models.vision import Look, Vision
from himac.types import LanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogps:
    """Log-probabilities of the masked tokens: sequence after sequence of the batch, positions ascending."""

    logps: Tensor  # (N,) float32, with gradient
    entropies: (
        Tensor  # (N,) float32 nats, of the distribution each token was drawn from; no gradient by default
    )
    states: Tensor | None = None  # (M, hidden) what the head of the model read at the places asked for


def token_logps(
    model: LanguageModel,
    batch: PackedBatch,
    masks: Sequence[np.ndarray],
    *,
    temperature: float = 1.0,
    entropy_grad: bool = False,
    states_at: Sequence[np.ndarray] | None = None,
    vision: Vision | None = None,
) -> TokenLogps:
    """Return log p(ids[t] | ids[:t]) for every masked token of the batch, and hidden states where asked for.

    Args:
        model: a causal language model of transformers; gradients follow torch's grad mode.
        batch: from `pack`.
        masks: per sequence given to `pack`, (T_s,) bool; position 0 cannot be asked for.
        temperature: divides the logits.
        entropy_grad: let gradients flow through the entropies too.
        states_at: per sequence given to `pack`, (T_s,) bool: after which tokens the last hidden state is wanted,
            in the order of the log-probabilities; None for nowhere.
        vision: knows the pictures in the sequences; None where there are none.
    """
    is_padded = bool(why_padded(model))
    device = next(model.parameters()).device
    before, target = _asked(batch, masks)
    wanted = np.zeros(0, np.int64) if states_at is None else _places(batch, states_at)
    kept, row = np.unique(np.concatenate([before, wanted]), return_inverse=True)
    row, row_of_state = row[: len(before)], row[len(before) :]
    kept_K = torch.as_tensor(kept, device=device)
    many = len(kept) * model.config.get_text_config().vocab_size > CHUNK_ELEMENTS
    head = head_of(model) if many else None
    if is_padded:
        states_KH, logits_KV = padded_states(model, batch, kept, cut=head is not None)
    else:
        ids_T = torch.as_tensor(batch.ids, device=device)
        positions, look = _seen(batch, vision)
        with reading_head(model, cut=head is not None) as heard:
            logits_KV = read(
                model, ids_T, torch.as_tensor(positions, device=device), TreePattern(batch), keep_K=kept_K, look=look,
            )  # fmt: skip
        states_KH = heard[0][0]
    if head is None:
        found = _read(logits_KV, row, target, temperature=temperature, entropy_grad=entropy_grad)
    else:
        found = head.logps(states_KH, row, target, temperature=temperature, entropy_grad=entropy_grad)
    logps_N, entropy_K = found
    return TokenLogps(
        logps=logps_N,
        entropies=entropy_K[torch.as_tensor(row, device=device)],
        states=None if states_at is None else states_KH[torch.as_tensor(row_of_state, device=device)],
    )


def _seen(batch: PackedBatch, vision: Vision | None) -> tuple[np.ndarray, Look | None]:
    """Return where the row's tokens stand, (T,) or (3, T), and its pictures."""
    if vision is None:
        return batch.positions, None
    positions = np.zeros((3, batch.num_tokens), np.int64)
    picture, offset = np.full(batch.num_tokens, -1), np.zeros(batch.num_tokens, np.int64)
    for indices in batch.index:
        sight = vision.sight(batch.ids[indices])
        positions[:, indices], picture[indices], offset[indices] = (
            sight.positions,
            sight.picture,
            sight.offset,
        )
    return positions, Look(vision, picture, offset)


def _read(
    logits_KV: Tensor, row_N: np.ndarray, target_N: np.ndarray, *, temperature: float, entropy_grad: bool
) -> tuple[Tensor, Tensor]:
    """Return (log-probability of target n in row[n] (N,), entropies (K,)) of softmax(logits / temperature)."""
    scaled_KV = logits_KV.float() / temperature
    normaliser_K = scaled_KV.logsumexp(-1)
    with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
        entropy_K = normaliser_K - (scaled_KV.softmax(-1) * scaled_KV).sum(-1)
    row, target = (torch.as_tensor(array, device=logits_KV.device) for array in (row_N, target_N))
    return scaled_KV[row, target] - normaliser_K[row], entropy_K


def _places(batch: PackedBatch, marks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the packed index of every marked token, (M,)."""
    return np.concatenate([indices[marks[i]] for i, indices in zip(batch.sequences, batch.index)])


def _asked(batch: PackedBatch, masks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return (packed index of the token before, target id) of every masked token, each (N,)."""
    before, target = [], []
    for i, indices in zip(batch.sequences, batch.index):
        at = np.flatnonzero(masks[i])
        if len(at) and at[0] == 0:
            raise ValueError(f"sequence {i} asks for its first token, which nothing predicts")
        before.append(indices[at - 1])
        target.append(batch.ids[indices[at]])
    return np.concatenate(before), np.concatenate(target)
