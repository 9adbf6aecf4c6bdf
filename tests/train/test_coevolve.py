"""The loop: what each phase takes from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from looping import Rows, iterate

from himac.config import BudgetConfig, Config, override
from himac.learner.checkpoint import TrainState
from himac.rollout.phases import phases_of
from himac.train.components import Components
from himac.types import PhaseSpec


def test_each_phase_takes_the_steps_that_it_is_given(toy_config: Config, start: Path) -> None:
    algo = {"minibatches": (1, 3), "epochs": (2, 1)}
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
    assert asked == [(2, 1), (1, 3)]


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
        algo={"minibatches": (1, 4), "epochs": (2, 1)},
        rollout={"temperature": 0.7, "planner_temperature": 1.0},
    )
    two = phases_of(config.algo, config.rollout, plans=True)
    (joint,) = phases_of(override(config, algo={"coevolution": False}).algo, config.rollout, plans=True)
    for phase in two:
        for role in phase.roles:
            assert joint.temperature_of(role) == phase.temperature_of(role)
    assert joint.epochs * joint.minibatches == sum(p.epochs * p.minibatches for p in two) == 6


def test_every_budget_ends_a_run_and_all_but_time_shape_its_schedule() -> None:
    state = TrainState(
        iteration=1, env_steps=10, tokens=20, processed_tokens=30, train_s=61.0, processor_s=5.0
    )
    for key, spent in (("env_steps", 10), ("tokens", 20), ("processed_tokens", 30)):
        assert state.done(9, BudgetConfig(**{key: spent})) and not state.done(
            9, BudgetConfig(**{key: spent + 1})
        )
        assert state.spent(9, BudgetConfig(**{key: 2 * spent})) == 0.5
    assert state.out_of_time(BudgetConfig(minutes=1.0)) and not state.out_of_time(BudgetConfig(minutes=1.1))
    assert state.out_of_time(BudgetConfig(processor_s=5.0)) and not state.out_of_time(
        BudgetConfig(processor_s=6.0)
    )
    assert not state.out_of_time(BudgetConfig()) and state.done(1, BudgetConfig())


def test_what_is_read_counts_once_a_context_and_a_copy_s_plan_alone(toy_config: Config, start: Path) -> None:
    parts = Components(toy_config, start)
    parts.policy.freeze_reference()
    groups: list[Any] = []
    collect = parts.collector.collect
    parts.collector.collect = lambda *args, **more: groups.extend(found := collect(*args, **more)) or found  # type: ignore
    state = parts.loop(parts.learner(), log=Rows(), outside=Rows()).iterate(TrainState())
    episodes = [episode for group in groups for episode in group]
    whole = sum(len(c.ids) for e in episodes if not e.is_copy for c in e.contexts)
    plans = sum(len(e.contexts[0].ids) for e in episodes if e.is_copy)
    assert state.processed_tokens == whole + plans > state.tokens > 0 and state.processor_s > 0
