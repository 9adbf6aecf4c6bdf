"""Who is greedy, who samples, which blueprint is best, which tasks come next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from himac.rollout.phases import TaskStream, best_blueprint, choose
from himac.types import Blueprint, Context, Episode, StopReason, Task, Turn

TASK = Task(env="toy", split="train", index=0)


def _episode(replica: int, *, ret: float, steps: int = 5, logp: float = -1.0) -> Episode:
    context = Context(
        ids=np.arange(3, dtype=np.int32), sampled=np.array([False, True, True]), logps=np.array([0, logp / 2, logp / 2], np.float32)
    )  # fmt: skip
    return Episode(
        task=TASK, replica=replica, instruction="", blueprint=Blueprint(subgoals=(f"plan {replica}",)),
        planning=Turn(role="planner", context=0, start=1, end=3, text=""), segments=(), contexts=(context,),
        env_return=ret, penalty=0.0, success=ret > 0, score=0.0, stop=StopReason.MAX_STEPS, env_steps=steps,
        calls=1, tokens=2,
    )  # fmt: skip


def test_the_best_blueprint_has_the_highest_return() -> None:
    assert best_blueprint([_episode(0, ret=1), _episode(1, ret=3), _episode(2, ret=2)]) == 1


def test_ties_go_to_fewer_steps_then_to_the_likelier_plan() -> None:
    same = [_episode(0, ret=1, steps=9), _episode(1, ret=1, steps=4), _episode(2, ret=1, steps=4, logp=-0.2)]
    assert best_blueprint(same[:2]) == 1
    assert best_blueprint(same) == 2


def test_penalties_count_in_the_choice() -> None:
    fined = replace(_episode(0, ret=2), penalty=1.5)
    assert best_blueprint([fined, _episode(1, ret=1)]) == 1


def test_random_selection_is_seeded_and_reaches_every_place() -> None:
    group = [_episode(i, ret=float(i == 0)) for i in range(4)]
    picks = [choose([group] * 30, select="random", seed=seed) for seed in (1, 1, 2)]
    assert picks[0] == picks[1] != picks[2]
    assert set(picks[0]) == {0, 1, 2, 3}


def test_the_task_stream_covers_the_split_before_it_repeats_and_can_start_anywhere() -> None:
    tasks = [Task(env="toy", split="train", index=i) for i in range(5)]
    endless = TaskStream(tasks=tasks, seed=3)
    stream = [t.index for t in endless.at(0, 15)]
    assert sorted(stream[:5]) == sorted(stream[5:10]) == [0, 1, 2, 3, 4]
    assert stream[:5] != stream[5:10] or stream[5:10] != stream[10:]
    assert [t.index for t in endless.at(7, 4)] == stream[7:11]
