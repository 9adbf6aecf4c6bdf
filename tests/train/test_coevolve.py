"""The loop: what each phase takes from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from looping import Rows, iterate

from himac.config import Config, override
from himac.rollout.phases import phases_of
from himac.train.components import Components
from himac.types import PhaseSpec


@pytest.mark.parametrize(("given", "taken"), [(0, 3), (1, 1)])
def test_phase_a_may_take_fewer_steps_than_phase_b(
    toy_config: Config, start: Path, given: int, taken: int
) -> None:
    algo = {"minibatches": 3, "planner_minibatches": given, "planner_epochs": 2}
    parts = Components(override(toy_config, algo=algo), start)
    parts.policy.freeze_reference()
    learner = parts.learner()
    asked: list[tuple[int, int]] = []
    update = learner.update

    def noting(samples: Any, phase: PhaseSpec, **more: Any) -> Any:
        asked.append((phase.epochs, phase.minibatches))
        return update(samples, phase, **more)

    learner.update = noting  # type: ignore[method-assign]
    iterate(parts, learner, Rows())
    assert asked == [(2, taken), (1, 3)]


def test_the_time_of_an_evaluation_is_not_a_phase_s(toy_config: Config, start: Path) -> None:
    parts = Components(toy_config, start)
    parts.policy.freeze_reference()
    log = Rows()
    parts.collector.runner.clock.generate_s += 1000.0
    iterate(parts, parts.learner(), log)
    assert [row["phase"] for row in log.rows] == ["planner", "executor"]
    assert all(0 < row["generate_s"] < 500 for row in log.rows)


def test_joint_training_has_the_temperatures_and_the_steps_of_the_two_phases() -> None:
    config = override(
        Config(),
        algo={"minibatches": 4, "planner_minibatches": 1, "planner_epochs": 2},
        rollout={"temperature": 0.7, "planner_temperature": 1.0},
    )
    two = phases_of(config.algo, config.rollout, plans=True)
    (joint,) = phases_of(override(config, algo={"coevolution": False}).algo, config.rollout, plans=True)
    for phase in two:
        for role in phase.roles:
            assert joint.temperature_of(role) == phase.temperature_of(role)
    assert joint.epochs * joint.minibatches == sum(p.epochs * p.minibatches for p in two) == 6
