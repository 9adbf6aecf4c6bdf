"""Many stretches of queries, each over keys of its own, in one call of a kernel.

A packed row's attention is a loop over pieces on a processor, where a call costs little. On a GPU each call is launches
that take longer than what they compute, so there the keys of all pieces are laid out once, and torch's variable-length
flash attention does the rest: a dozen launches a layer, however many pieces.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from himac.models.kernel import Masks, Scores, attend, over_window

_MOST_DIM = 256  # head dimension that flash attention takes


def takes_ragged(query: Tensor, scores: Scores) -> bool:
    """Say whether stretches go through one call: on CUDA, in half precision, with plain scores."""
    return (
        query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and scores.is_plain
        and query.shape[-1] <= _MOST_DIM
        and _varlen() is not None
    )


class Ragged:
    """Stretches of a packed row: how many queries each has, and over how many keys, of which its own are the last.

    Args:
        queries: per stretch, its number of queries.
        keys: per stretch, its number of keys; at least as many.
        device: where the kernel's arguments go.
    """

    def __init__(self, queries: Sequence[int], keys: Sequence[int], device: torch.device) -> None:
        self._queries, self._keys = list(queries), list(keys)
        self._ends_q, self._ends_k = (
            torch.as_tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=torch.int32, device=device)
            for lengths in (self._queries, self._keys)
        )

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        """Return (T, heads, head_dim), differentiable.

        Args:
            query: (T, heads, head_dim), stretch after stretch.
            key: (S, kv_heads, head_dim), stretch after stretch.
            value: (S, kv_heads, head_dim).
            scores: how scores are made; plain ones.
        """
        varlen = _varlen()
        if varlen is None or not query.is_cuda:
            return self._one_by_one(query, key, value, scores)
        attended: Tensor = varlen(
            query, key, value, self._ends_q, self._ends_k, max(self._queries), max(self._keys),
            scale=scores.scale, window_size=(scores.window - 1 if scores.window else -1, 0), **_grouped(),
        )  # fmt: skip
        return attended

    def _one_by_one(self, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        """The same by a loop: what the kernel is tested against, and what a processor does."""
        masks, outputs = Masks(query), []
        for query_T, key_S, value_S in zip(
            query.split(self._queries), key.split(self._keys), value.split(self._keys)
        ):
            count, seen = len(query_T), len(key_S)
            start, mask, is_causal = over_window(seen - count, count, scores, masks)
            query_1, key_1, value_1 = (
                x.transpose(0, 1)[None] for x in (query_T, key_S[start:], value_S[start:])
            )
            attended = attend(query_1, key_1, value_1, scores, mask=mask, is_causal=is_causal)
            outputs.append(attended[0].transpose(0, 1))
        return torch.cat(outputs)


@functools.cache
def _varlen() -> Any:
    """Return torch's variable-length attention; None before it knew windows (torch 2.11)."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if "window_size" in inspect.signature(varlen_attn).parameters else None


@functools.cache
def _grouped() -> dict[str, bool]:
    """Return what says that heads share keys, where it must be said (torch 2.12)."""
    return {"enable_gqa": True} if "enable_gqa" in inspect.signature(_varlen()).parameters else {}
