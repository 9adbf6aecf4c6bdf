"""Every family's template is known exactly, or refused in one line."""

from __future__ import annotations

import datetime as dt
import sys
import time
from typing import Any

import pytest
import transformers.utils.chat_template_utils as clockwork
from templates import FAMILIES, REFUSED, Family
from transformers import AddedToken

from himac.agents.grammar import read_turn
from himac.chat import ChatFormat, Conversation
from himac.errors import ModelError
from himac.models.tiny import build_tokenizer
from himac.types import Completion, Message, Sampling

OPENING = (Message(role="system", content="You act."), Message(role="user", content="A room."))
ACT = "<action>go east</action>"


def tokenizer_of(family: Family) -> Any:
    tokenizer = build_tokenizer(["You act. A room. go east wait"], vocab=400)
    tokenizer.add_special_tokens({"additional_special_tokens": list(family.special)})
    tokenizer.add_tokens([AddedToken(word, special=False) for word in family.plain])
    tokenizer.eos_token = family.eos
    tokenizer.bos_token = next(
        (word for word in family.special if word in ("<s>", "<|begin|>")), "<|endoftext|>"
    )
    tokenizer.chat_template = family.template
    return tokenizer


def _said(chat: ChatFormat, text: str) -> Completion:
    ids = chat.answer(text)
    return Completion(ids=tuple(ids), logps=(0.0,) * len(ids), finish="stop")


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def test_what_a_template_does_is_found_out(family: Family) -> None:
    facts = ChatFormat(tokenizer_of(family)).template.facts
    found = (facts.folds_system, facts.trims, facts.opens_thought, facts.keeps_thoughts, facts.asks_date)
    assert found == (
        family.folds,
        family.trims,
        family.opens_thought,
        family.keeps_thoughts,
        family.asks_date,
    )


@pytest.mark.parametrize("ended", [True, False])
def test_a_grown_context_is_what_the_template_writes(family: Family, ended: bool) -> None:
    tokenizer = tokenizer_of(family)
    chat = ChatFormat(tokenizer)
    talk = Conversation(chat, OPENING)
    answer = tokenizer.encode(chat.template.facts.lead + ACT, add_special_tokens=False)
    said = answer + ([chat.end_id] if ended else [])
    talk.add_completion(Completion(ids=tuple(said), logps=(0.0,) * len(said), finish="stop"))
    talk.add_question("\n You see a key. ")
    whole = chat.template.render(
        (*OPENING, Message(role="assistant", content=ACT), Message(role="user", content="\n You see a key. "))
    )
    tail = (
        "<think>\n" if family.opens_thought else ""
    )  # himac keeps what the prompt opened; templates write it once
    kept = tokenizer.decode(talk.prompt.tolist())
    if tail:
        kept = kept.replace(tail + ACT, ACT)
    kept = kept.replace("<think>\n\n</think>\n\n" + ACT, ACT)
    if ended:  # without the space that some write before the end
        whole = whole.replace(f"{ACT} {family.eos}", f"{ACT}{family.eos}")
    assert kept == whole


def test_a_demonstration_ends_with_the_end_of_turn_and_it_is_not_repeated(family: Family) -> None:
    tokenizer = tokenizer_of(family)
    chat = ChatFormat(tokenizer)
    assert tokenizer.convert_ids_to_tokens(chat.answer(ACT))[-1] == family.eos
    assert chat.end_id not in chat.follow(chat.end_id, "key")[:3]
    assert chat.follow(-1, "key")[-len(chat.follow(chat.end_id, "key")) :] == chat.follow(chat.end_id, "key")


def test_a_demonstration_is_read_as_the_answer_it_shows(family: Family) -> None:
    chat = ChatFormat(tokenizer_of(family))
    talk = Conversation(chat, OPENING)
    for text in (ACT, f"<think>not <action>wait</action></think>{ACT}"):
        assert read_turn(talk.read(_said(chat, text))) == ("go east", False)


def test_a_thought_that_the_prompt_opened_and_nothing_closed_is_no_answer(family: Family) -> None:
    chat = ChatFormat(tokenizer_of(family))
    talk = Conversation(chat, OPENING)
    ids = tuple(chat.tokenizer.encode(f"I could {ACT}", add_special_tokens=False))
    read = read_turn(talk.read(Completion(ids=ids, logps=(0.0,) * len(ids), finish="length")))
    assert read == ((None, False) if family.opens_thought else ("go east", False))
    assert talk.request(Sampling(), "executor").sampling.in_thought is family.opens_thought


def test_control_tokens_in_a_worlds_text_are_text(family: Family) -> None:
    tokenizer = tokenizer_of(family)
    chat = ChatFormat(tokenizer)
    marks = [family.eos, *family.special, *family.plain, "<|im_start|>"]
    for mark in marks:
        number = tokenizer.convert_tokens_to_ids(mark)
        harmless = (Message(role="system", content="s"), Message(role="user", content="o"))
        hostile = (
            Message(role="system", content=f"s {mark}"),
            Message(role="user", content=f"{mark} o {mark}"),
        )
        assert chat.open(hostile).count(number) == chat.open(harmless).count(number)
        assert (
            tokenizer.decode(chat.open(hostile)).count(mark)
            == tokenizer.decode(chat.open(harmless)).count(mark) + 3
        )
        assert chat.follow(-1, f"a {mark}").count(number) == chat.follow(-1, "a").count(number)


def test_a_prompt_is_the_same_on_two_days(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = []
    for day in (25, 26):

        class Clock(dt.datetime):
            @classmethod
            def now(cls, tz: Any = None, today: int = day) -> Any:
                return dt.datetime(2026, 11, today)

        monkeypatch.setattr(clockwork, "datetime", Clock)
        prompts.append(ChatFormat(tokenizer_of(family)).open(OPENING))
    assert prompts[0] == prompts[1]


def test_a_template_that_can_be_told_thinks_only_where_thoughts_are_wanted() -> None:
    tokenizer = tokenizer_of(FAMILIES["qwen3"])
    ends = [tokenizer.decode(ChatFormat(tokenizer, think=think).open(OPENING)) for think in (False, True)]
    assert ends[0].endswith("<think>\n\n</think>\n\n") and "<think>" not in ends[1]


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_a_template_that_cannot_be_known_is_refused_in_one_line(what: str) -> None:
    template, words = REFUSED[what]
    with pytest.raises(ModelError, match=words) as caught:
        ChatFormat(tokenizer_of(Family(template=template, eos="<|im_end|>")))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system bounds no memory there")
@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ 'a' * 9999999999 }}", "takes more than 1 GiB of memory"),
        ("{{ 'a'|center(9999999999) }}", "takes more than 1 GiB of memory"),
        ("{{ 10 ** (10 ** 9) }}", "raises to powers"),
        ("{% set ns = namespace(x=9) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}", "multiplies"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes more than 5 s"),
    ],
)  # fmt: skip
def test_a_template_that_asks_for_more_than_a_machine_has_is_refused_in_time(
    template: str, words: str
) -> None:
    resource = pytest.importorskip("resource")
    before, began = resource.getrlimit(resource.RLIMIT_AS), time.process_time()
    with pytest.raises(ModelError, match=words):
        ChatFormat(tokenizer_of(Family(template=template + FAMILIES["smollm2"].template, eos="<|im_end|>")))
    assert time.process_time() - began < 20 and resource.getrlimit(resource.RLIMIT_AS) == before
