"""Evaluating ReAct and Reflexion: trials, what they cost, what is reported, and going on after an interruption."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from himac.agents.reflexion import notes_of
from himac.chat import MessageFormat
from himac.config import Config, load_config
from himac.envs.base import make_env, make_expert
from himac.errors import ConfigError, EndpointError
from himac.report.tables import evaluation_table
from himac.rollout.collect import EpisodeRunner
from himac.rollout.evaluate import evaluate
from himac.rollout.phases import LocalCollector
from himac.rollout.summary import best_of, conclude
from himac.runs.episodes import episode_row
from himac.testing import ScriptedEngine
from himac.train.components import agent_class, trials_of
from himac.types import Episode, Task

ENV = make_env("toy", doors=1)
TASKS = ENV.tasks("val")[:4]
NOTE = "Take the key of the treasure's door first."
MAX_STEPS = 8


def _plays() -> dict[str, tuple[int, tuple[str, ...]]]:
    """First observation -> (place of the task, the expert's actions)."""
    expert, found = make_expert("toy", ENV), {}
    for place, task in enumerate(TASKS):
        demo = expert.demonstrate(task, seed=0, noise=0.0)
        assert demo is not None and len(demo.actions) <= MAX_STEPS
        found[ENV.reset(task).text] = (place, demo.actions)
    return found


def _clever_after(trials: dict[int, int]) -> Callable[[str], str]:
    """A model that solves task `place` once it has read so many notes, and else waits."""
    plays = _plays()

    def answer(prompt: str) -> str:
        if "The attempt is over" in prompt:
            return NOTE
        _, _, talk = prompt.partition("(end of the example)")
        place, actions = next(plays[first] for first in plays if first in talk)
        step = talk.count("<action>")
        if talk.count(NOTE) < trials[place]:
            return "<think>hm</think><action>wait</action>"
        return f"<think>go</think><action>{actions[step]}</action>"

    return answer


def _config(method: str, *more: str) -> Config:
    return load_config(
        None, ["env=toy", "env.doors=1", f"method={method}", f"agent.max_steps={MAX_STEPS}", *more]
    )


def _collector(config: Config, engine: ScriptedEngine, **limits: int) -> LocalCollector:
    runner = EpisodeRunner(
        lambda: make_env("toy", doors=1), engine, chat=MessageFormat(), cfg=config.agent, max_prompt=100_000, **limits
    )  # fmt: skip
    return LocalCollector(
        runner,
        ENV.spec,
        agent_class(config),
        agent=config.agent,
        rollout=config.rollout,
        seed=config.run.seed,
    )


def _evaluate(
    config: Config, trials: dict[int, int], **more: Any
) -> tuple[dict[str, Any], list[Episode], ScriptedEngine]:
    engine = ScriptedEngine(None, _clever_after(trials))
    collector = _collector(config, engine)
    summary, episodes = evaluate(collector, TASKS, temperature=0.0, trials=trials_of(config), **more)
    return summary, episodes, engine


def test_react_tries_each_task_once() -> None:
    summary, episodes, _ = _evaluate(_config("react"), {0: 0, 1: 9, 2: 0, 3: 9})
    assert [e.success for e in episodes] == [True, False, True, False] and summary["success"] == 0.5
    assert "best_of" not in summary and all(e.replica == 0 for e in episodes)


def test_reflexion_tries_the_unsolved_again_with_its_notes_and_says_what_each_trial_brought() -> None:
    summary, episodes, _ = _evaluate(_config("reflexion"), {0: 0, 1: 1, 2: 2, 3: 9})
    assert [(e.replica, e.task.index, e.success) for e in episodes] == [
        (0, 0, True), (0, 1, False), (0, 2, False), (0, 3, False),
        (1, 1, True), (1, 2, False), (1, 3, False),
        (2, 2, True), (2, 3, False),
    ]  # fmt: skip
    assert [(row["best_of"], row["success"]) for row in summary["after_trial"]] == [
        (1, 0.25),
        (2, 0.5),
        (3, 0.75),
    ]
    assert (summary["best_of"], summary["success"], summary["episodes"]) == (3, 0.75, 4)
    assert summary["env_steps"] == sum(e.env_steps for e in episodes) / 4
    assert summary["tokens"] == sum(e.tokens for e in episodes) / 4
    assert summary["after_trial"][0]["env_steps"] == sum(e.env_steps for e in episodes[:4]) / 4
    assert summary["outcomes"] == {"index": [0, 1, 2, 3], "success": "1110"}
    of_task_3 = [e for e in episodes if e.task.index == 3]
    assert (
        notes_of(of_task_3[:2]) == (NOTE, NOTE) and notes_of(of_task_3[2:]) == ()
    )  # none after the last trial
    assert all(e.calls == MAX_STEPS + 1 for e in of_task_3[:2]) and of_task_3[2].calls == MAX_STEPS


def test_the_table_names_the_best_of_k() -> None:
    summary, _, _ = _evaluate(_config("reflexion", "eval.trials=2"), {0: 0, 1: 1, 2: 2, 3: 9})
    head, _, *rows = evaluation_table([{"split": "val", **summary}]).splitlines()
    assert "best of" in head
    assert [row.split("|")[1:5] for row in rows] == [[" val   ", " 1       ", " 4        ", " 0.250   "], [" val   ", " 2       ", " 4        ", " 0.500   "]]  # fmt: skip


def test_one_trial_of_reflexion_is_react() -> None:
    reflexion, _, _ = _evaluate(_config("reflexion", "eval.trials=1"), {0: 0, 1: 1, 2: 2, 3: 9})
    react, _, _ = _evaluate(_config("react"), {0: 0, 1: 1, 2: 2, 3: 9})
    assert {k: v for k, v in reflexion.items() if k != "seconds"} == {
        k: v for k, v in react.items() if k != "seconds"
    }


def test_what_is_known_is_not_run_again_and_the_rest_comes_out_the_same() -> None:
    config, trials = _config("reflexion"), {0: 0, 1: 1, 2: 2, 3: 9}
    whole, episodes, engine = _evaluate(config, trials)
    rows = [episode_row(e) for e in episodes]
    for count in (0, 2, 4, 5, 7, 9):
        summary, again, fresh = _evaluate(config, trials, known=episodes[:count])
        assert [episode_row(e) for e in again] == rows and {**summary, "seconds": 0} == {
            **whole,
            "seconds": 0,
        }
        assert fresh.num_requests == engine.num_requests - sum(e.calls for e in episodes[:count])


def test_an_interrupted_evaluation_reports_the_trials_that_were_completed() -> None:
    _, episodes, _ = _evaluate(_config("reflexion"), {0: 0, 1: 1, 2: 2, 3: 9})
    assert conclude(episodes[:3])["success"] == pytest.approx(
        1 / 3
    )  # within the first trial: the tasks it got to
    within_second = conclude(episodes[:5])
    assert (within_second["best_of"], within_second["success"], within_second["episodes"]) == (1, 0.25, 4)
    assert conclude(episodes[:7])["success"] == 0.5 and conclude([])["episodes"] == 0


def test_what_was_finished_is_kept_when_the_engine_gives_up() -> None:
    class Failing(ScriptedEngine):
        def generate(self, requests: Any) -> Any:
            if self.num_requests > 20:
                raise EndpointError("gone")
            return super().generate(requests)

    kept: list[Episode] = []
    engine = Failing(None, _clever_after(dict.fromkeys(range(4), 0)))
    collector = _collector(_config("react"), engine, max_live=1)
    with pytest.raises(EndpointError, match="gone"):
        evaluate(collector, TASKS, temperature=0.0, keep=kept.append)
    assert 0 < len(kept) < 4 and all(e.success for e in kept)


def test_the_best_of_several_trials_is_a_success_and_pays_for_all() -> None:
    _, episodes, _ = _evaluate(_config("reflexion"), {0: 0, 1: 1, 2: 2, 3: 9})
    trials = [e for e in episodes if e.task == Task(env="toy", split="val", index=2)]
    merged = best_of(trials)
    assert merged.success and merged.env_steps == sum(e.env_steps for e in trials)
    assert len(merged.turns) == sum(len(e.turns) for e in trials)
    assert best_of(trials[:1]) is trials[0]


def test_reflexion_needs_a_context_that_remembers() -> None:
    with pytest.raises(ConfigError, match="context must be"):
        _evaluate(_config("reflexion", "agent.context=step"), dict.fromkeys(range(4), 0))
