"""Parsers and readers on whatever hypothesis finds: nothing is raised that is not ours, and what is promised holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from himac.agents.grammar import read_blueprint, read_note, read_turn
from himac.chat.thoughts import answer_of, thought_is_open
from himac.config import config_from_dict, load_config, to_toml
from himac.engines.endpoint import BudgetSpent, Usage, text_of, until_stop, without_key
from himac.envs.sokoban.text import parse_level
from himac.errors import ConfigError, DataError
from himac.files import parse_toml
from himac.runs.rows import is_episode, is_metrics, is_outcome, is_result, parse_line
from himac.text import clean, line, whole
from himac.toml import write_tables

_TAGS = [
    "<blueprint>",
    "</blueprint>",
    "<action>",
    "</action>",
    "<sub_done>",
    "<think>",
    "</think>",
    "1. ",
    "\n",
    "<",
    "/",
]
_said = st.lists(st.one_of(st.sampled_from(_TAGS), st.text(max_size=8)), max_size=30).map("".join)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=12), st.dates(), st.times()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


@given(_said)
@settings(max_examples=300)
def test_what_a_model_writes_is_always_read(text: str) -> None:
    blueprint = read_blueprint(text, fallback="the task", max_subgoals=8)
    assert 1 <= len(blueprint.subgoals) <= 8 and all(s and s.isprintable() for s in blueprint.subgoals)
    for both in (False, True):
        action, done = read_turn(text, both=both)
        assert action is None or (action.strip() == action != "" and action.isprintable())
        assert not (action and done and not both)
    assert "\n" not in read_note(text)
    assert len(answer_of(text)) <= len(text) and isinstance(thought_is_open(text), bool)
    assert isinstance(until_stop(text, ("</action>", "<sub_done>")), str)


@given(st.text(max_size=60), st.text(alphabet="abc123-_", min_size=8, max_size=24))
def test_no_eight_characters_of_a_key_are_told(text: str, key: str) -> None:
    told = without_key(f"{text}{key}{text}{key[2:]}", key)
    assert not any(key[i : i + 8] in told for i in range(len(key) - 7))


@given(st.text())
def test_clean_text_is_harmless_and_stays_as_it_is(text: str) -> None:
    shown = clean(text)
    assert clean(shown) == shown and len(shown) == len(text)
    assert not any(
        (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c in "\u202e\u2066" for c in shown
    )
    assert "\n" not in line(text)
    whole(text).encode("utf-8")


@given(_json)
def test_any_row_is_good_or_not_and_nothing_else(value: Any) -> None:
    row = parse_line(json.dumps(value))
    assert (row is not None) == isinstance(value, dict)
    if row is not None:
        assert not (is_episode(row) or is_metrics(row) or is_outcome(row) or is_result(row))
        json.dumps(row, ensure_ascii=False).encode("utf-8")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_none(data: bytes) -> None:
    row = parse_line(data)
    assert row is None or isinstance(row, dict)


@given(st.one_of(st.none(), _json, st.lists(st.one_of(st.text(), _json), max_size=3)))
def test_any_content_of_an_answer_is_text_or_none(content: Any) -> None:
    found = text_of(content)
    assert found is None or isinstance(found, str)


@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda k: k != "settings" and k != "name"), _values, max_size=4
    )
)
def test_a_world_s_settings_read_back_as_they_were_written(table: dict[str, Any]) -> None:
    text = write_tables({"env": table})
    assert parse_toml(text)["env"] == table
    config = config_from_dict({"env": {"name": "my_world:Env", **table}})
    assert config_from_dict(parse_toml(to_toml(config))) == config


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_word_is_a_setting_or_one_line(key: str, value: str) -> None:
    try:
        load_config(None, [f"{key}={value}"])
    except ConfigError as error:
        assert str(error)


@given(st.lists(st.text(alphabet="#@$.*+ -_X", max_size=9), max_size=9))
def test_any_board_is_a_level_or_one_line(lines: list[str]) -> None:
    try:
        level = parse_level(lines)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert level.height == len(lines)


@given(
    st.integers(1, 2000),
    st.integers(1, 8),
    st.integers(0, 400),
    st.lists(st.integers(0, 64), min_size=1, max_size=40),
)
def test_no_schedule_of_requests_overruns_a_budget_of_tokens(
    budget: int, at_once: int, prompt: int, answers: list[int]
) -> None:
    """Prompts of 100 bytes that cost `prompt` tokens each; completions of at most 64."""
    usage, under_way = Usage(max_tokens=budget), []
    for answer in answers:
        try:
            while len(under_way) == at_once or not usage.has_room(100, 64):
                reserved, cost = under_way.pop(0)
                usage.count(prompt, cost, 100)
                usage.settle(reserved)
        except BudgetSpent:
            break
        reserved = usage.cost(100, 64)
        usage.spend(reserved)
        under_way.append((reserved, answer))
    for reserved, cost in under_way:
        usage.count(prompt, cost, 100)
        usage.settle(reserved)
    spent = usage.prompt_tokens + usage.completion_tokens
    assert spent <= max(
        budget, prompt + 64 if usage.requests == 1 else 0
    )  # the first prompt's cost is not known before
    assert (usage._reserved, usage._under_way) == (0, 0)


@pytest.mark.parametrize("value", ["x", "-3", "0", "8,4", "99999999", ""])
def test_any_number_of_threads_is_a_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from himac.train.local import set_threads

    monkeypatch.setenv("OMP_NUM_THREADS", value)
    set_threads()
