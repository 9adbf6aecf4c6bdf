"""Credit by deletion against numbers by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from himac.algo.estimators import make_estimator, needs
from himac.config import load_config
from himac.errors import ConfigError
from himac.rollout.phases import deletions_of, with_worth
from himac.train.checks import check
from himac.types import Blueprint, Context, Episode, PhaseSpec, StopReason, Task, Turn

TASK = Task(env="toy", split="train", index=0)
PHASE = PhaseSpec(name="planner", roles=("planner",), temperature=1.0)


def _ran(goals: tuple[str, ...], env_return: float, **more: Any) -> Episode:
    turn = Turn(role="planner", context=0, start=0, end=1, text="")
    context = Context(ids=np.zeros(1, np.int32), sampled=np.ones(1, bool), logps=np.zeros(1, np.float32))
    return Episode(
        task=TASK, replica=0, instruction="", blueprint=Blueprint(subgoals=goals, **more), planning=turn, segments=(),
        contexts=(context,), env_return=env_return, penalty=0.0, success=env_return > 0, score=0.0,
        stop=StopReason.MAX_STEPS, env_steps=1, calls=1, tokens=1,
    )  # fmt: skip


GROUP = [_ran(("a",), 0.0), _ran(("a", "b", "b"), 10.0), _ran(("c",), 0.0), _ran(("c",), 0.0)]


def test_z_star_is_run_without_each_of_its_lines_and_equal_plans_once() -> None:
    how, pairs = deletions_of(PHASE, [GROUP])
    assert (how.roles, how.size) == ((), 1)
    assert [blueprint.subgoals for _, blueprint in pairs] == [
        ("b", "b"),
        ("a", "b"),
    ]  # either b: the same plan
    sampled, _ = deletions_of(
        PhaseSpec(name="planner", roles=("planner",), temperature=1.0, judge=(3, 0.4)), [GROUP]
    )
    assert (sampled.roles, sampled.size, sampled.temperature) == (("executor",), 3, 0.4)
    malformed = [_ran(("the task",), 1.0, malformed=True)]
    assert deletions_of(PHASE, [malformed])[1] == []


def test_lines_get_what_is_lost_without_them_and_nothing_else_changes() -> None:
    """Without a: 0, so it is worth 10. Without either b: still 10, so both are worth 0, though z* is 7.5 above the mean."""
    _, pairs = deletions_of(PHASE, [GROUP])
    (group,) = with_worth([GROUP], [[_ran(("b", "b"), 0.0)], [_ran(("a", "b"), 10.0)]], pairs)
    assert [e.worth for e in group] == [(), (10.0, 0.0, 0.0), (), ()]
    mean = make_estimator("deletion", {"base": "group_mean"})
    assert [float(row[0]) for row in mean([group], "planner")[0]] == [-2.5, 7.5, -2.5, -2.5]
    nothing, star, *_ = mean.lines(group)  # type: ignore[attr-defined]
    assert nothing is None and star.tolist() == [10.0, 0.0, 0.0]
    relative = make_estimator("deletion").lines(group)[1]  # type: ignore[attr-defined]
    scale = np.std([0.0, 10.0, 0.0, 0.0, 0.0, 10.0, 10.0])
    assert relative.tolist() == pytest.approx([10.0 / scale, 0.0, 0.0], rel=1e-5)


def test_a_group_without_variance_still_learns_which_lines_matter() -> None:
    same = [_ran(("a", "b"), 10.0), _ran(("a", "b"), 10.0)]
    _, pairs = deletions_of(PHASE, [same])
    (group,) = with_worth([same], [[_ran(("b",), 0.0)], [_ran(("a",), 10.0)]], pairs)
    lines = make_estimator("deletion").lines(group)[0]  # type: ignore[attr-defined]
    assert lines[0] == pytest.approx(10.0 / np.std([10.0, 10.0, 0.0, 10.0]), rel=1e-5) and lines[1] == 0.0


def test_it_needs_a_planner_and_two_phases() -> None:
    assert needs(make_estimator("deletion"), "deletions") and not needs(
        make_estimator("subgoal"), "deletions"
    )
    words = ["env=toy", "algo.estimator=deletion"]
    check(load_config(None, words))
    for more in ("method=flat", "algo.coevolution=false"):
        with pytest.raises(ConfigError, match="needs a method that plans once"):
            check(load_config(None, [*words, more]))
