"""Phases do not leak, the KL is there for every trained token, and only episodes that ran are peers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from himac.algo.group import GroupRelative
from himac.config import AlgoConfig, ModelConfig, OptimizerConfig
from himac.learner.credit import CreditAssigner
from himac.learner.learner import Learner
from himac.learner.policy import ROLES, Policy
from himac.rollout.phases import best_blueprint
from himac.testing import random_groups, tiny_model
from himac.types import Episode, PhaseSpec, Role, Sample, StopReason

PLANNER = PhaseSpec(name="planner", roles=("planner",), temperature=1.0)
EXECUTOR = PhaseSpec(name="executor", roles=("executor",), temperature=1.0)
STILL = AlgoConfig(kl_coef=0.0)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    tiny_model(tmp_path / "model", ["a plan of two steps", "go east, take the key"])
    return Policy.load(tmp_path / "model", ModelConfig(), device=torch.device("cpu"))


def _samples(rng: np.random.Generator, role: Role, *, count: int = 8, signal: float = 1.0) -> list[Sample]:
    """Sequences of random tokens with advantages that have nothing to do with them."""
    found = []
    for _ in range(count):
        ids = rng.integers(10, 200, size=24).astype(np.int32)
        mask = np.arange(24) >= 12
        advantages = np.where(mask, signal * rng.normal(), 0).astype(np.float32)
        weights = np.where(mask, 1 / (12 * count), 0).astype(np.float32)
        found.append(
            Sample(
                ids=ids,
                mask=mask,
                logps=np.where(mask, -5.0, 0).astype(np.float32),
                advantages=advantages,
                weights=weights,
                role=role,
            )
        )
    return found  # fmt: skip


def _weights(policy: Policy) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in policy.trainable]).clone()


def _moved(learner: Learner, phase: PhaseSpec, rng: np.random.Generator, seed: int) -> torch.Tensor:
    """Return the step that a phase takes on random advantages."""
    before = _weights(learner.policy)
    learner.update(_samples(rng, phase.roles[0]), phase, seed=seed)
    return _weights(learner.policy) - before


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_phase_without_signal_changes_no_weight_after_ten_iterations_of_the_other(
    policy: Policy, optimizer: str
) -> None:
    cfg = OptimizerConfig(name=optimizer, lr=1e-3, weight_decay=0.0)  # type: ignore[arg-type]
    learner, rng = Learner(policy, cfg, STILL), np.random.default_rng(0)
    for seed in range(10):
        learner.update(_samples(rng, "planner"), PLANNER, seed=seed)
    before = _weights(policy)
    learner.update(_samples(rng, "executor", signal=0.0), EXECUTOR, seed=0)
    assert torch.equal(before, _weights(policy))
    learner.update(_samples(rng, "executor"), EXECUTOR, seed=0)
    assert not torch.equal(before, _weights(policy))


@pytest.mark.parametrize(("shared", "least", "most"), [(False, -0.15, 0.15), (True, 0.3, 1.0)])
def test_the_steps_of_phase_b_do_not_follow_those_of_phase_a(
    policy: Policy, shared: bool, least: float, most: float
) -> None:
    cfg = OptimizerConfig(lr=1e-4, weight_decay=0.0, shared_state=shared)
    learner, rng = Learner(policy, cfg, STILL), np.random.default_rng(1)
    cosines = []
    for seed in range(12):
        a, b = (_moved(learner, phase, rng, seed) for phase in (PLANNER, EXECUTOR))
        if seed >= 2:
            cosines.append(float(torch.nn.functional.cosine_similarity(a, b, dim=0)))
    assert least < float(np.mean(cosines)) < most, cosines


def test_warm_up_is_a_role_s_own_and_is_resumed(policy: Policy, tmp_path: Path) -> None:
    cfg = OptimizerConfig(lr=1e-3, warmup=4)
    learner, rng = Learner(policy, cfg, STILL), np.random.default_rng(2)
    for seed in range(3):
        learner.update(_samples(rng, "planner"), PLANNER, seed=seed)
    learner.update(_samples(rng, "executor"), EXECUTOR, seed=0)
    learner.save(tmp_path)
    again = Learner(policy, cfg, STILL)
    again.load(tmp_path)
    assert again._steps == {"planner": 3, "executor": 1} and again.version == 4


def test_the_kl_pulls_at_tokens_whose_group_had_no_signal(policy: Policy) -> None:
    policy.freeze_reference()
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for parameter in policy.trainable:
            parameter += 0.05 * torch.randn_like(parameter)
    learner = Learner(policy, OptimizerConfig(lr=1e-3), AlgoConfig(kl_coef=0.5))
    flat = _samples(rng, "planner", signal=0.0)
    first = learner.update(flat, PLANNER, seed=0)
    for seed in range(30):
        last = learner.update(flat, PLANNER, seed=seed)
    assert first["kl"] > 0.01 and last["kl"] < 0.7 * first["kl"]


def test_the_planner_s_kl_coefficient_is_its_own(policy: Policy) -> None:
    policy.freeze_reference()
    rng = np.random.default_rng(4)
    with torch.no_grad():
        for parameter in policy.trainable:
            parameter += 0.05 * torch.randn_like(parameter)
    learner = Learner(policy, OptimizerConfig(lr=1e-3), AlgoConfig(kl_coef=(0.0, 0.5)))
    before = _weights(policy)
    flat = _samples(rng, "planner", signal=0.0)
    learner.update(flat, replace(PLANNER, epochs=1), seed=0)
    assert torch.allclose(before, _weights(policy), atol=1e-4)  # weight decay alone
    learner.update([replace(s, role="executor") for s in flat], EXECUTOR, seed=0)
    assert not torch.allclose(before, _weights(policy), atol=1e-4)


def test_meters_are_means_over_trained_tokens_whatever_share_had_signal(policy: Policy) -> None:
    rng = np.random.default_rng(5)
    learner = Learner(policy, OptimizerConfig(lr=0.0), STILL)
    whole = _samples(rng, "executor")
    some = learner.update(whole[:2], EXECUTOR, seed=0)  # the others' groups had none: their weight is missing
    alone = learner.update([replace(s, weights=s.weights * 4) for s in whole[:2]], EXECUTOR, seed=0)
    assert some["entropy"] == pytest.approx(alone["entropy"], rel=1e-5) and some["entropy"] > 1.0
    assert some["clip"] == pytest.approx(alone["clip"], rel=1e-5)


def test_a_step_s_weight_is_right_with_fewer_samples_than_minibatches(policy: Policy) -> None:
    learner = Learner(policy, OptimizerConfig(lr=0.0, grad_clip=0.0), STILL)
    (sample,) = _samples(np.random.default_rng(6), "executor", count=1)
    one, many = (
        learner.update([sample], replace(EXECUTOR, minibatches=count), seed=0)["grad"] for count in (1, 8)
    )
    assert one == pytest.approx(many, rel=1e-6)


def test_a_step_may_be_asked_for_by_the_turns_that_it_learns_from(policy: Policy) -> None:
    learner = Learner(policy, OptimizerConfig(lr=0.0), STILL)
    two = np.isin(np.arange(24), [12, 13, 20, 21, 22])  # two turns of a sequence, the prompt between them
    samples = [replace(s, mask=two) for s in _samples(np.random.default_rng(7), "executor", count=8)]
    assert [s.num_turns for s in samples] == [2] * 8
    learner.update(samples, replace(EXECUTOR, minibatch_turns=4, minibatches=1), seed=0)
    assert learner.num_steps == 4
    learner.update(samples, replace(EXECUTOR, minibatch_turns=64, minibatches=5), seed=0)
    assert learner.num_steps == 5


def test_joint_training_judges_each_role_at_its_own_temperature(policy: Policy) -> None:
    """Old log-probabilities are those of each role's sampling: the learner's own must meet them."""
    rng = np.random.default_rng(8)
    joint = PhaseSpec(name="joint", roles=("planner", "executor"), temperature=0.7, planner_temperature=1.3)
    learner = Learner(policy, OptimizerConfig(lr=0.0), STILL)
    samples = [s for role in ROLES for s in _samples(rng, role, count=3)]
    told = [replace(s, logps=_logps_at(policy, s, joint.temperature_of(s.role))) for s in samples]
    assert learner.update(told, joint, seed=0)["gap_max"] < 1e-5
    alike = replace(joint, planner_temperature=None)
    assert learner.update(told, alike, seed=0)["gap_max"] > 0.05


def _logps_at(policy: Policy, sample: Sample, temperature: float) -> np.ndarray:
    """(T,) log-probabilities of a sequence's tokens by a plain forward pass."""
    ids = torch.as_tensor(sample.ids[None].astype(np.int64))
    with torch.no_grad():
        logits = policy.model.eval()(input_ids=ids).logits[0, :-1].float() / temperature
    logps = logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0].numpy()
    return np.concatenate([[0.0], logps]).astype(np.float32)


