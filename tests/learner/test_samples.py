"""What the learner is given, written out: tokens, masks, advantages and weights of one small episode.

contexts[0]  <plan prompt> [1. key 2. door]                        the planner's turn
contexts[1]  <task, blueprint, seen> [go east] <seen> [take key]   two turns of the executor
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from himac.learner.samples import to_samples
from himac.types import Blueprint, Context, Episode, Segment, StopReason, Task, Turn

NAN = float("nan")
PLAN_PROMPT, PLAN = [1, 2, 3], [10, 11]
ACT_PROMPT, GO, SEEN, TAKE = [1, 4], [20, 21], [5, 6], [22]


def _context(*parts: tuple[list[int], bool]) -> Context:
    ids = [token for tokens, _ in parts for token in tokens]
    sampled = [said for tokens, said in parts for _ in tokens]
    logps = np.where(sampled, -0.5, 0.0).astype(np.float32)
    return Context(ids=np.array(ids, np.int32), sampled=np.array(sampled), logps=logps)


EPISODE = Episode(
    task=Task(env="toy", split="train", index=0),
    replica=0,
    instruction="",
    blueprint=Blueprint(subgoals=("key", "door")),
    planning=Turn(role="planner", context=0, start=3, end=5, text="1. key 2. door"),
    segments=(
        Segment(
            index=0,
            subgoal="key",
            turns=(
                Turn(role="executor", context=1, start=2, end=4, text="go east", action="go east"),
                Turn(role="executor", context=1, start=6, end=7, text="take key", action="take key"),
            ),
            stop=StopReason.EPISODE_END,
        ),
    ),
    contexts=(
        _context((PLAN_PROMPT, False), (PLAN, True)),
        _context((ACT_PROMPT, False), (GO, True), (SEEN, False), (TAKE, True), ([7, 8], False)),
    ),
    env_return=1.0,
    penalty=0.0,
    success=True,
    score=1.0,
    stop=StopReason.SUCCESS,
    env_steps=2,
    calls=3,
    tokens=5,
)


def test_the_planner_s_sample_is_its_own_context_and_its_blueprint_is_trained() -> None:
    (sample,) = to_samples([EPISODE], [np.array([2.0, NAN, NAN], np.float32)], role="planner")
    assert sample.ids.tolist() == [1, 2, 3, 10, 11]
    assert sample.mask.tolist() == [False, False, False, True, True]
    assert sample.advantages.tolist() == [0, 0, 0, 2.0, 2.0]
    assert sample.weights.tolist() == [0, 0, 0, 0.5, 0.5]
    assert sample.logps.tolist() == [0, 0, 0, -0.5, -0.5]
    assert sample.role == "planner" and sample.targets is None


def test_the_executor_s_sample_trains_each_turn_with_its_own_advantage_and_ends_with_the_last() -> None:
    (sample,) = to_samples([EPISODE], [np.array([NAN, 1.0, -1.0], np.float32)], role="executor")
    assert sample.ids.tolist() == [1, 4, 20, 21, 5, 6, 22]  # what the world said last is not needed
    assert sample.mask.tolist() == [False, False, True, True, False, False, True]
    assert sample.advantages.tolist() == [0, 0, 1.0, 1.0, 0, 0, -1.0]
    np.testing.assert_allclose(sample.weights, [0, 0, 1 / 3, 1 / 3, 0, 0, 1 / 3], rtol=1e-6)


def test_a_turn_without_an_advantage_is_read_and_not_trained() -> None:
    (sample,) = to_samples([EPISODE], [np.array([NAN, NAN, 3.0], np.float32)], role="executor")
    assert sample.mask.tolist() == [False, False, False, False, False, False, True]


def test_a_copy_trains_its_own_blueprint_and_not_the_execution_it_shares() -> None:
    copy = replace(EPISODE, is_copy=True)
    both = [np.array([1.0, 1.0, 1.0], np.float32)] * 2
    assert len(to_samples([EPISODE, copy], both, role="planner")) == 2
    assert len(to_samples([EPISODE, copy], both, role="executor")) == 1


def test_with_a_critic_the_target_stands_at_the_last_token_before_each_turn() -> None:
    advantages = [np.array([NAN, 1.0, -1.0], np.float32)]
    targets = [np.array([NAN, 5.0, 7.0], np.float32)]
    (sample,) = to_samples([EPISODE], advantages, role="executor", targets=targets)
    assert sample.targets is not None
    np.testing.assert_array_equal(sample.targets, [NAN, 5.0, NAN, NAN, NAN, 7.0, NAN])
