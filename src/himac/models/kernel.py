"""How a layer turns queries and keys into weights, and the kernel that does it.

Plain softmax attention, also within a window, is torch's `scaled_dot_product_attention`. Soft-capped scores (Gemma 2) and
sinks, an extra score that takes weight and has no value (gpt-oss), it does not know: they are computed step by step, in
the order and the types of transformers' "eager".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

_UNPLANNED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a layer does to its scores: q k scale, capped to c tanh(s / c), within a window, beside a sink."""

    scale: float
    window: int = 0  # tokens that a query sees, itself and those before it; 0: all
    cap: float = 0.0  # 0: none
    sinks: Tensor | None = None  # (heads,)

    @property
    def is_plain(self) -> bool:
        """Whether torch's own kernel computes it."""
        return not self.cap and self.sinks is None


class Masks:
    """Masks to add to the scores, each made once: positions that a query may not see are -inf.

    Args:
        like: says type and device; it is not kept.
    """

    def __init__(self, like: Tensor) -> None:
        self._dtype, self._device = like.dtype, like.device
        self._made: dict[tuple[int, int, int, int], Tensor] = {}

    def between(self, first: int, count: int, start: int, *, window: int) -> Tensor:
        """Return (count, first + count - start): queries at first, first + 1, ... over keys from start on."""
        name = (first, count, start, window)
        if name not in self._made:
            query_T = torch.arange(first, first + count, device=self._device)[:, None]
            key_S = torch.arange(start, first + count, device=self._device)
            hidden_TS = key_S > query_T
            if window:
                hidden_TS |= key_S <= query_T - window
            mask_TS = torch.zeros(hidden_TS.shape, dtype=self._dtype, device=self._device)
            self._made[name] = mask_TS.masked_fill_(hidden_TS, float("-inf"))
        return self._made[name]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scores: Scores,
    *,
    mask: Tensor | None,
    is_causal: bool = False,
    comes_back: bool = False,
) -> Tensor:
    """Return (batch, heads, T, head_dim).

    Args:
        query: (batch, heads, T, head_dim).
        key: (batch, kv_heads, S, head_dim); heads are a multiple of kv_heads.
        value: (batch, kv_heads, S, head_dim).
        scores: how scores are made. Its window is the caller's business, who makes the mask.
        mask: to add, broadcast to (batch, heads, T, S); None: all is seen, or what `is_causal` leaves.
        is_causal: the queries are the last T of the keys' positions, and see what is before them.
        comes_back: these shapes are met again and again.
    """
    grouped = query.shape[1] != key.shape[1]
    if scores.is_plain:
        if grouped and mask is not None and query.is_cuda and len(query) == 1:
            return _by_group(query, key, value, scores, mask)
        return _torchs(
            query, key, value, attn_mask=mask, is_causal=is_causal, scale=scores.scale, enable_gqa=grouped,
            comes_back=comes_back,
        )  # fmt: skip
    if grouped:
        times = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
    if is_causal:
        mask = Masks(query).between(key.shape[2] - query.shape[2], query.shape[2], 0, window=0)
    weights = query @ key.transpose(2, 3) * scores.scale
    if scores.cap:
        weights = torch.tanh(weights / scores.cap) * scores.cap
    if mask is not None:
        weights = weights + mask
    if scores.sinks is not None:
        sinks = scores.sinks.to(weights.dtype)[None, :, None, None].expand(*weights.shape[:3], 1)
        weights = torch.cat([weights, sinks], dim=-1)
    shares = weights.softmax(-1, dtype=torch.float32).to(query.dtype)
    if scores.sinks is not None:
        shares = shares[..., :-1]
    return shares @ value


def _torchs(query: Tensor, key: Tensor, value: Tensor, *, comes_back: bool = False, **how: Any) -> Tensor:
    """Return torch's attention. Where shapes are new each time cuDNN is left out, which plans a tenth of a second for each."""
    if comes_back or not query.is_cuda:
        return scaled_dot_product_attention(query, key, value, **how)
    with sdpa_kernel(_UNPLANNED):
        return scaled_dot_product_attention(query, key, value, **how)


def _by_group(query: Tensor, key: Tensor, value: Tensor, scores: Scores, mask: Tensor) -> Tensor:
    """Grouped queries with a mask, which no fused kernel of CUDA takes: groups as a batch, their keys laid out without a copy.

    Without this torch falls back to a product of its own that writes all scores down.
    """
    groups, times = key.shape[1], query.shape[1] // key.shape[1]
    queries = query[0].unflatten(0, (groups, times))
    keys, values = (x[0][:, None].expand(-1, times, -1, -1) for x in (key, value))
    mask = mask.expand(groups, times, *mask.shape[-2:])
    out = _torchs(queries, keys, values, attn_mask=mask, scale=scores.scale)
    return out.flatten(0, 1)[None]


def over_window(first: int, count: int, scores: Scores, masks: Masks) -> tuple[int, Tensor | None, bool]:
    """Return (first key that is seen at all, mask, is_causal) for queries at `first` on that see what lies before them.

    The kernel itself leaves out what lies above the diagonal where the queries are all there is; a mask it needs where
    they come after something, or see only a window of it.
    """
    end = first + count
    window = scores.window if scores.window < end else 0
    start = max(0, first - window + 1) if window else 0
    if count == 1:
        return start, None, False
    if not first and not window:
        return 0, None, True
    return start, masks.between(first, count, start, window=window), False