def _broken(episode: Episode, stop: StopReason, value: float = 99.0) -> Episode:
    return replace(episode, stop=stop, env_return=value)


@pytest.mark.parametrize("stop", [StopReason.ENV_ERROR, StopReason.ENGINE_ERROR])
def test_an_episode_that_broke_is_nobody_s_peer(stop: StopReason) -> None:
    (group,) = random_groups(num_groups=1, size=4)
    alone = CreditAssigner(GroupRelative())([group[1:]], ("planner", "executor"))
    mixed = CreditAssigner(GroupRelative())([[_broken(group[0], stop), *group[1:]]], ("planner", "executor"))
    for role in ("planner", "executor"):
        assert np.isnan(mixed.advantages[role][0][0]).all()
        for ours, theirs in zip(mixed.advantages[role][0][1:], alone.advantages[role][0], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert best_blueprint([_broken(group[0], stop), *group[1:]]) != 0


def test_a_group_of_which_nothing_ran_has_no_advantages() -> None:
    groups = random_groups(num_groups=2, size=2)
    groups[0] = [_broken(e, StopReason.ENV_ERROR) for e in groups[0]]
    credit = CreditAssigner(GroupRelative())(groups, ("executor",))
    assert all(np.isnan(row).all() for row in credit.advantages["executor"][0])
    assert all(np.isfinite(row[1:]).all() for row in credit.advantages["executor"][1])


def test_a_prompt_that_a_blueprint_made_too_long_earns_the_worst_return_of_its_group() -> None:
    (group,) = random_groups(num_groups=1, size=4)
    too_long = _broken(group[0], StopReason.PROMPT_TOO_LONG)
    credit = CreditAssigner(GroupRelative())([[too_long, *group[1:]]], ("planner",))
    planning = [row[0] for row in credit.advantages["planner"][0]]
    assert planning[0] == min(planning)


def test_z_star_is_the_best_return_then_score_then_fewer_steps_then_the_likelier_plan() -> None:
    (group,) = random_groups(num_groups=1, size=3)
    even = [replace(e, env_return=1.0, score=0.5, env_steps=6, planning=None) for e in group]
    assert best_blueprint([even[0], replace(even[1], score=0.6), even[2]]) == 1
    assert best_blueprint([even[0], even[1], replace(even[2], env_steps=4)]) == 2
    assert best_blueprint([replace(even[0], env_return=1.1), replace(even[1], score=1.0), even[2]]) == 0
