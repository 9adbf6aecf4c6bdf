"""Pictures of any size, number and place, beside words that look like pictures: template, engine and learner agree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeing import FAMILIES, Seeing

from himac.chat import ChatFormat
from himac.engines.transformers import TransformersEngine
from himac.errors import EnvError, ModelError
from himac.images import FIRST_ID, Album
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.models.vision import Vision
from himac.types import Message, Sampling

torch.set_num_threads(1)
seeing = cache(Seeing)
_SIDES = st.integers(1, 90)
_LOOKS_LIKE_ONE = (
    f"<image:{'0' * 32}>", "<image:", "<image:0a>", "<image:" + "F" * 32 + ">", "<IMAGE:", ">", "<|image_pad|>",
    "<|vision_start|>", "<|vision_end|>", "<|im_end|>", "<|video_pad|>", "\ue83a", "<action>",
)  # fmt: skip


@dataclass
class Case:
    """Pictures, and the words of a talk in which numbers stand for them."""

    family: str
    sizes: list[tuple[int, int]]
    limits: dict[str, int]
    said: list[list[int | str]]  # the first prompt, and each question
    most: int  # tokens that a trimmed context may have
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    sizes = draw(st.lists(st.tuples(_SIDES, _SIDES), min_size=1, max_size=4))
    piece = st.one_of(st.integers(0, len(sizes) - 1), st.sampled_from(_LOOKS_LIKE_ONE), st.text(max_size=6))
    return Case(
        family=draw(st.sampled_from(FAMILIES)),
        sizes=sizes,
        limits=draw(
            st.sampled_from(
                [{}, {"max_pixels": 1024}, {"min_pixels": 4096}, {"min_pixels": 512, "max_pixels": 2048}]
            )
        ),
        said=draw(st.lists(st.lists(piece, max_size=6), min_size=1, max_size=4)),
        most=draw(st.integers(10, 300)),
        seed=draw(st.integers(0, 2**16)),
    )


def shown_in(ids: np.ndarray, vision: Vision) -> list[str]:
    """Return the names of a context's pictures, and check that each is whole."""
    sight, found, at = vision.sight(ids), [], 0
    while at < len(ids):
        if ids[at] >= FIRST_ID:
            name = vision._names[sight.picture[at]]
            whole = vision.ids(name)
            assert whole and tuple(ids[at : at + len(whole)].tolist()) == whole
            found.append(name)
            at += len(whole) - 1
        at += 1
    return found


def theirs(known: Seeing, vision: Vision, ids: np.ndarray) -> torch.Tensor:
    """Return the log-probabilities of everything behind a context, (T, V), by transformers' own forward."""
    shown = ids >= FIRST_ID
    plain = torch.as_tensor(np.where(shown, known.pad, ids).astype(np.int64))[None]
    given = {"input_ids": plain, "attention_mask": torch.ones_like(plain)}
    given["mm_token_type_ids"] = torch.as_tensor(shown.astype(np.int32))[None]
    if shown.any():
        patches, grid = vision.patches([vision.album.array(name) for name in shown_in(ids, vision)])
        given |= {"pixel_values": torch.as_tensor(patches), "image_grid_thw": torch.as_tensor(grid)}
    known.model.model.rope_deltas = None
    return known.model(**given, use_cache=False).logits[0].log_softmax(-1)


@given(cases())
@settings(max_examples=150, deadline=None)
@torch.no_grad()
def test_template_engine_and_learner_agree_on_any_pictures(case: Case) -> None:
    known, album, rng = seeing(case.family), Album(), np.random.default_rng(case.seed)
    vision = Vision(known.model, known.vision.processor, album, case.limits)
    tags = [album.tag(rng.integers(0, 255, (*size, 3), np.uint8)) for size in case.sizes]
    said = ["".join(tags[p] if isinstance(p, int) else p for p in pieces) for pieces in case.said]
    chat = ChatFormat(known.tokenizer, eyes=vision)
    engine = TransformersEngine(known.model, known.tokenizer, max_batch=2, vision=vision)
    talk, read = chat.conversation((Message(role="user", content=said[0]),)), []
    for number, question in enumerate(said):
        if number:
            talk.add_question(question)
        if number == len(said) - 1 and (shorter := talk.trimmed(case.most)):
            read.append((talk.context(), list(said)))  # what was learned from before it was trimmed
            talk, dropped = shorter
            assert len(talk) <= case.most
            del said[1 : 1 + dropped]
        request = talk.request(Sampling(max_tokens=3, temperature=1.0, seed=case.seed + number), "executor")
        (answer,) = engine.generate([request])
        talk.add_completion(answer)
    read.append((talk.context(), said))
    for context, words in read:
        text = "".join(words).replace("\ue83a", "")
        names = [
            n
            for n in re.findall("<image:([0-9a-f]{32})>", "\n".join(words).replace("\ue83a", ""))
            if n in album
        ]
        assert shown_in(context.ids, vision) == names, text
    contexts = [context for context, _ in read if context.sampled.any()]
    ids, masks = [c.ids for c in contexts], [c.sampled for c in contexts]
    (batch,) = pack(ids, max_tokens=10**6)
    learned = token_logps(known.model, batch, masks, vision=vision).logps.numpy()
    np.testing.assert_allclose(learned, batch.select([c.logps for c in contexts], masks), atol=1e-4)
    if known.pad in ids[-1]:
        return  # the model wrote the token itself: a word here, and nothing that transformers' forward takes
    last = theirs(known, vision, ids[-1]).numpy()
    at = np.flatnonzero(masks[-1])
    np.testing.assert_allclose(contexts[-1].logps[at], last[at - 1, ids[-1][at]], atol=1e-4)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8), [[[0, 0, 0]]], None,
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_in_one_line(image: object) -> None:
    with pytest.raises(EnvError, match=r"must be uint8 \(H, W, 3\), got"):
        Album().tag(image)


@pytest.mark.parametrize("size", [(1, 300), (700, 3)])
def test_a_picture_too_long_for_the_models_processor_is_refused_in_one_line(size: tuple[int, int]) -> None:
    known = seeing("qwen3_vl")
    vision = Vision(known.model, known.vision.processor, Album())
    tag = vision.album.tag(np.zeros((*size, 3), np.uint8))
    with pytest.raises(
        ModelError, match=f"refuses a picture {size[0]} pixels high and {size[1]} wide: .*ratio"
    ):
        vision.ids(tag[7:-1])
