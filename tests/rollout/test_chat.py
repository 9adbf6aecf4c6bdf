"""Contexts are exact: what was sampled is in them once, marked, and everything else is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AddedToken

from himac.chat import ChatFormat, Conversation
from himac.errors import ModelError
from himac.models.tiny import build_tokenizer
from himac.types import Completion, Message

OPENING = (Message(role="system", content="You act."), Message(role="user", content="A room."))


def _said(tokenizer: Any, text: str, *, ended: bool) -> Completion:
    ids = tokenizer.encode(text, add_special_tokens=False) + ([tokenizer.eos_token_id] if ended else [])
    return Completion(ids=tuple(ids), logps=tuple(-0.1 * i for i in range(1, len(ids) + 1)), finish="stop")


@pytest.mark.parametrize("ended", [True, False])
def test_a_grown_context_is_what_the_template_would_have_written(
    tokenizer: Any, chat: ChatFormat, ended: bool
) -> None:
    talk = Conversation(chat, OPENING)
    talk.add_completion(_said(tokenizer, "<action>wait</action>", ended=ended))
    talk.add_question("You see a key.")
    rows = [{"role": m.role, "content": m.content} for m in OPENING]
    rows += [
        {"role": "assistant", "content": "<action>wait</action>"},
        {"role": "user", "content": "You see a key."},
    ]
    expected = tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(talk.prompt.tolist()) == expected


@given(
    rules=st.text(max_size=40),
    seen=st.text(max_size=40),
)
@settings(max_examples=100, deadline=None)
def test_a_prompt_tokenised_in_parts_is_the_prompt_tokenised_whole(
    tokenizer: Any, chat: ChatFormat, rules: str, seen: str
) -> None:
    rows = [{"role": "system", "content": rules}, {"role": "user", "content": seen}]
    whole = tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=True)
    messages = (Message(role="system", content=rules), Message(role="user", content=seen))
    assert chat.open(messages) == tokenizer.encode(whole, add_special_tokens=False)


def test_an_end_of_turn_that_takes_the_space_behind_it_is_not_cut_at() -> None:
    plain, greedy = (build_tokenizer(["You act. A room."], vocab=300) for _ in range(2))
    greedy.add_special_tokens({"additional_special_tokens": [AddedToken("<|im_end|>", rstrip=True)]})
    rows = [{"role": m.role, "content": m.content} for m in OPENING]
    whole = plain.apply_chat_template(rows, tokenize=False, add_generation_prompt=True)
    ids = greedy.encode(whole, add_special_tokens=False)
    assert ids != plain.encode(whole, add_special_tokens=False)
    assert ChatFormat(greedy).open(OPENING) == ids


def test_the_mask_holds_the_sampled_tokens_and_no_others(tokenizer: Any, chat: ChatFormat) -> None:
    talk = Conversation(chat, OPENING)
    first, second = _said(tokenizer, "wait", ended=False), _said(tokenizer, "go east", ended=True)
    start, end = talk.add_completion(first)
    talk.add_question("You see a key.")
    start2, end2 = talk.add_completion(second)
    context = talk.context()
    assert context.ids[start:end].tolist() == list(first.ids)
    assert context.ids[start2:end2].tolist() == list(second.ids)
    assert np.flatnonzero(context.sampled).tolist() == [*range(start, end), *range(start2, end2)]
    np.testing.assert_allclose(context.logps[context.sampled], [*first.logps, *second.logps])
    assert not context.logps[~context.sampled].any()


def test_every_prompt_is_a_prefix_of_the_next(tokenizer: Any, chat: ChatFormat) -> None:
    talk = Conversation(chat, OPENING)
    before = talk.prompt
    for text in ("wait", "go east"):
        talk.add_completion(_said(tokenizer, text, ended=False))
        talk.add_question("You see a key.")
        assert talk.prompt[: len(before)].tolist() == before.tolist()
        before = talk.prompt


def test_trimming_drops_the_oldest_turns_and_trains_nothing_twice(tokenizer: Any, chat: ChatFormat) -> None:
    talk = Conversation(chat, OPENING)
    for text in ("wait", "go east", "wait"):
        talk.add_completion(_said(tokenizer, text, ended=True))
        talk.add_question("You see a key.")
    trimmed = talk.trimmed(len(talk) - 1)
    assert trimmed is not None
    shorter, dropped = trimmed
    assert dropped == 1 and len(shorter) < len(talk)
    assert not shorter.context().sampled.any()
    start, end = shorter.add_completion(_said(tokenizer, "go east", ended=True))
    assert np.flatnonzero(shorter.context().sampled).tolist() == list(range(start, end))
    assert talk.context().sampled.sum() > 0  # the long context keeps its own


def test_a_context_that_cannot_be_trimmed_enough_says_so(tokenizer: Any, chat: ChatFormat) -> None:
    talk = Conversation(chat, OPENING)
    talk.add_completion(_said(tokenizer, "wait", ended=True))
    talk.add_question("You see a key.")
    assert talk.trimmed(5) is None


@given(text=st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_text_makes_the_round_trip_through_the_tiny_tokenizer(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    if not any(special in text for special in tokenizer.all_special_tokens):
        assert tokenizer.decode(ids) == text.encode("utf-8", "replace").decode("utf-8")


def test_a_tokenizer_without_a_template_is_refused(tokenizer: Any) -> None:
    kept = tokenizer.chat_template
    tokenizer.chat_template = None
    try:
        with pytest.raises(ModelError, match="no chat template"):
            ChatFormat(tokenizer)
    finally:
        tokenizer.chat_template = kept
