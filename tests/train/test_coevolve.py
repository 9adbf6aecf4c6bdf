"""The loop: what each phase takes from the settings."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looping import Groups, Rows, iterate

from himac.agents.grammar import read_blueprint, subgoal_lines, write_blueprint
from himac.config import BudgetConfig, Config, override
from himac.engines.base import InRounds
from himac.engines.transformers import TransformersEngine
from himac.errors import ConfigError
from himac.learner.checkpoint import TrainState
from himac.rollout.phases import judged, judges_of, phases_of
from himac.runs.episodes import episode_row, read_episode
from himac.testing import ScriptedEngine
from himac.train.checks import check
from himac.train.components import Components
from himac.types import Blueprint, Episode, PhaseSpec, StopReason, Task, Turn


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


def test_a_blueprint_s_return_is_the_mean_of_its_executions_and_its_plan_s_own_penalty() -> None:
    """By hand: executions 10 - 0.1, 0 and 4, so 13.9 / 3; the malformed one of the two peers pays 0.5 more."""
    task = Task(env="toy", split="train", index=0)
    plan = Blueprint(subgoals=("a",))

    def ran(env_return: float, penalty: float, form: float = 0.0, **more: Any) -> Episode:
        turn = Turn(role="planner", context=0, start=0, end=1, text="", penalty=form)
        return Episode(
            task=task, replica=0, instruction="", blueprint=plan, planning=turn, segments=(), contexts=(),
            env_return=env_return, penalty=penalty, success=False, score=0.0, stop=StopReason.MAX_STEPS, env_steps=1,
            calls=1, tokens=1, **more,
        )  # fmt: skip

    group = [ran(10.0, 0.1), ran(10.0, 0.6, form=0.5, is_copy=True), ran(0.0, 0.0, error="broken")]
    group[2] = replace(group[2], stop=StopReason.ENV_ERROR)
    phase = PhaseSpec(name="planner", roles=("planner",), temperature=1.0, judge=(3, 0.4))
    asked = judges_of(phase, [group])
    assert asked is not None and asked[1] == [(task, plan)]
    assert (asked[0].size, asked[0].temperature, asked[0].roles) == (2, 0.4, ("executor",))
    executions = [[replace(ran(r, 0.0), planning=None) for r in (0.0, 4.0)]]
    ((one, two, broken),) = judged([group], executions, asked[1])
    assert one.return_ == pytest.approx(13.9 / 3) and two.return_ == pytest.approx(13.9 / 3 - 0.5)
    assert broken.judged is None
    assert judges_of(replace(phase, judge=(1, 0.4)), [group]) is None
    assert judges_of(replace(phase, roles=("planner", "executor")), [group]) is None


def test_the_cache_is_given_back_before_the_learner_learns(toy_config: Config, start: Path) -> None:
    parts = Components(override(toy_config, engine={"max_kv_tokens": 8192}), start)
    parts.policy.freeze_reference()
    learner, log, slots = parts.learner(), Groups(), []
    engine = parts.engine
    assert isinstance(engine, TransformersEngine) and engine.max_kv_tokens == 8192
    update = learner.update

    def noting(*args: Any, **more: Any) -> dict[str, float]:
        slots.append(engine._store.num_slots)
        return update(*args, **more)

    learner.update = noting  # type: ignore[method-assign]
    parts.loop(learner, log=log, outside=log).iterate(TrainState())
    assert slots == [0, 0]


def test_an_engine_refuses_settings_that_it_does_not_take(toy_config: Config, start: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'engine.max_kv'; known: .*max_kv_tokens"):
        Components(override(toy_config, engine={"max_kv": 1}), start)


def test_sampled_judges_are_run_and_paid_for(toy_config: Config, start: Path) -> None:
    config = override(toy_config, rollout={"judge": (3, 0.7)})
    parts = Components(config, start)
    parts.policy.freeze_reference()
    collected: list[tuple[PhaseSpec, list[Any]]] = []
    collect = parts.collector.collect

    def noting(phase: PhaseSpec, *args: Any, **more: Any) -> Any:
        collected.append((phase, found := collect(phase, *args, **more)))
        return found

    parts.collector.collect = noting  # type: ignore[method-assign]
    log = Groups()
    state = parts.loop(parts.learner(), log=log, outside=log).iterate(TrainState())
    (planning, first), (judging, executions), (acting, _) = collected
    assert [planning.name, judging.name, acting.name] == ["planner", "judge", "executor"]
    assert all(len(group) == 2 for group in executions)
    plans = {(e.task, e.blueprint.subgoals) for group in first for e in group}
    assert {(g[0].task, g[0].blueprint.subgoals) for g in executions} == plans and len(executions) == len(
        plans
    )
    for group in log.groups[0]:
        for episode in group:
            (judges,) = (
                g for g in executions if (g[0].task, g[0].blueprint) == (episode.task, episode.blueprint)
            )
            expected = np.mean([episode.executed, *(e.return_ for e in judges)])
            assert episode.judged == pytest.approx(expected)
            assert (
                read_episode(json.loads(json.dumps(episode_row(episode, advantages=None)))).judged
                == episode.judged
            )
    everything = [e for _, groups in collected for group in groups for e in group]
    assert state.tokens == sum(e.tokens for e in everything)
    assert state.env_steps == sum(e.env_steps for e in everything if not e.is_copy)


def test_a_judge_that_would_say_the_same_again_is_refused(toy_config: Config) -> None:
    with pytest.raises(ConfigError, match=r"rollout.judge = \[3, 0.0\] runs a greedy execution 3 times over"):
        check(override(toy_config, rollout={"judge": (3, 0.0)}))


def test_what_a_line_is_worth_is_what_is_lost_without_it(toy_config: Config, start: Path) -> None:
    """The loop runs every z* without each of its lines, and each line's tokens learn from the difference alone."""
    settings = {"estimator": "deletion", "estimator_settings": {"base": "group_mean"}}
    parts = Components(override(toy_config, algo=settings), start)
    parts.policy.freeze_reference()
    plans = itertools.cycle(["good, bad", "bad, good, bad", "good, good, bad"])

    def answer(prompt: str) -> str:
        if "You plan." in prompt:
            return write_blueprint(next(plans).split(", "))
        return "gibberish" if "Current sub-goal: bad" in prompt else "<sub_done>"

    parts.collector.runner._engine = InRounds(ScriptedEngine(parts.chat.tokenizer, answer))
    collected: list[tuple[PhaseSpec, list[Any]]] = []
    collect, taught = parts.collector.collect, list[Any]()

    def noting(phase: PhaseSpec, *args: Any, **more: Any) -> Any:
        collected.append((phase, found := collect(phase, *args, **more)))
        return found

    parts.collector.collect = noting  # type: ignore[method-assign]
    learner, log = parts.learner(), Groups()
    update = learner.update
    learner.update = lambda samples, *a, **k: taught.append(samples) or update(samples, *a, **k)  # type: ignore
    parts.loop(learner, log=log, outside=log).iterate(TrainState())
    (_, first), (deleting, executions), _ = collected
    assert (deleting.name, deleting.roles) == ("deletion", ())
    returns = {(g[0].task, g[0].blueprint.subgoals): g[0].return_ for g in executions}
    stars = [e for group in log.groups[0] for e in group if e.worth]
    assert len(stars) == len(first) == 3
    assert {star.worth[0] for star in stars} == {0.0} and all(star.worth[-1] < 0 for star in stars)
    for star in stars:
        goals = star.blueprint.subgoals
        for k, worth in enumerate(star.worth):
            assert worth == pytest.approx(star.return_ - returns[star.task, goals[:k] + goals[k + 1 :]])
        sample = next(s for s in taught[0] if np.array_equal(s.ids, star.contexts[0].ids[: len(s.ids)]))
        lines = parts.chat.decode(sample.ids[sample.mask].tolist()).split("\n")
        line_T = parts.chat.line_of(sample.ids[sample.mask].tolist())
        for line, worth in zip(subgoal_lines(star.planning.text), star.worth, strict=False):
            assert lines[line].strip() and set(sample.advantages[sample.mask][line_T == line]) == {
                np.float32(worth)
            }


