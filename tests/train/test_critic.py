"""PPO's value head: what it reads, where its gradient goes, that it learns, and that a checkpoint holds all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from looping import ONCE, Rows, iterate

from himac.config import AlgoConfig, Config, OptimizerConfig, override
from himac.learner.critic import Critic, hidden_size
from himac.learner.learner import Learner
from himac.train.components import Components
from himac.types import Role, Sample

PLAIN = AlgoConfig(kl_coef=0.0)


@pytest.fixture
def parts(toy_config: Config, start: Path) -> Components:
    return Components(toy_config, start)


def _critic(parts: Components, *, coef: float = 0.5, noise: float = 0.0) -> Critic:
    critic = Critic(hidden_size(parts.policy.model), scale=2.0, coef=coef)
    if noise:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.copy_(noise * torch.randn(parameter.shape, generator=generator))
    return critic


def _sample(
    *, advantage: float = 1.0, target: float | None = 3.0, role: Role = "executor", ids: int = 10
) -> Sample:
    """Twelve tokens, two turns of two tokens each; the critic is asked before each."""
    mask_T = np.zeros(12, bool)
    mask_T[[4, 5, 9, 10]] = True
    targets_T = np.full(12, np.nan, np.float32)
    targets_T[[3, 8]] = target
    return Sample(
        ids=np.arange(ids, ids + 12, dtype=np.int32), mask=mask_T, logps=np.full(12, -1.0, np.float32), role=role,
        advantages=np.where(mask_T, advantage, 0).astype(np.float32), weights=np.where(mask_T, 0.25, 0).astype(np.float32),
        targets=None if target is None else targets_T,
    )  # fmt: skip


def _gradients(
    parts: Components, critic: Critic | None, samples: list[Sample]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the flat gradients (backbone, head) of one step, unclipped."""
    learner = Learner(parts.policy, OptimizerConfig(grad_clip=0.0), PLAIN, critic=critic)
    seen: list[torch.Tensor] = []

    def keep(_lr: float, _name: str) -> float:
        for parameters in (parts.policy.trainable, list(critic.parameters()) if critic else []):
            flat = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
            seen.append(torch.cat(flat).clone() if flat else torch.zeros(0))
        learner._optimizer("any").zero_grad()
        return 0.0

    learner._step = keep  # type: ignore[method-assign]
    learner.update(samples, ONCE, seed=0)
    return seen[0], seen[1]


