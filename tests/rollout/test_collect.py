"""Episodes run by a scripted engine in the toy world: turns, segments, tokens and money add up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from himac.agents.hierarchical import HierarchicalAgent
from himac.algo.group import GroupRelative
from himac.chat import ChatFormat
from himac.config import AgentConfig
from himac.engines.base import InRounds
from himac.envs.base import Env, make_env, make_expert
from himac.learner.samples import to_samples
from himac.rollout.collect import EpisodeRunner
from himac.rollout.episode import Job
from himac.testing import ScriptedEngine, check_estimator
from himac.train.warm_start import script
from himac.types import Completion, Episode, Observation, StepResult, StopReason, Task

PLAN = "<blueprint>\n1. first\n2. second\n</blueprint>"


def _collector(
    tokenizer: Any, chat: ChatFormat, answer: Callable[[str], str], **settings: Any
) -> EpisodeRunner:
    engine = ScriptedEngine(tokenizer, answer, end_id=tokenizer.eos_token_id)
    make = settings.pop("make_env", lambda: make_env("toy", doors=1))
    return EpisodeRunner(make, engine, chat=chat, **{"cfg": AgentConfig(), **settings})


def _scripted(collector: EpisodeRunner) -> ScriptedEngine:
    """Return the engine of ours that the collector asks in rounds."""
    rounds = collector._engine
    assert isinstance(rounds, InRounds) and isinstance(rounds.engine, ScriptedEngine)
    return rounds.engine


def _job(env: Env, task: Task, *, replica: int = 0, max_steps: int = 8) -> Job:
    agent = HierarchicalAgent(env.spec, AgentConfig(max_steps=max_steps, subgoal_turns=3))
    return Job(task=task, replica=replica, agent=agent, seed=replica)


def _planner_or(action: str) -> Callable[[str], str]:
    return lambda prompt: PLAN if "You plan." in prompt else action


def test_the_expert_s_words_through_the_collector_solve_the_task(tokenizer: Any, chat: ChatFormat) -> None:
    env = make_env("toy", doors=1)
    task = env.tasks("train")[0]
    demo = make_expert("toy", env).demonstrate(task, seed=0, noise=0.0)
    assert demo is not None
    lines = iter([text for text, _ in script(demo, flat=False)])
    collector = _collector(tokenizer, chat, lambda _: next(lines))
    episode = collector.run([_job(env, task, max_steps=40)])[0]
    assert episode.success and episode.stop is StopReason.SUCCESS
    assert episode.blueprint is not None and episode.blueprint.subgoals == demo.subgoals
    assert tuple(t.action for t in episode.turns if t.action) == demo.actions
    assert [s.stop for s in episode.segments[:-1]] == [StopReason.SUB_DONE] * (len(demo.subgoals) - 1)
    assert episode.env_steps == len(demo.actions) and episode.calls == len(episode.turns)
    assert episode.env_return == pytest.approx(sum(t.reward for t in episode.turns))


def test_turns_point_at_their_own_tokens(tokenizer: Any, chat: ChatFormat) -> None:
    env = make_env("toy", doors=1)
    collector = _collector(tokenizer, chat, _planner_or("<action>wait</action>"))
    episode = collector.run([_job(env, env.tasks("train")[0])])[0]
    for turn in episode.turns:
        context = episode.contexts[turn.context]
        assert context.sampled[turn.start : turn.end].all()
        assert chat.decode(context.ids[turn.start : turn.end].tolist()) == turn.text
    assert sum(int(c.sampled.sum()) for c in episode.contexts) == episode.tokens


def test_bad_answers_cost_their_penalty_and_never_crash(tokenizer: Any, chat: ChatFormat) -> None:
    env = make_env("toy", doors=1)
    cfg = AgentConfig(invalid_penalty=(0.25, 0.0), malformed_penalty=0.2)  # of a success worth 10
    collector = _collector(tokenizer, chat, lambda _: "gibberish", cfg=cfg)
    episode = collector.run([_job(env, env.tasks("train")[0])])[0]
    assert episode.stop is StopReason.MAX_STEPS and episode.env_steps == 0
    assert episode.blueprint is not None and episode.blueprint.malformed
    assert episode.penalty == pytest.approx(2.0 + 8 * 0.25)


@pytest.mark.parametrize(
    ("answer", "penalty", "unreadable", "inadmissible"),
    [("gibberish", (0.25, 0.0), 8, 0), ("<action>go to nowhere</action>", (0.25, 0.0), 0, 8),
     ("<action>go to nowhere</action>", (0.25, 0.5), 0, 8), ("<action>go to nowhere</action>", (0.0, 0.5), 0, 8)],
)  # fmt: skip
def test_what_cannot_be_read_and_what_is_not_admissible_cost_their_own(
    tokenizer: Any,
    chat: ChatFormat,
    answer: str,
    penalty: tuple[float, float],
    unreadable: int,
    inadmissible: int,
) -> None:
    env = make_env("toy", doors=1)
    collector = _collector(tokenizer, chat, _planner_or(answer), cfg=AgentConfig(invalid_penalty=penalty))
    episode = collector.run([_job(env, env.tasks("train")[0])])[0]
    assert sum(not turn.readable for turn in episode.turns) == unreadable
    assert sum(not turn.admissible for turn in episode.turns) == inadmissible
    assert episode.penalty == pytest.approx(unreadable * penalty[0] + inadmissible * penalty[1])


def test_identical_blueprints_are_run_once_and_share_the_return(tokenizer: Any, chat: ChatFormat) -> None:
    env = make_env("toy", doors=1)
    task = env.tasks("train")[0]
    collector = _collector(tokenizer, chat, _planner_or("<action>wait</action>"))
    engine = _scripted(collector)
    shared = collector.run([_job(env, task, replica=i) for i in range(4)], share_identical=True)
    assert engine.num_requests == 4 + (shared[0].calls - 1)
    assert [e.is_copy for e in shared] == [False, True, True, True]
    assert len({e.return_ for e in shared}) == 1 and [e.replica for e in shared] == [0, 1, 2, 3]
    alone = _collector(tokenizer, chat, _planner_or("<action>wait</action>")).run([_job(env, task)])[0]
    assert alone.return_ == shared[3].return_
    samples = to_samples(shared, [np.array([1.0] * len(e.turns), np.float32) for e in shared], role="planner")
    assert len(samples) == 4  # each its own blueprint


def test_nothing_is_generated_for_the_dead_and_the_pending_take_their_place(
    tokenizer: Any, chat: ChatFormat
) -> None:
    env = make_env("toy", doors=1)
    tasks = env.tasks("train")
    collector = _collector(tokenizer, chat, _planner_or("<action>wait</action>"), max_live=2)
    engine = _scripted(collector)
    jobs = [_job(env, tasks[i], max_steps=2 + i) for i in range(5)]
    episodes = collector.run(jobs)
    assert engine.num_requests == sum(e.calls for e in episodes)
    assert [e.task.index for e in episodes] == [0, 1, 2, 3, 4]
    assert len(collector._idle_envs) == 2


class _SlowFor(InRounds):
    """Answers at once, but the first request only when so many others have been answered."""

    def __init__(self, engine: ScriptedEngine, answers: int) -> None:
        super().__init__(engine)
        self.left, self.order, self._slow = answers, [], None

    def step(self) -> list[tuple[int, Completion]]:
        done = super().step()
        if self._slow is None:
            self._slow, *done = done
        self.left -= len(done)
        if self.left <= 0 and self._slow not in self.order:
            done.append(self._slow)
        self.order += done
        return done


def test_nobody_waits_for_the_slowest_answer(tokenizer: Any, chat: ChatFormat) -> None:
    env = make_env("toy", doors=1)
    scripted = ScriptedEngine(tokenizer, _planner_or("<action>wait</action>"), end_id=tokenizer.eos_token_id)
    slow = _SlowFor(scripted, answers=8)
    runner = EpisodeRunner(lambda: make_env("toy", doors=1), slow, chat=chat, cfg=AgentConfig())
    episodes = runner.run([_job(env, env.tasks("train")[i], max_steps=3) for i in range(3)])
    # two episodes of a plan and three actions each are over before the third one's plan is there
    assert [ticket for ticket, _ in slow.order][8] == 1 and episodes[0].calls == 4
    wanted = _collector(tokenizer, chat, _planner_or("<action>wait</action>"))
    assert [e.return_ for e in episodes] == [
        e.return_ for e in wanted.run([_job(env, env.tasks("train")[i], max_steps=3) for i in range(3)])
    ]


def test_an_interrupted_collection_leaves_nothing_under_way(tokenizer: Any, chat: ChatFormat) -> None:
    env = make_env("toy", doors=1)
    collector = _collector(tokenizer, chat, _planner_or("<action>wait</action>"))
    jobs = [_job(env, env.tasks("train")[i]) for i in range(3)]

    def stop(_: Episode) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collector.run(jobs, keep=stop)
    assert collector._engine.step() == []


class _Failing:
    """A toy world that breaks on its second step."""

    def __init__(self) -> None:
        self._inner = make_env("toy", doors=1)
        self.spec = self._inner.spec
        self._steps = 0

    def tasks(self, split: str) -> Any:
        return self._inner.tasks(split)

    def reset(self, task: Task, *, seed: int = 0) -> Observation:
        self._steps = 0
        return self._inner.reset(task, seed=seed)

    def step(self, action: str) -> StepResult:
        self._steps += 1
        if self._steps == 2:
            raise RuntimeError("the world broke")
        return self._inner.step(action)

    def close(self) -> None:
        self._inner.close()


def test_a_failing_world_ends_its_episode_and_keeps_the_traceback(tokenizer: Any, chat: ChatFormat) -> None:
    env = make_env("toy", doors=1)
    collector = _collector(tokenizer, chat, _planner_or("<action>wait</action>"), make_env=_Failing)
    episodes = collector.run([_job(env, env.tasks("train")[i]) for i in range(2)])
    assert [e.stop for e in episodes] == [StopReason.ENV_ERROR] * 2
    assert "the world broke" in episodes[0].error and episodes[0].env_steps == 1


def test_a_prompt_that_cannot_fit_ends_its_episode(tokenizer: Any, chat: ChatFormat) -> None:
    env = make_env("toy", doors=1)
    collector = _collector(tokenizer, chat, _planner_or("<action>wait</action>"), max_prompt=20)
    episode = collector.run([_job(env, env.tasks("train")[0])])[0]
    assert episode.stop is StopReason.PROMPT_TOO_LONG and episode.calls == 0


def test_samples_train_the_asked_role_alone_and_weigh_episodes_alike(
    tokenizer: Any, chat: ChatFormat
) -> None:
    env = make_env("toy", doors=1)
    task = env.tasks("train")[0]
    collector = _collector(tokenizer, chat, _planner_or("<action>wait</action>"))
    group = collector.run([_job(env, task, replica=i, max_steps=3 + 4 * i) for i in range(3)])
    check_estimator(GroupRelative(), [group], "executor")
    ones = [np.where([t.role == "executor" for t in e.turns], 1.0, np.nan).astype(np.float32) for e in group]
    samples = to_samples(group, ones, role="executor")
    assert sum(float(s.weights.sum()) for s in samples) == pytest.approx(1.0, rel=1e-5)
    plan_ids = {tuple(e.contexts[0].ids.tolist()) for e in group}
    assert all(tuple(s.ids.tolist()) not in plan_ids for s in samples)
    per_episode, at = [], 0
    for episode in group:
        count = len({t.context for t in episode.turns if t.role == "executor"})
        per_episode.append(sum(float(s.weights.sum()) for s in samples[at : at + count]))
        at += count
    np.testing.assert_allclose(per_episode, [1 / 3] * 3, rtol=1e-5)
