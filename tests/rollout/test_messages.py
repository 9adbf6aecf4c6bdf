"""Episodes that are messages instead of tokens: the same play, nothing to train on; planner and executor apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from himac.agents.hierarchical import HierarchicalAgent
from himac.chat import ChatFormat, Dialogue, Format, MessageFormat
from himac.config import AgentConfig
from himac.engines.base import Engine
from himac.engines.by_role import EngineByRole
from himac.envs.base import Env, make_env
from himac.errors import RunError
from himac.learner.samples import to_samples
from himac.rollout.collect import EpisodeRunner
from himac.rollout.episode import Job
from himac.runs.episodes import episode_row, read_episode
from himac.testing import ScriptedEngine
from himac.types import Completion, Message, Request, Sampling, StopReason

PLAN = "<blueprint>\n1. first\n2. second\n</blueprint>"
OPENING = (Message(role="system", content="s" * 40), Message(role="user", content="u" * 40))


def _answer(prompt: str) -> str:
    if "You plan." in prompt:
        return PLAN
    return (
        "<sub_done>" if "Current sub-goal: first" in prompt.split("You act.")[-1] else "<action>wait</action>"
    )


def _collector(engine: Engine, chat: Format, **settings: Any) -> EpisodeRunner:
    planner_chat = settings.pop("planner_chat", None)
    return EpisodeRunner(
        lambda: make_env("toy", doors=1), engine, chat=chat, cfg=AgentConfig(), planner_chat=planner_chat, **settings
    )  # fmt: skip


def _job(env: Env, replica: int = 0) -> Job:
    agent = HierarchicalAgent(env.spec, AgentConfig(max_steps=6, subgoal_turns=3))
    return Job(task=env.tasks("train")[0], replica=replica, agent=agent, seed=replica)


class _Refusing:
    """Answers through another engine, and refuses what `is_bad` says."""

    def __init__(self, engine: Engine, is_bad: Callable[[Request], bool]) -> None:
        self._engine, self._is_bad = engine, is_bad

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        refused = Completion(finish="refused", text="", error="status 400: too long")
        return [refused if self._is_bad(r) else self._engine.generate([r])[0] for r in requests]

    def load_weights(self, state: Any, version: int) -> None: ...

    def close(self) -> None: ...


def test_an_episode_is_the_same_as_messages_and_as_tokens(tokenizer: Any, chat: ChatFormat) -> None:
    env = make_env("toy", doors=1)
    as_tokens = _collector(ScriptedEngine(tokenizer, _answer, end_id=tokenizer.eos_token_id), chat)
    as_messages = _collector(ScriptedEngine(None, _answer), MessageFormat())
    one, other = as_tokens.run([_job(env)])[0], as_messages.run([_job(env)])[0]
    for field in (
        "env_return",
        "penalty",
        "success",
        "stop",
        "env_steps",
        "calls",
        "blueprint",
        "instruction",
    ):
        assert getattr(one, field) == getattr(other, field), field
    said = [[(t.role, t.text, t.action, t.observation, t.sub_done) for t in e.turns] for e in (one, other)]
    assert said[0] == said[1] and len(said[0]) > 4
    assert other.tokens == sum(len(t.text.split()) for t in other.turns)


def test_every_message_of_a_context_is_sent_in_order() -> None:
    seen: list[Request] = []

    class Listening(ScriptedEngine):
        def generate(self, requests: Sequence[Request]) -> list[Completion]:
            seen.extend(requests)
            return super().generate(requests)

    env = make_env("toy", doors=1)
    _collector(Listening(None, lambda p: PLAN if "You plan." in p else "<action>wait</action>"), MessageFormat()).run([_job(env)])  # fmt: skip
    plan, *acting = seen
    assert [m.role for m in plan.messages] == ["system", "user"] and len(plan.prompt) == 0
    assert [r.role for r in seen[:2]] == ["planner", "executor"]
    assert [m.role for m in acting[1].messages] == ["system", "user", "assistant", "user"]
    assert (
        acting[1].messages[:2] == acting[0].messages
        and acting[1].messages[2].content == "<action>wait</action>"
    )
    assert len({r.sampling.seed for r in seen}) == len(seen)


def test_episodes_without_tokens_are_kept_whole_and_cannot_be_trained_on() -> None:
    env = make_env("toy", doors=1)
    episodes = _collector(ScriptedEngine(None, _answer), MessageFormat()).run([_job(env, 0), _job(env, 1)])
    row = episode_row(episodes[0])
    assert episode_row(read_episode(row)) == row
    ones = [[1.0] * len(e.turns) for e in episodes]
    with pytest.raises(RunError, match="no tokens and no log-probabilities, and cannot be trained on"):
        to_samples(episodes, ones, role="executor")  # type: ignore[arg-type]


def test_planner_and_executor_may_be_engines_of_different_kinds(tokenizer: Any, chat: ChatFormat) -> None:
    env = make_env("toy", doors=1)
    planner = ScriptedEngine(None, lambda _: PLAN)
    executor = ScriptedEngine(tokenizer, lambda _: "<action>wait</action>", end_id=tokenizer.eos_token_id)
    both = EngineByRole({"planner": planner, "executor": executor})
    collector = _collector(both, chat, planner_chat=MessageFormat())
    episodes = collector.run([_job(env, i) for i in range(3)])
    assert planner.num_requests == 3 and executor.num_requests == sum(e.calls - 1 for e in episodes)
    for episode in episodes:
        assert episode.blueprint is not None and episode.blueprint.subgoals == ("first", "second")
        assert len(episode.contexts[0].ids) == 0 and all(c.sampled.any() for c in episode.contexts[1:])


def test_a_refused_prompt_ends_its_episode_and_no_other() -> None:
    env = make_env("toy", doors=1)
    calls: list[int] = []

    def is_bad(request: Request) -> bool:
        calls.append(1)
        return len(calls) == 4  # the second of three episodes, in its second round... whichever it is

    engine = _Refusing(
        ScriptedEngine(None, lambda p: PLAN if "You plan." in p else "<action>wait</action>"), is_bad
    )
    kept: list[Any] = []
    episodes = _collector(engine, MessageFormat()).run([_job(env, i) for i in range(3)], keep=kept.append)
    stops = [e.stop for e in episodes]
    assert sorted(stops) == sorted([StopReason.ENGINE_ERROR, StopReason.MAX_STEPS, StopReason.MAX_STEPS])
    refused = episodes[stops.index(StopReason.ENGINE_ERROR)]
    assert refused.error == "status 400: too long" and not refused.success
    assert kept[0] is refused and {id(e) for e in kept} == {id(e) for e in episodes}


def test_a_dialogue_drops_its_oldest_exchanges_and_keeps_its_opening() -> None:
    talk = Dialogue(OPENING)
    assert len(talk) == 20
    for number in range(4):
        talk.add_completion(Completion(text=f"answer {number} " + "a" * 31, finish="stop"))
        talk.add_question(f"question {number} " + "q" * 29)
    shorter = talk.trimmed(60)
    assert shorter is not None and shorter[1] == 2 and len(shorter[0]) == 60
    sent = shorter[0].request(Sampling(), "executor").messages
    assert sent[:2] == OPENING and [m.role for m in sent[2:]] == ["assistant", "user"] * 2
    assert sent[2].content.startswith("answer 2") and len(talk.request(Sampling(), "executor").messages) == 10
    assert talk.trimmed(39) is None


def test_a_context_that_grows_too_long_is_trimmed_and_told() -> None:
    env = make_env("toy", doors=1)
    engine = ScriptedEngine(None, lambda p: PLAN if "You plan." in p else "<think>" + "so " * 60 + "</think><action>wait</action>")  # fmt: skip
    episode = _collector(engine, MessageFormat(), max_prompt=420).run([_job(env)])[0]
    assert episode.stop is StopReason.MAX_STEPS and sum(s.trimmed for s in episode.segments) > 0
