"""What a model's words mean."""

from __future__ import annotations

import time

import pytest

from himac.agents.grammar import read_blueprint, read_turn, subgoal_lines, write_blueprint


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
        (
            "I could <action>go west</action>, but no.\n</think>\n\n<action>go east</action>",
            ("go east", False),
        ),
        ("I say <sub_done> only at the end.\n</think>\n<action>go east</action>", ("go east", False)),
        ("<THINK><action>a</action></Think><thinking>b</thinking><action>go</action>", ("go", False)),
        ("<action></action>", (None, False)),
        ("<action>go", (None, False)),
        ("", (None, False)),
        ("<action>a\x00b\nc</action>", ("a b c", False)),
    ],
)
def test_turns(text: str, meaning: tuple[str | None, bool]) -> None:
    assert read_turn(text) == meaning


def test_a_plan_that_is_quoted_in_a_thought_which_the_template_opened_is_not_the_plan() -> None:
    quoted = "As in <blueprint>\n1. an example\n</blueprint> I plan.\n</think>\n"
    text = quoted + "<blueprint>\n1. get the key\n2. open the door\n</blueprint>"
    assert read_blueprint(text, fallback="x", max_subgoals=8).subgoals == ("get the key", "open the door")
    assert subgoal_lines(text) == [5, 6]


def test_a_megabyte_of_marks_is_read_in_no_time() -> None:
    for text in ("<think>" * 150_000, "</think>" * 130_000, "<think></think>" * 70_000, "<" * 1_000_000):
        began = time.process_time()
        read_turn(text)
        assert time.process_time() - began < 0.5
