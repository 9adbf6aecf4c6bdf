"""One attention for packed tokens, for any model family.

Transformers lets a model's attention be looked up by name, and hands keyword arguments of
`model.forward` on to it. So the tokens of many sequences lie in one row `(1, T)` without padding, and a
*pattern*, passed as `pattern=`, says which of them see which: `TreePattern` here for training, the engine's plans
for rollouts. Without a pattern the same name behaves as transformers' own "sdpa".

Sliding windows, soft-capped scores and sinks go through the same patterns (`himac.models.kernel`). Left out: whatever
is not causal softmax attention over the tokens before (chunks, biases by position, recurrent layers);
`use_packed_attention` refuses such models by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from himac.errors import ModelError
from himac.models.kernel import Masks, Scores, attend, over_window
from himac.models.modes import evaluating
from himac.models.packing import PackedBatch, pack
from himac.models.ragged import Ragged, takes_ragged
from himac.types import LanguageModel

NAME = "himac"
_BLOCK = 128  # queries at a time after a prefix
_PROBED = (np.array([3, 1, 4, 1, 5]), np.array([3, 1, 4, 2]))
_LAYERS = {"full_attention", "sliding_attention"}


class AttentionPattern(Protocol):
    """Which tokens of a packed row see which."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        """Return the attention output, (T, heads, head_dim).

        Args:
            layer: index of the attention layer.
            query: (heads, T, head_dim).
            key: (kv_heads, T, head_dim) of the row's own tokens, positions already applied.
            value: (kv_heads, T, head_dim).
            scores: how the layer makes its scores.
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
    scores = Scores(
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=kwargs.get("sliding_window") or 0,
        cap=kwargs.get("softcap") or 0.0,
        sinks=kwargs.get("s_aux"),
    )
    if pattern is not None:
        if kwargs.get("position_bias") is not None:
            raise ModelError("attention with position_bias is not supported by packed attention")
        return pattern.attend(module.layer_idx, query[0], key[0], value[0], scores)[None], None  # type: ignore[arg-type]
    if scores.is_plain:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    mask = attention_mask
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=query.device).masked_fill_(
            ~mask, float("-inf")
        )
    out = attend(query, key, value, scores, mask=mask, is_causal=mask is None and query.shape[2] > 1)
    return out.transpose(1, 2), None


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
        plain = [_plainly(model, ids) for ids in _PROBED]
        model.set_attn_implementation(NAME)
        reason = _probe(model, plain)
        if reason is not None:
            model.set_attn_implementation(before)
    if reason is not None:
        raise ModelError(
            f"model type {config.model_type!r} cannot be packed: {reason}",
            hint="it takes the plain path: padded rows, nothing shared",
        )


def why_padded(model: LanguageModel) -> str:
    """Return why no packed row can be made of a model, which then takes the plain path; "" where one can."""
    if model.config.get_text_config()._attn_implementation == NAME:
        return ""
    if "_himac_padded" not in model.__dict__:
        try:
            use_packed_attention(model)
        except ModelError as error:
            model.__dict__["_himac_padded"] = str(error)
    return str(model.__dict__.get("_himac_padded", ""))


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
        self._masks: Masks | None = None  # all layers share them, and these
        self._ragged: tuple[Tensor, Ragged] | None = None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scores: Scores) -> Tensor:
        """See `AttentionPattern.attend`."""
        if takes_ragged(query, scores):
            index_S, ragged = self._ragged = self._ragged or self._laid_out(query.device)
            key_S, value_S = (x.transpose(0, 1).index_select(0, index_S) for x in (key, value))
            return ragged.attend(query.transpose(0, 1), key_S, value_S, scores)
        keys, values = torch.split(key, self._sizes, dim=1), torch.split(value, self._sizes, dim=1)
        queries = torch.split(query, [piece.length for piece in self.pieces], dim=1)
        masks = self._masks = self._masks or Masks(query)
        outputs = []
        for piece, query_T in zip(self.pieces, queries):
            spans = (*piece.ancestors, (piece.start, piece.start + piece.length))
            chunks = [n for start, end in spans for n in range(self._chunk[start], self._chunk[end])]
            key_S = torch.cat([keys[n] for n in chunks], dim=1)
            value_S = torch.cat([values[n] for n in chunks], dim=1)
            past = key_S.shape[1] - piece.length
            # a piece after a prefix goes in blocks, each over the keys that it can see, and so does one that is longer
            # than a window; else the kernel itself leaves out what lies above the diagonal
            block = _BLOCK if past or 0 < scores.window < piece.length else piece.length
            for first in range(0, piece.length, block):
                query_B = query_T[:, first : first + block]
                length = query_B.shape[1]
                seen = past + first + length
                start, mask, is_causal = over_window(past + first, length, scores, masks)
                outputs.append(
                    attend(
                        query_B[None], key_S[None, :, start:seen], value_S[None, :, start:seen], scores,
                        mask=mask, is_causal=is_causal,
                    )[0]
                )  # fmt: skip
        return torch.cat(outputs, dim=1).transpose(0, 1)

    def _laid_out(self, device: torch.device) -> tuple[Tensor, Ragged]:
        """Return where in the row each piece's keys are, (S,) int64, and how many there are of each."""
        seen = [[*piece.ancestors, (piece.start, piece.start + piece.length)] for piece in self.pieces]
        index = np.concatenate([np.arange(start, end) for spans in seen for start, end in spans])
        ragged = Ragged(
            [piece.length for piece in self.pieces],
            [sum(end - start for start, end in spans) for spans in seen],
            device,
        )
        return torch.as_tensor(index, device=device), ragged


def _unsupported(config: Any) -> str | None:
    """Say what about the model's attention no pattern can do, or None."""
    types = set(getattr(config, "layer_types", None) or ()) - _LAYERS
    return f"it has layers of type {', '.join(sorted(types))}" if types else None


def _plainly(model: LanguageModel, ids: np.ndarray) -> Tensor:
    """Return what the model says of a sequence by its own attention, (T, V)."""
    with evaluating(model), torch.no_grad():
        device = next(model.parameters()).device
        logits: Tensor = model(input_ids=torch.as_tensor(ids, device=device)[None], use_cache=False).logits[0]
        return logits


def _probe(model: LanguageModel, plain: Sequence[Tensor]) -> str | None:
    """Run the sequences packed and compare; say what differs, or None."""
    (batch,) = pack(_PROBED, max_tokens=16)
    device = next(model.parameters()).device
    try:
        with evaluating(model), torch.no_grad():
            packed = model(**packed_inputs(batch, device)).logits[0]
    except (TypeError, ValueError, RuntimeError) as error:
        return f"its forward does not take packed tokens ({type(error).__name__}: {error})"
    for logits, indices in zip(plain, batch.index):
        gap = (logits.float() - packed[torch.as_tensor(indices, device=device)].float()).abs().mean()
        if not gap <= 0.05 * logits.float().std():
            return "its attention does not go through transformers' attention interface"
    return None
