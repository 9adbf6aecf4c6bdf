"""ReAct and Reflexion: what is asked for, what is remembered, and when a note is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from himac.agents.base import Agent, Assignment
from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.react import ReActAgent
from himac.agents.reflexion import MAX_NOTES, ReflexionAgent, notes_of
from himac.config import AgentConfig
from himac.types import Blueprint, EnvSpec, Episode, Observation, Segment, StepResult, StopReason, Task, Turn

SPEC = EnvSpec(
    name="void", rules="Nothing ever happens.", example_subgoals=("wait",), max_steps=3, list_admissible=False,
    splits=("train",), reward_success=1.0, goal="leave", example_play=(("A hall.", "<think>a</think><action>b</action>"),),
)  # fmt: skip
SETTINGS = AgentConfig(max_steps=3, planner_tokens=99)
HELLO = Observation(text="A room.")


def _after(action: str, *, success: bool = False, over: bool = False) -> StepResult:
    return StepResult(
        observation=Observation(text=f"You did {action}."), reward=0.0, terminated=success or over, truncated=False,
        success=success, score=float(success), valid=True,
    )  # fmt: skip


def _act(agent: Agent, text: str, **ending: bool) -> None:
    agent.ask()
    reply = agent.receive(text)
    assert reply.action is not None
    agent.observe(_after(reply.action, **ending))


def _trial(*, reflect: bool = True, notes: tuple[str, ...] = ()) -> ReflexionAgent:
    agent = ReflexionAgent(SPEC, SETTINGS, Assignment(notes=notes, is_last=not reflect))
    agent.start(HELLO)
    return agent


def _fail(agent: ReflexionAgent) -> None:
    for _ in range(3):
        _act(agent, "<think>hm</think><action>wait</action>")


def test_react_asks_for_a_thought_before_each_action_and_shows_the_world_s_example() -> None:
    agent = ReActAgent(SPEC, SETTINGS)
    agent.start(HELLO)
    system, user = agent.ask().messages
    assert "<think>...</think><action>...</action>" in system.content
    assert "Seen: A hall.\nAnswer: <think>a</think><action>b</action>" in system.content
    assert user.content == "Task: leave\n\nA room."


def test_react_without_an_example_shows_none() -> None:
    agent = ReActAgent(replace(SPEC, example_play=()), SETTINGS)
    agent.start(HELLO)
    assert "example" not in agent.ask().messages[0].content


def test_react_is_the_flat_agent_but_for_its_system_prompt() -> None:
    settings = replace(SETTINGS, context="full")
    react, flat = ReActAgent(SPEC, settings), FlatAgent(SPEC, settings)
    for agent in (react, flat):
        agent.start(HELLO)
    assert react.ask().messages[1:] == flat.ask().messages[1:]
    for agent in (react, flat):
        _act(agent, "<think>hm</think><action>wait</action>")
    assert react.ask() == flat.ask() and not react.ask().fresh


def test_a_failed_trial_ends_with_a_note_in_the_same_context() -> None:
    agent = _trial()
    _fail(agent)
    assert agent.stop is None
    ask = agent.ask()
    assert (ask.role, ask.fresh, ask.sampling.max_tokens) == ("planner", False, 99)
    assert ask.messages[0].content.startswith(
        "You did wait.\n\nThe attempt is over and the task is not solved."
    )
    reply = agent.receive("I waited too long.")
    assert reply.action is None and reply.readable and agent.stop is StopReason.MAX_STEPS


@pytest.mark.parametrize("text", ["", "   ", "<think>never closed", "<think>all of it</think>", "\x00"])
def test_an_empty_note_is_unreadable_and_still_ends_the_trial(text: str) -> None:
    agent = _trial()
    _fail(agent)
    agent.ask()
    assert not agent.receive(text).readable and agent.stop is StopReason.MAX_STEPS


def test_a_solved_trial_and_the_last_one_write_no_note() -> None:
    solved, last = _trial(), _trial(reflect=False)
    _act(solved, "<action>leave</action>", success=True)
    assert solved.stop is StopReason.SUCCESS
    _fail(last)
    assert last.stop is StopReason.MAX_STEPS


def test_the_world_s_own_failure_is_reflected_on_and_stays_the_reason() -> None:
    agent = _trial()
    _act(agent, "<action>jump</action>", over=True)
    assert agent.ask().role == "planner"
    agent.receive("Do not jump.")
    assert agent.stop is StopReason.FAILURE


def test_the_newest_notes_open_the_next_trial() -> None:
    agent = _trial(notes=tuple(f"note {n}" for n in range(5)))
    user = agent.ask().messages[1].content
    assert user.startswith(
        "Task: leave\n\nWhat you noted after earlier, failed attempts at this task:\n1. note 2\n"
    )
    assert MAX_NOTES == 3 and "3. note 4\n\nA room." in user and "note 1\n" not in user


def _episode(*turns: Turn) -> Episode:
    segment = Segment(index=0, subgoal="", turns=turns, stop=StopReason.EPISODE_END)
    return Episode(
        task=Task(env="void", split="train", index=0), replica=0, instruction="", blueprint=None, planning=None,
        segments=(segment,), contexts=(), env_return=0.0, penalty=0.0, success=False, score=0.0,
        stop=StopReason.MAX_STEPS, env_steps=1, calls=2, tokens=5,
    )  # fmt: skip


def test_notes_are_read_back_from_the_episodes_they_ended() -> None:
    act = Turn(role="executor", context=0, start=1, end=2, text="<action>wait</action>", action="wait")
    note = Turn(role="planner", context=0, start=3, end=4, text="<think>hm</think>Do not\nwait.")
    empty = replace(note, text="")
    trials = [
        _episode(act, note),
        _episode(act),
        _episode(act, empty),
        _episode(act, replace(note, text="Leave.")),
    ]
    assert notes_of(trials) == ("Do not wait.", "Leave.")
    assert notes_of([]) == ()


FULL = replace(SETTINGS, prompts="full")


def _first_words(agent: Agent) -> str:
    agent.start(HELLO)
    return agent.ask().messages[-1].content


@pytest.mark.parametrize("context", ["segment", "carry", "full", "step"])
def test_in_full_prompts_every_first_message_ends_with_the_form_of_its_answer(context: str) -> None:
    cfg = replace(FULL, context=context)
    plan = Blueprint(subgoals=("wait",))
    planner, executor = HierarchicalAgent(SPEC, cfg), HierarchicalAgent(SPEC, cfg, Assignment(blueprint=plan))
    assert _first_words(planner).endswith("in this form:\n<blueprint>\n1. wait\n</blueprint>")
    act = "<action>b</action>"  # of the world's exemplary play
    assert _first_words(executor).endswith(
        f"in this form: {act}, or <sub_done> when the current sub-goal is complete"
    )
    assert _first_words(FlatAgent(SPEC, cfg)).endswith(f"in this form: {act}")


def test_the_form_of_a_thought_is_asked_for_where_thoughts_are() -> None:
    for think in (False, True):
        cfg = replace(FULL, think=think)
        for agent in (HierarchicalAgent(SPEC, cfg), FlatAgent(SPEC, cfg)):
            assert ("<think>" in _first_words(agent)) is think


def test_a_growing_context_is_told_the_form_once_and_react_never() -> None:
    agent = FlatAgent(SPEC, replace(FULL, context="full"))
    assert "in this form" in _first_words(agent)
    agent.receive("<action>b</action>")
    agent.observe(_after("b"))
    assert agent.ask().messages[-1].content == "You did b."
    assert "in this form" not in _first_words(ReActAgent(SPEC, FULL))


def test_tiny_models_are_spared_the_form() -> None:
    for agent in (HierarchicalAgent(SPEC, SETTINGS), FlatAgent(SPEC, SETTINGS)):
        assert "in this form" not in _first_words(agent)


def test_the_form_may_be_replaced(tmp_path: Path) -> None:
    words = tmp_path / "words.toml"
    words.write_text('executor_form = "Say {action}{done}"')
    cfg = replace(SETTINGS, prompts=str(words))
    agent = HierarchicalAgent(SPEC, cfg, Assignment(blueprint=Blueprint(subgoals=("wait",))))
    assert _first_words(agent).endswith("Say b, or <sub_done> when the current sub-goal is complete")
