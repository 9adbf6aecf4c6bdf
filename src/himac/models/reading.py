"""One packed row through a model, with or without pictures: the only call of a model's forward that himac packs."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from himac.images import FIRST_ID
from himac.models.attention import AttentionPattern, no_mask
from himac.models.vision import Look, sees, unwrapped
from himac.types import LanguageModel


def read(
    model: LanguageModel,
    ids_T: Tensor,
    positions: Tensor,
    pattern: AttentionPattern,
    *,
    keep_K: Tensor | None = None,
    look: Look | None = None,
) -> Tensor:
    """Return the logits, (K, V), that follow some tokens of a row; gradients follow torch's grad mode.

    Args:
        model: a causal language model of transformers, or one of `himac.models.vision.FAMILIES`.
        ids_T: int64, tokens of the row; from 2**30 on they are pictures'.
        positions: (T,), or (3, T) where the model sees.
        pattern: which tokens see which.
        keep_K: int64, after which tokens; None for all.
        look: what the row's pictures are; None where there are none.
    """
    mask = no_mask(ids_T.device)
    if not sees(model):
        some: dict[str, Any] = {} if keep_K is None else {"logits_to_keep": keep_K}
        logits: Tensor = model(
            input_ids=ids_T[None], position_ids=positions[None], attention_mask=mask, use_cache=False, pattern=pattern, **some
        ).logits[0]  # fmt: skip
        return logits
    base, extra = unwrapped(model), {}
    if look is None or not (look.picture >= 0).any():
        embedded_TH = model.get_input_embeddings()(ids_T)
    else:
        shown_T = ids_T >= FIRST_ID
        embedded_TH = model.get_input_embeddings()(ids_T.masked_fill(shown_T, 0))
        rows_NH, *deep = look.rows(model)
        embedded_TH = embedded_TH.masked_scatter(shown_T[:, None], rows_NH.to(embedded_TH.dtype))
        if deep:
            extra = {"visual_pos_masks": shown_T[None], "deepstack_visual_embeds": deep}
    places = positions if positions.ndim == 2 else positions.expand(3, -1)
    states_TH = base.model.language_model(
        inputs_embeds=embedded_TH[None], position_ids=places[:, None], attention_mask=mask, use_cache=False, pattern=pattern,
        **extra,
    ).last_hidden_state[0]  # fmt: skip
    kept_KH = states_TH if keep_K is None else states_TH[keep_K]
    found: Tensor = model.get_output_embeddings()(kept_KH[None])[0]
    return found
