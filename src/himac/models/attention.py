"""One attention for packed tokens, for any model family.

Transformers lets a model's attention be looked up by name, and hands keyword arguments of
`model.forward` on to it. So the tokens of many sequences lie in one row `(1, T)` without padding, and a
*pattern*, passed as `pattern=`, says which of them see which: `TreePattern` here for training, the engine's plans
for rollouts. Without a pattern the same name behaves as transformers' own "sdpa".

Left out: whatever is not plain causal softmax attention (sliding windows, soft-capped or sink logits,
recurrent layers); `use_packed_attention` refuses such models by name.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from himac.errors import ModelError
from himac.models.packing import PackedBatch, pack
from himac.types import LanguageModel

NAME = "himac"
_BLOCK = 128  # queries at a time after a prefix
_NOT_PLAIN = ("sliding_window", "softcap", "s_aux", "position_bias")


class AttentionPattern(Protocol):
    """Which tokens of a packed row see which."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        """Return the attention output, (T, heads, head_dim).

        Args:
            layer: index of the attention layer.
            query: (heads, T, head_dim).
            key: (kv_heads, T, head_dim) of the row's own tokens, positions already applied.
            value: (kv_heads, T, head_dim).
            scale: multiplies the logits.
        """
        ...


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    pattern: AttentionPattern | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as the pattern says; as transformers' "sdpa" when there is none (its signature is fixed there)."""
    if pattern is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    for name in _NOT_PLAIN:
        if kwargs.get(name) is not None:
            raise ModelError(f"attention with {name} is not supported by packed attention")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return pattern.attend(module.layer_idx, query[0], key[0], value[0], scale=scale)[None], None  # type: ignore[arg-type]


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def use_packed_attention(model: LanguageModel) -> None:
    """Route the model's attention through this module; calls without a pattern go on as before.

    The first time, a handful of tokens is run both ways and compared, so that a family that only seems to
    take part is refused here and not found out by its results.

    Raises:
        ModelError: the model's attention is not plain causal softmax attention that can be routed by name.
    """
    config = model.config.get_text_config()
    if config._attn_implementation == NAME:
        return
    before = config._attn_implementation
    reason = _unsupported(config)
    if reason is None:
        model.set_attn_implementation(NAME)
        reason = _probe(model)
        if reason is not None:
            model.set_attn_implementation(before)
    if reason is not None:
        raise ModelError(
            f"model type {config.model_type!r} is not supported: {reason}",
            hint="use a family with plain causal attention (Qwen2, Qwen2.5, Qwen3, Llama, Mistral, GPT-2, ...)",
        )


def no_mask(device: torch.device) -> Tensor:
    """Return a 4-D mask that keeps transformers from building one of its own; plans do not read it."""
    return torch.zeros(1, 1, 1, 1, device=device)


def packed_inputs(batch: PackedBatch, device: torch.device) -> dict[str, Any]:
    """Return the keyword arguments of `model.forward` for a packed batch."""
    return {
        "input_ids": torch.as_tensor(batch.ids, device=device)[None],
        "position_ids": torch.as_tensor(batch.positions, device=device)[None],
        "attention_mask": no_mask(device),
        "use_cache": False,
        "pattern": TreePattern(batch),
    }


class TreePattern:
    """Prefix-tree attention over a `PackedBatch`, differentiable.

    Each piece's queries see their ancestors' keys and, causally, their own; nothing of size T x T exists.
    """

    def __init__(self, batch: PackedBatch) -> None:
        self.pieces = batch.pieces
        cuts = {0, batch.num_tokens}
        for piece in batch.pieces:
            cuts.add(piece.start)
            cuts.update(edge for span in piece.ancestors for edge in span)
        edges = sorted(cuts)
        self._sizes: list[int] = np.diff(edges).tolist()
        self._chunk = {start: number for number, start in enumerate(edges)}
        self._masks: dict[tuple[int, int, torch.dtype], Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        """See `AttentionPattern.attend`."""
        keys, values = torch.split(key, self._sizes, dim=1), torch.split(value, self._sizes, dim=1)
        queries = torch.split(query, [piece.length for piece in self.pieces], dim=1)
        grouped = query.shape[0] != key.shape[0]
        outputs = []
        for piece, query_T in zip(self.pieces, queries):
            spans = (*piece.ancestors, (piece.start, piece.start + piece.length))
            chunks = [n for start, end in spans for n in range(self._chunk[start], self._chunk[end])]
            key_S = torch.cat([keys[n] for n in chunks], dim=1)
            value_S = torch.cat([values[n] for n in chunks], dim=1)
            past = key_S.shape[1] - piece.length
            # a piece after a prefix goes in blocks, each over the keys that it can see; without one, the
            # kernel itself leaves out what lies above the diagonal
            block = _BLOCK if past else piece.length
            for first in range(0, piece.length, block):
                query_B = query_T[:, first : first + block]
                length = query_B.shape[1]
                seen = past + first + length
                mask = self._causal(length, seen - length, query) if past and length > 1 else None
                outputs.append(
                    scaled_dot_product_attention(
                        query_B[None], key_S[None, :, :seen], value_S[None, :, :seen], attn_mask=mask,
                        is_causal=not past and length > 1, scale=scale, enable_gqa=grouped,
                    )[0]
                )  # fmt: skip
        return torch.cat(outputs, dim=1).transpose(0, 1)

    def _causal(self, length: int, past: int, like: Tensor) -> Tensor:
        """Return the (length, past + length) mask to add: 0 where a query may look, -inf elsewhere."""
        name = (length, past, like.dtype)
        if name not in self._masks:
            hidden = torch.full((length, past + length), float("-inf"), dtype=like.dtype, device=like.device)
            self._masks[name] = hidden.triu_(past + 1)
        return self._masks[name]


def _unsupported(config: Any) -> str | None:
    """Say what about the model's attention is not plain, or None."""
    types = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if types:
        return f"it has layers of type {', '.join(sorted(types))}"
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True):
        return f"its attention has a sliding window of {window} tokens"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "its attention logits are soft-capped"
    return None


def _probe(model: LanguageModel) -> str | None:
    """Run two short sequences packed and plain; say what differs, or None."""
    sequences = [np.array([3, 1, 4, 1, 5]), np.array([3, 1, 4, 2])]
    (batch,) = pack(sequences, max_tokens=16)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            plain = [model(input_ids=torch.as_tensor(ids, device=device)[None], use_cache=False).logits[0]
                     for ids in sequences]  # fmt: skip
            packed = model(**packed_inputs(batch, device)).logits[0]
    except (TypeError, ValueError, RuntimeError) as error:
        return f"its forward does not take packed tokens ({type(error).__name__}: {error})"
    finally:
        model.train(training)
    for ids, indices in zip(plain, batch.index):
        gap = (ids.float() - packed[torch.as_tensor(indices, device=device)].float()).abs().mean()
        if not gap <= 0.05 * ids.float().std():
            return "its attention does not go through transformers' attention interface"
    return None