def test_values_are_read_from_the_state_before_the_turn_and_prefixes_do_not_matter(parts: Components) -> None:
    critic = _critic(parts, noise=1.0)
    learner = Learner(parts.policy, OptimizerConfig(max_tokens=64), PLAIN, critic=critic)
    samples = [
        _sample(),
        replace(_sample(), ids=np.array([10, 11, 12, 13, 14, 30, 31, 32, 33, 34, 35, 36], np.int32)),
    ]
    samples.append(_sample(role="planner", ids=50))
    got = learner.values(samples)
    for sample, values_K in zip(samples, got, strict=True):
        with torch.no_grad():
            ids = torch.as_tensor(sample.ids.astype(np.int64))[None]
            states = parts.policy.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        column = 0 if sample.role == "planner" else 1
        want = 2.0 * (states @ critic.head.weight[column] + critic.head.bias[column])[[3, 8]]
        np.testing.assert_allclose(values_K, want.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_a_head_that_knows_nothing_says_zero_and_leaves_the_backbone_s_gradient_alone(
    parts: Components,
) -> None:
    critic = _critic(parts)
    assert not np.any(Learner(parts.policy, OptimizerConfig(), PLAIN, critic=critic).values([_sample()])[0])
    with_it, head = _gradients(parts, critic, [_sample()])
    without, _ = _gradients(parts, None, [_sample()])
    assert torch.equal(with_it, without) and head.any()


def test_the_policy_loss_does_not_reach_the_head(parts: Components) -> None:
    critic = _critic(parts, noise=1.0)
    _, quiet = _gradients(parts, critic, [_sample(advantage=0.0)])
    _, loud = _gradients(parts, critic, [_sample(advantage=5.0)])
    torch.testing.assert_close(quiet, loud)
    _, none = _gradients(parts, critic, [_sample(target=None)])
    assert not none.any()


def test_the_value_loss_reaches_the_head_whole_and_the_backbone_by_its_share(parts: Components) -> None:
    silent = _sample(advantage=0.0)
    grads = {
        coef: _gradients(parts, _critic(parts, coef=coef, noise=1.0), [silent]) for coef in (0.0, 0.5, 1.0)
    }
    heads = [head for _, head in grads.values()]
    assert heads[0].any()
    torch.testing.assert_close(heads[0], heads[1])
    torch.testing.assert_close(heads[0], heads[2])
    assert not grads[0.0][0].any() and grads[1.0][0].any()
    torch.testing.assert_close(grads[0.5][0], 0.5 * grads[1.0][0], rtol=1e-4, atol=1e-7)


def test_each_role_teaches_its_own_column(parts: Components) -> None:
    roles: tuple[Role, Role] = ("planner", "executor")
    for column, role in enumerate(roles):
        _, head = _gradients(parts, _critic(parts), [_sample(role=role)])
        weight = head[:-2].reshape(2, -1)
        assert weight[column].any() and not weight[1 - column].any()
        assert head[-2 + column] and not head[-1 - column]


def test_the_value_loss_is_the_mean_over_turns_whatever_the_packs_and_minibatches(parts: Components) -> None:
    samples = [_sample(advantage=0.0, target=float(i), ids=10 * (i + 1)) for i in range(4)]
    one, many = _critic(parts, noise=1.0), _critic(parts, noise=1.0)
    _, whole = _gradients(parts, one, samples)
    learner = Learner(parts.policy, OptimizerConfig(max_tokens=64, grad_clip=0.0), PLAIN, critic=many)
    seen: list[torch.Tensor] = []

    def keep(_lr: float, _name: str) -> float:
        seen.append(torch.cat([p.grad.flatten() for p in many.parameters() if p.grad is not None]).clone())
        learner._optimizer("any").zero_grad()
        return 0.0

    learner._step = keep  # type: ignore[method-assign]
    learner.update(samples, replace(ONCE, minibatches=2), seed=0)
    torch.testing.assert_close((seen[0] + seen[1]) / 2, whole, rtol=1e-4, atol=1e-6)
    values = torch.as_tensor(np.concatenate(learner.values(samples)))
    targets = torch.tensor([0.0, 0, 1, 1, 2, 2, 3, 3])
    by_hand = (((values - targets) / 2.0) ** 2).mean() / 2
    metrics = Learner(parts.policy, OptimizerConfig(lr=0.0), PLAIN, critic=one).update(samples, ONCE, seed=0)
    assert metrics["loss_value"] == pytest.approx(float(by_hand), rel=1e-4)


def test_the_critic_learns_what_it_is_told(parts: Components) -> None:
    samples = [
        _sample(advantage=0.0, target=target, ids=ids) for target, ids in ((0.0, 10), (4.0, 40), (9.0, 80))
    ]
    critic = _critic(parts, coef=0.0)
    learner = Learner(parts.policy, OptimizerConfig(lr=3e-3, weight_decay=0.0), PLAIN, critic=critic)
    before = [p.detach().clone() for p in parts.policy.trainable]
    first = learner.update(samples, ONCE, seed=0)
    for _ in range(80):
        last = learner.update(samples, ONCE, seed=0)
    assert first["value_explained"] == 0.0 and last["value_explained"] > 0.9
    assert all(torch.equal(a, b) for a, b in zip(before, parts.policy.trainable, strict=True))


def test_a_learner_put_back_goes_on_to_the_last_bit(parts: Components, tmp_path: Path) -> None:
    samples = [_sample(target=float(i), ids=10 * (i + 1)) for i in range(3)]

    def learner() -> Learner:
        return Learner(parts.policy, OptimizerConfig(lr=1e-3), PLAIN, critic=_critic(parts))

    one = learner()
    for step in range(3):
        one.update(samples, ONCE, seed=step)
    one.save(tmp_path)
    one.update(samples, ONCE, seed=3)
    values = one.values(samples)
    other = learner()
    other.load(tmp_path)
    other.update(samples, ONCE, seed=3)
    for a, b in zip(values, other.values(samples), strict=True):
        assert a.tolist() == b.tolist() and a.any()


class _Groups(Rows):
    """A log that also keeps the groups."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[Any] = []

    def phase(self, row: dict[str, Any], groups: Any, advantages: Any, chosen: Any = ()) -> None:
        super().phase(row, groups, advantages, chosen)
        self.groups.append(groups)


@pytest.mark.parametrize(
    ("algo", "phases"),
    [
        ({"method": "flat"}, ["flat"]),
        ({"coevolution": False}, ["joint"]),
        ({}, ["planner", "executor"]),
    ],
)
def test_ppo_trains_either_agent_and_needs_no_peers(
    toy_config: Config, start: Path, algo: dict[str, Any], phases: list[str]
) -> None:
    config = override(
        toy_config,
        algo={"estimator": "ppo", "kl_coef": 0.0} | algo,
        agent={"invalid_penalty": (0.1, 0.1)},  # a model that never wins is to have returns that differ
        rollout={"group_size": 1, "executor_group_size": 1, "tasks": 12},
    )
    parts, log = Components(config, start), _Groups()
    learner = parts.learner()
    iterate(parts, learner, log, count=2)
    assert [row["phase"] for row in log.rows] == phases * 2
    assert all(np.isfinite(row["loss_value"]) and row["samples"] > 0 for row in log.rows)
    assert learner.critic is not None and learner.critic.head.weight.any()
    values = [turn.value for group in log.groups[-1] for episode in group for turn in episode.turns]
    assert values and None not in values and any(values)
