"""One packed row through a model, with or without pictures: the only call of a model's forward that himac packs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from himac.errors import ModelError
from himac.images import FIRST_ID, name_of
from himac.models.attention import AttentionPattern, TreePattern, no_mask
from himac.models.modes import evaluating
from himac.models.packing import pack
from himac.models.vision import FAMILIES, Look, Vision, sees, unwrapped
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
        model: a causal language model of transformers, or one with a vision tower.
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


def check_sight(model: LanguageModel, vision: Vision) -> None:
    """Show a model two pictures, packed and by its own forward, and compare: a family that only seems to be read is refused.

    Raises:
        ModelError: what it says differs.
    """
    config, device = unwrapped(model).config, next(model.parameters()).device
    shades = np.arange(3 * 96 * 128, dtype=np.uint8).reshape(96, 128, 3)
    names = [name_of(image) for image in (shades, shades[::-1]) if vision.album.tag(image)]
    pictures = [vision.ids(name) or () for name in names]
    frame = (config.vision_start_token_id, config.vision_end_token_id)
    words = [n for n in range(40) if n not in (*frame, config.image_token_id, config.video_token_id)][-5:]
    first, second = ([frame[0], *picture, frame[1]] for picture in pictures)
    ids = np.array([*words[:2], *first, words[2], *second, *words[3:]])
    (batch,) = pack([ids], max_tokens=len(ids))
    sight, shown = vision.sight(ids), ids >= FIRST_ID
    patches, grid = vision.patches([vision.album.array(name) for name in names])
    with evaluating(model), torch.no_grad():
        plain = torch.as_tensor(np.where(shown, config.image_token_id, ids), device=device)[None]
        theirs = model(
            input_ids=plain,
            attention_mask=torch.ones_like(plain),
            mm_token_type_ids=torch.as_tensor(shown.astype(np.int64), device=device)[None],
            pixel_values=torch.as_tensor(patches, dtype=next(model.parameters()).dtype, device=device),
            image_grid_thw=torch.as_tensor(np.asarray(grid), device=device),
            use_cache=False,
        ).logits[0].float()  # fmt: skip
        ours = read(
            model, torch.as_tensor(ids, device=device), torch.as_tensor(sight.positions, device=device), TreePattern(batch),
            look=Look(vision, sight.picture, sight.offset),
        ).float()  # fmt: skip
    _refuse_other(model, theirs, ours, "pictures", f"known to work: {', '.join(FAMILIES)}")


def check_words(model: LanguageModel) -> None:
    """Show a model with a tower some words, packed and by its own forward, and compare.

    Raises:
        ModelError: what it says differs.
    """
    device = next(model.parameters()).device
    stem = np.arange(5, 25)
    rows = [np.concatenate([stem, stem[:6] + first]) for first in (1, 2)]
    (batch,) = pack(rows, max_tokens=sum(map(len, rows)))
    with evaluating(model), torch.no_grad():
        theirs = torch.stack(
            [model(input_ids=torch.as_tensor(row, device=device)[None], use_cache=False).logits[0] for row in rows]
        ).float()  # fmt: skip
        ids, positions = (torch.as_tensor(x, device=device) for x in (batch.ids, batch.positions))
        packed = read(model, ids, positions, TreePattern(batch)).float()
    ours = torch.stack(
        [packed[at] for _, at in sorted(zip(batch.sequences, batch.index), key=lambda x: x[0])]
    )
    _refuse_other(
        model,
        theirs,
        ours,
        "words",
        "take a model that does not see, or one of a known family: " + ", ".join(FAMILIES),
    )


def _refuse_other(model: LanguageModel, theirs: Tensor, ours: Tensor, what: str, hint: str) -> None:
    gap = (theirs - ours).abs().mean()
    rounding = 1e-3 if next(model.parameters()).dtype == torch.float32 else 0.05
    if not gap <= rounding * theirs.std():
        kind = unwrapped(model).config.model_type
        raise ModelError(
            f"{what} of model type {kind!r} are read otherwise than by its own forward ({float(gap):.2g} on average)",
            hint=hint,
        )
