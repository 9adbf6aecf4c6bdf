"""What a model's words mean."""

from __future__ import annotations

import pytest

from himac.agents.grammar import read_blueprint, read_turn, write_blueprint


def _read(text: str, most: int = 8) -> tuple[str, ...]:
    return read_blueprint(text, fallback="the task", max_subgoals=most).subgoals


def test_what_is_written_is_read_back() -> None:
    goals = ("find the key", "open the door with it", "take the treasure")
    assert _read(write_blueprint(goals)) == goals


@pytest.mark.parametrize(
    ("text", "goals"),
    [
        ("<blueprint>\n1. a b\n2. c\n</blueprint>", ("a b", "c")),
        ("<blueprint>\n1. a b\n2. c", ("a b", "c")),  # the closing tag is missing, or was the stop string
        ("Here is my plan:\n1) a b\n2) c\nGood luck!", ("a b", "c")),
        ("- a b\n* c", ("a b", "c")),
        ("<think>1. not this</think>\n<blueprint>1. a b</blueprint>", ("a b",)),
        ("<BLUEPRINT>\nStep 1: a b\nStep 2: c\n</BLUEPRINT>", ("a b", "c")),
        ("<blueprint>\n1. **a b**\n2. <action>c</action>\n</blueprint>", ("a b", "c")),
        ("<blueprint>\n一、找到钥匙\n</blueprint>", ("一、找到钥匙",)),
        ("<blueprint>\na b\nc\n</blueprint>", ("a b", "c")),
    ],
)
def test_blueprints_as_models_write_them(text: str, goals: tuple[str, ...]) -> None:
    assert _read(text) == goals


@pytest.mark.parametrize(
    "text", ["", "   ", "no plan", "<blueprint></blueprint>", "<blueprint>\n1.\n</blueprint>", "\x00\xff"]
)
def test_the_unreadable_becomes_the_task_itself_and_is_marked(text: str) -> None:
    blueprint = read_blueprint(text, fallback="the task", max_subgoals=8)
    assert blueprint.subgoals == ("the task",) and blueprint.malformed


def test_long_blueprints_are_cut_not_refused() -> None:
    assert _read(write_blueprint([f"g{i}" for i in range(20)]), most=3) == ("g0", "g1", "g2")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("<action>go east</action>", ("go east", False)),
        ("<think>hm</think> <action> go east </action> trailing", ("go east", False)),
        ("<sub_done>", (None, True)),
        ("<SUB_DONE/>", (None, True)),
        ("<sub_done><action>go</action>", (None, True)),
        ("<action>go</action><sub_done>", ("go", False)),
        ("<think><action>go</action></think><sub_done>", (None, True)),
        ("<think>never closed <action>go</action>", (None, False)),
        ("<action></action>", (None, False)),
        ("<action>go", (None, False)),
        ("", (None, False)),
        ("<action>a\x00b\nc</action>", ("a b c", False)),
    ],
)
def test_turns(text: str, meaning: tuple[str | None, bool]) -> None:
    assert read_turn(text) == meaning
