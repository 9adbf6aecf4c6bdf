"""The state machines: whatever a model writes, the episode ends within its limits and adds up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from himac.agents.base import Agent, Assignment, call_limit
from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.react import ReActAgent
from himac.agents.reflexion import ReflexionAgent
from himac.agents.replanning import ReplanningAgent
from himac.config import AgentConfig
from himac.types import Blueprint, EnvSpec, Observation, StepResult, StopReason

SPEC = EnvSpec(
    name="void", rules="Nothing ever happens.", example_subgoals=("wait",), max_steps=6,
    list_admissible=True, splits=("train",), reward_success=1.0,
)  # fmt: skip
LIMITS = AgentConfig(max_steps=6, max_subgoals=3, subgoal_turns=2)
HELLO = Observation(text="A room.", admissible=("wait", "look"))
PLAN = "<blueprint>\n1. one\n2. two\n</blueprint>"


def _after(action: str, *, done: bool = False) -> StepResult:
    seen = Observation(text=f"You did {action}.", admissible=("wait", "look"))
    return StepResult(
        observation=seen,
        reward=0.0,
        terminated=done,
        truncated=False,
        success=done,
        score=float(done),
        valid=True,
    )


def _agent(**changes: object) -> HierarchicalAgent:
    agent = HierarchicalAgent(SPEC, replace(LIMITS, **changes))  # type: ignore[arg-type]
    agent.start(HELLO)
    return agent


def _say(agent: Agent, text: str) -> None:
    agent.ask()
    reply = agent.receive(text)
    if reply.action is not None:
        agent.observe(_after(reply.action))


def test_sub_done_opens_the_next_segment_without_a_step() -> None:
    agent = _agent()
    _say(agent, PLAN)
    assert (agent.segment, agent.subgoal) == (0, "one")
    _say(agent, "<action>wait</action>")
    _say(agent, "<sub_done>")
    assert (agent.segment, agent.subgoal, agent.stop) == (1, "two", None)
    ask = agent.ask()
    assert (
        ask.fresh
        and "1. one (done)" in ask.messages[1].content
        and "You did wait." in ask.messages[1].content
    )


def test_a_segment_forgets_the_earlier_ones_and_goes_on_with_its_own() -> None:
    agent = _agent()
    _say(agent, PLAN)
    _say(agent, "<action>look</action>")
    ask = agent.ask()
    assert not ask.fresh and [m.content for m in ask.messages] == [
        "You did look.\nAdmissible actions: wait, look"
    ]
    _say(agent, "<sub_done>")
    _say(agent, "<action>wait</action>")
    assert "look." not in str(agent.ask().messages)


def test_full_context_never_opens_a_second_one() -> None:
    agent = _agent(context="full")
    _say(agent, PLAN)
    assert agent.ask().fresh
    _say(agent, "<action>wait</action>")
    _say(agent, "<sub_done>")
    ask = agent.ask()
    assert not ask.fresh and "Current sub-goal: two" in ask.messages[0].content


def test_step_context_shows_the_last_pairs_in_a_fresh_prompt() -> None:
    agent = _agent(context="step", last_pairs=1)
    _say(agent, PLAN)
    agent.ask()
    agent.observe(_after(agent.receive("<action>look</action>").action or ""))
    ask = agent.ask()
    assert ask.fresh and "did: look" in ask.messages[1].content


def test_the_budget_advances_a_sub_goal_that_does_not_end() -> None:
    agent = _agent()
    _say(agent, PLAN)
    _say(agent, "<action>wait</action>")
    _say(agent, "<action>wait</action>")
    assert agent.segment == 1


def test_after_the_last_sub_goal_the_executor_finishes_the_task_until_the_limit() -> None:
    agent = _agent()
    _say(agent, PLAN)
    for _ in range(4):
        _say(agent, "<action>wait</action>")
    assert agent.subgoal == "finish the task"
    for _ in range(2):
        _say(agent, "<action>wait</action>")
    assert agent.stop is StopReason.MAX_STEPS


def test_success_stops_the_agent() -> None:
    agent = _agent()
    _say(agent, PLAN)
    agent.ask()
    agent.receive("<action>wait</action>")
    agent.observe(_after("wait", done=True))
    assert agent.stop is StopReason.SUCCESS


def test_without_explicit_done_the_word_means_nothing() -> None:
    agent = _agent(explicit_done=False)
    _say(agent, PLAN)
    assert "<sub_done>" not in str(agent.ask().messages)
    reply = agent.receive("<sub_done>")
    assert not reply.sub_done and not reply.readable and agent.segment == 0


def test_a_given_blueprint_is_carried_out_without_planning() -> None:
    agent = HierarchicalAgent(SPEC, LIMITS, Assignment(blueprint=Blueprint(subgoals=("x",))))
    agent.start(HELLO)
    assert agent.ask().role == "executor"


WORDS = [
    "<sub_done>",
    "<action>",
    "</action>",
    "<think>",
    "</think>",
    "<blueprint>",
    "</blueprint>",
    "1.",
    "wait",
    "\x00",
    "行く",
    "\n",
]
ANY_TEXT = st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from(WORDS), max_size=12).map("".join),
    st.just("<think>" * 2000),
    st.just("x" * 30_000),
)


@pytest.mark.parametrize("context", ["segment", "full", "step"])
@pytest.mark.parametrize("explicit_done", [True, False])
@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_the_hierarchy_ends_within_its_limits(
    context: str, explicit_done: bool, texts: list[str]
) -> None:
    agent = _agent(context=context, explicit_done=explicit_done)
    calls = steps = 0
    segments: list[int] = []
    while agent.stop is None:
        ask = agent.ask()
        assert ask.messages and ask.role == ("planner" if agent.blueprint is None else "executor")
        segments.append(agent.segment)
        reply = agent.receive(texts[calls % len(texts)])
        calls += 1
        if reply.action is not None:
            steps += 1
            agent.observe(_after(reply.action))
    assert calls <= call_limit(SPEC, LIMITS) and steps <= LIMITS.max_steps
    assert segments == sorted(segments) and agent.blueprint is not None
    assert agent.segment <= len(agent.blueprint.subgoals) <= LIMITS.max_subgoals
    assert agent.stop in (StopReason.MAX_STEPS, StopReason.MAX_CALLS)


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_the_flat_agent_ends_within_its_limits(texts: list[str]) -> None:
    agent = FlatAgent(SPEC, LIMITS)
    agent.start(HELLO)
    calls = 0
    while agent.stop is None:
        agent.ask()
        reply = agent.receive(texts[calls % len(texts)])
        calls += 1
        if reply.action is not None:
            agent.observe(_after(reply.action))
    assert calls == LIMITS.max_steps and agent.stop is StopReason.MAX_STEPS


@pytest.mark.parametrize("context", ["full", "step"])
@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=5), notes=st.lists(st.text(max_size=50), max_size=5))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_react_ends_within_its_limits(
    context: str, texts: list[str], notes: list[str]
) -> None:
    agent = ReActAgent(SPEC, replace(LIMITS, context=context), Assignment(notes=tuple(notes)))  # type: ignore[arg-type]
    agent.start(HELLO)
    calls = _play(agent, texts)
    assert calls == LIMITS.max_steps and agent.stop is StopReason.MAX_STEPS


@pytest.mark.parametrize("reflect", [True, False])
@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=5), notes=st.lists(st.text(max_size=50), max_size=5))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_a_trial_of_reflexion_ends_within_its_limits(
    reflect: bool, texts: list[str], notes: list[str]
) -> None:
    agent = ReflexionAgent(SPEC, LIMITS, Assignment(notes=tuple(notes), is_last=not reflect))
    agent.start(HELLO)
    calls = _play(agent, texts)
    assert calls == LIMITS.max_steps + reflect and agent.stop is StopReason.MAX_STEPS


def _play(agent: Agent, texts: list[str]) -> int:
    """Say the texts round and round until the agent stops; return how many were said."""
    calls = 0
    while agent.stop is None:
        ask = agent.ask()
        assert ask.messages and ask.messages[-1].role == "user"
        reply = agent.receive(texts[calls % len(texts)])
        calls += 1
        if reply.action is not None:
            agent.observe(_after(reply.action))
    return calls


def test_only_what_was_said_to_be_done_is_called_done() -> None:
    agent = _agent()
    _say(agent, PLAN)
    for _ in range(2):  # the budget of the first sub-goal
        _say(agent, "<action>wait</action>")
    _say(agent, "<sub_done>")
    shown = agent.ask().messages[1].content
    assert "1. one (not finished)\n2. two (done)" in shown


def test_saying_sub_done_with_nothing_left_costs_a_turn_and_no_penalty() -> None:
    agent = _agent()
    _say(agent, PLAN)
    _say(agent, "<sub_done>")
    _say(agent, "<sub_done>")
    agent.ask()
    reply = agent.receive("<sub_done>")
    assert reply.readable and reply.action is None and not reply.sub_done and agent.stop is None


def _flat(**changes: object) -> FlatAgent:
    agent = FlatAgent(SPEC, replace(LIMITS, **changes))  # type: ignore[arg-type]
    agent.start(HELLO)
    return agent


def test_the_default_flat_agent_is_the_published_one() -> None:
    agent = _flat(max_steps=9)
    first = agent.ask()
    assert "<think>" in first.messages[0].content and first.sampling.thinks
    assert (
        first.messages[1].content
        == "Task: A room.\n\nYou are at step 1 and see:\nAdmissible actions: wait, look"
    )
    for action in ("a", "b", "c"):
        _say(agent, f"<think>hm</think><action>{action}</action>")
    fourth = agent.ask()
    assert fourth.fresh and fourth.messages[0] == first.messages[0]
    listed = "\nAdmissible actions: wait, look"
    assert fourth.messages[1].content == (
        "Task: A room.\n\nYour last 2 steps:\n"
        "[step 2] saw: You did a.\ndid: b\n[step 3] saw: You did b.\ndid: c\n\n"
        f"You are at step 4 and see:\nYou did c.{listed}"
    )


def test_a_fresh_prompt_shows_the_observation_again_after_an_answer_that_could_not_be_read() -> None:
    agent = _flat()
    _say(agent, "<action>a</action>")
    _say(agent, "gibberish")
    text = agent.ask().messages[1].content
    assert "[step 1] did: a\n[step 2] saw: You did a.\ndid: (could not be read)\n" in text
    assert text.endswith(
        "Nothing happens: answer with <action>...</action>.\nYou did a.\nAdmissible actions: wait, look"
    )
    _say(agent, "gibberish")
    assert agent.ask().messages[1].content.count("You did a.") == 2  # once as what was seen, once as what is


def test_the_growing_stream_stays_as_a_variant() -> None:
    agent = _flat(context="full", think=False)
    first = agent.ask()
    assert "<think>" not in first.messages[0].content and not first.sampling.thinks
    _say(agent, "<action>a</action>")
    query = agent.ask()
    assert not query.fresh and query.messages[0].content.startswith("You did a.")


@pytest.mark.parametrize("think", [False, True])
def test_planner_and_executor_are_asked_for_a_thought_where_the_recipe_says_so(think: bool) -> None:
    agent = _agent(think=think)
    planner = agent.ask()
    agent.receive(PLAN)
    executor = agent.ask()
    for query in (planner, executor):
        assert ("<think>" in query.messages[0].content) is think is query.sampling.thinks


def test_what_the_task_says_is_not_said_twice() -> None:
    agent = _agent()
    agent.ask()
    agent.receive(PLAN)
    text = agent.ask().messages[1].content
    assert text.count("A room.") == 1 and text.endswith("Admissible actions: wait, look")
    _say(agent, "<sub_done>")  # nothing has been done yet: what is seen is still what the task says
    assert agent.ask().messages[1].content.count("A room.") == 1
    _say(agent, "<action>a</action>")
    assert agent.segment == 1


def test_where_the_task_is_not_the_first_observation_both_are_shown() -> None:
    agent = HierarchicalAgent(replace(SPEC, goal="leave"), LIMITS)
    agent.start(HELLO)
    agent.ask()
    agent.receive(PLAN)
    text = agent.ask().messages[1].content
    assert "Task: leave" in text and "A room." in text


def test_an_action_may_complete_its_sub_goal_in_the_same_turn() -> None:
    agent = _agent(done_with_action=True)
    _say(agent, PLAN)
    query = agent.ask()
    assert query.sampling.stop == ("<sub_done>",) and "behind it" in query.messages[0].content
    reply = agent.receive("<action>a</action><sub_done>")
    assert (reply.action, reply.sub_done, agent.segment) == (
        "a",
        True,
        0,
    )  # not before the world has answered
    agent.observe(_after("a"))
    assert (agent.segment, agent.subgoal) == (1, "two")
    content = agent.ask().messages[-1].content
    assert "one (done)" in content and "You did a." in content
    _say(agent, "<action>b</action>")
    assert agent.segment == 1
    _say(agent, "<sub_done>")
    assert agent.subgoal == "finish the task"
    reply = agent.receive("<action>c</action><sub_done>")  # nothing is left to be done, and it costs nothing
    assert reply.readable and not reply.sub_done and reply.action == "c"


def test_by_default_what_follows_an_action_is_not_read() -> None:
    agent = _agent()
    _say(agent, PLAN)
    _say(agent, "<action>a</action><sub_done>")
    assert agent.segment == 0


def test_the_last_action_of_each_finished_sub_goal_is_carried_over() -> None:
    agent = _agent(context="carry", subgoal_turns=3)
    _say(agent, "<blueprint>\n1. one\n2. two\n3. three\n</blueprint>")
    for words in ("<action>a</action>", "<action>b</action>", "<sub_done>", "<sub_done>"):
        _say(agent, words)
    assert agent.segment == 2
    head = agent.ask().messages[1].content
    assert (
        "1. one (done); last action: b\n2. two (done)\n3. three\n" in head
    )  # nothing was done under the second
    plain = _agent(subgoal_turns=3)
    for words in (PLAN, "<action>a</action>", "<sub_done>"):
        _say(plain, words)
    assert "last action" not in plain.ask().messages[1].content


def test_an_action_that_the_world_refused_is_not_carried_over() -> None:
    agent = _agent(context="carry")
    for words in (PLAN, "<action>a</action>"):
        _say(agent, words)
    agent.ask()
    agent.receive("<action>nonsense</action>")
    agent.observe(replace(_after("nonsense"), valid=False))
    assert "(not finished); last action: a\n" in agent.ask().messages[1].content  # its two turns are over


def _replanning(**changes: object) -> ReplanningAgent:
    agent = ReplanningAgent(SPEC, replace(LIMITS, max_steps=20, **changes))  # type: ignore[arg-type]
    agent.start(HELLO)
    return agent


def test_a_sub_goal_that_is_not_finished_is_planned_again() -> None:
    agent = _replanning()
    for words in (PLAN, "<action>a</action>", "<action>b</action>"):
        _say(agent, words)
    query = agent.ask()
    text = query.messages[1].content
    assert query.role == "planner" and query.fresh and "You plan." in query.messages[0].content
    assert "1. one (not finished)\n2. two\n\nYou did b." in text and "Current sub-goal" not in text
    reply = agent.receive("<blueprint>\n1. another way\n2. then this\n</blueprint>")
    assert reply.readable and reply.blueprint is None and reply.action is None
    assert (agent.segment, agent.subgoal) == (1, "another way")
    assert agent.blueprint is not None and agent.blueprint.subgoals == ("one", "two")  # z* is the first plan
    query = agent.ask()
    assert (
        query.role == "executor"
        and "1. one (not finished)\n2. another way\n3. then this" in query.messages[1].content
    )


def test_a_second_plan_that_cannot_be_read_leaves_the_first_one_standing() -> None:
    agent = _replanning()
    for words in (PLAN, "<action>a</action>", "<action>b</action>"):
        _say(agent, words)
    agent.ask()
    assert not agent.receive("no idea").readable
    assert (agent.segment, agent.subgoal) == (1, "two")


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_a_replanning_agent_ends_within_its_limits(texts: list[str]) -> None:
    agent = ReplanningAgent(SPEC, LIMITS)
    agent.start(HELLO)
    calls = _play(agent, texts)
    assert calls <= call_limit(SPEC, LIMITS) and agent.stop in (StopReason.MAX_STEPS, StopReason.MAX_CALLS)