def test_every_plan_of_an_episode_is_trained_with_the_episode_s_advantage(
    toy_config: Config, start: Path
) -> None:
    """Phase A samples first and later plans alike; none of them is the executor's to learn from."""
    config = override(
        toy_config, algo={"method": "himac-replan"}, agent={"subgoal_turns": 2, "max_subgoals": 3}
    )
    parts = Components(config, start)
    parts.policy.freeze_reference()
    plans = itertools.cycle(["wait", "look, wait", "go, wait, look"])

    def answer(prompt: str) -> str:
        return write_blueprint(next(plans).split(", ")) if "You plan." in prompt else "gibberish"

    parts.collector.runner._engine = InRounds(ScriptedEngine(parts.chat.tokenizer, answer))
    taught = list[Any]()
    learner, log = parts.learner(), Groups()
    update = learner.update
    learner.update = lambda samples, phase, **k: taught.append(samples) or update(samples, phase, **k)  # type: ignore
    parts.loop(learner, log=log, outside=log).iterate(TrainState())
    first, second = log.groups
    for group in first:
        assert not any(episode.is_copy for episode in group)  # one first plan is not one execution
        for episode in group:
            later = [t for s in episode.segments for t in s.turns if t.role == "planner"]
            assert later and all(turn.readable and turn.action is None for turn in later)
            assert episode.blueprint.subgoals == tuple(
                read_blueprint(episode.planning.text, fallback="", max_subgoals=3).subgoals
            )
    written = sum(t.role == "planner" for group in first for e in group for t in e.turns)
    roles = [{s.role for s in samples} for samples in taught]
    assert roles == [{"planner"}, {"executor"}] and len(taught[0]) == written
    assert all(len({float(a) for a in s.advantages[s.mask]}) == 1 for s in taught[0])
    given = {group[0].task: group[0].blueprint for group in second}
    assert all(given[group[0].task] in [e.blueprint for e in group] for group in first)


def test_a_second_plan_does_not_go_with_one_growing_context(toy_config: Config) -> None:
    with pytest.raises(ConfigError, match=r"cannot have agent\.context = 'full'"):
        check(override(toy_config, algo={"method": "himac-replan"}, agent={"context": "full"}))


def test_what_compares_blueprints_line_by_line_needs_one_plan_an_episode(toy_config: Config) -> None:
    for estimator in ("subgoal", "deletion"):
        with pytest.raises(ConfigError, match="needs a method that plans once"):
            check(override(toy_config, algo={"method": "himac-replan", "estimator": estimator}))
