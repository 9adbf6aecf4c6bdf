"""What a model says about tokens: their log-probabilities, each prefix computed once.

The packed row of `himac.models.packing` goes through the model once, and logits are made only
where a masked token is predicted. The equation is log p(ids[t] | ids[:t]) at a temperature, in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from himac.models.attention import packed_inputs, use_packed_attention
from himac.models.packing import PackedBatch
from himac.types import LanguageModel

_CHUNK_ELEMENTS = 2**25  # logits turned to float32 at a time (128 MiB)


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
    """
    use_packed_attention(model)
    device = next(model.parameters()).device
    before, target = _asked(batch, masks)
    wanted = np.zeros(0, np.int64) if states_at is None else _places(batch, states_at)
    kept, row = np.unique(np.concatenate([before, wanted]), return_inverse=True)
    row, row_of_state = row[: len(before)], row[len(before) :]
    kept_K = torch.as_tensor(kept, device=device)
    with _reading_head(model, wanted=states_at is not None) as read:
        logits_KV = model(**packed_inputs(batch, device), logits_to_keep=kept_K).logits[0]
    states = read[0][0][torch.as_tensor(row_of_state, device=device)] if read else None
    normaliser_K, entropy_K = _normalise(logits_KV, temperature, entropy_grad=entropy_grad)
    row_N = torch.as_tensor(row, device=device)
    chosen_N = logits_KV[row_N, torch.as_tensor(target, device=device)].float() / temperature
    return TokenLogps(logps=chosen_N - normaliser_K[row_N], entropies=entropy_K[row_N], states=states)


@contextmanager
def _reading_head(model: LanguageModel, *, wanted: bool) -> Iterator[list[Tensor]]:
    """Yield a list into which the next forward puts what the output head reads, (1, K, hidden)."""
    read: list[Tensor] = []
    if not wanted:
        yield read
        return
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    try:
        yield read
    finally:
        hook.remove()


def _normalise(logits_KV: Tensor, temperature: float, *, entropy_grad: bool) -> tuple[Tensor, Tensor]:
    """Return (log of the sum of exponentials (K,), entropies (K,)) of softmax(logits / temperature).

    A large vocabulary is taken some rows at a time and again in the backward pass, so that beside the logits
    themselves only one chunk exists in float32.
    """

    def rows(logits_CV: Tensor) -> tuple[Tensor, Tensor]:
        scaled_CV = logits_CV.float() / temperature
        normaliser_C = scaled_CV.logsumexp(-1)
        with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
            entropy_C = normaliser_C - (scaled_CV.softmax(-1) * scaled_CV).sum(-1)
        return normaliser_C, entropy_C

    num_rows = max(_CHUNK_ELEMENTS // logits_KV.shape[-1], 1)
    if len(logits_KV) <= num_rows:
        return rows(logits_KV)
    parts = [checkpoint(rows, chunk, use_reentrant=False) for chunk in torch.split(logits_KV, num_rows)]
    normalisers, entropies = zip(*parts)
    return torch.cat(normalisers), torch.cat(entropies)


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
