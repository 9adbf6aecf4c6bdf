"""The loss against hand numbers, limit cases, and autograd."""

from __future__ import annotations

import math

import torch

from himac.algo.losses import clipped_surrogate, imitation_loss, k3, policy_loss
from himac.config import AlgoConfig

PLAIN = AlgoConfig(kl_coef=0.0)


def test_on_policy_gradient_is_reinforce() -> None:
    logps = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    advantages, weights = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 0.25, 0.25])
    loss, _ = policy_loss(logps, logps.detach(), advantages, weights, cfg=PLAIN)
    loss.backward()
    torch.testing.assert_close(logps.grad, -advantages * weights)


def test_the_clip_blocks_gradient_that_goes_further_out_and_only_that() -> None:
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5])
    logps = ratio.log().requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    clipped_surrogate(logps, torch.zeros(4), advantages, low=0.2, high=0.2).sum().backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [0.0, 1.5, -0.5, 0.0]


def test_k3_by_hand_and_at_its_minimum() -> None:
    value = k3(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -0.5]))
    torch.testing.assert_close(value, torch.tensor([0.0, math.exp(0.5) - 1.5]))


def test_k3_is_unbiased_for_the_kl_divergence() -> None:
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.25, 0.25])
    expected = (p * (p / q).log()).sum()
    torch.testing.assert_close((p * k3(p.log(), q.log())).sum(), expected)


def test_the_loss_is_its_parts() -> None:
    logps, old, ref = torch.tensor([-1.0, -2.0]), torch.tensor([-1.1, -1.9]), torch.tensor([-1.2, -2.2])
    advantages, weights, entropy = (
        torch.tensor([1.0, -1.0]),
        torch.tensor([0.5, 0.5]),
        torch.tensor([0.3, 0.1]),
    )
    cfg = AlgoConfig(entropy_coef=0.01)
    loss, parts = policy_loss(
        logps, old, advantages, weights, cfg=cfg, ref_logps_N=ref, kl_coef_N=0.1, entropy_N=entropy
    )
    by_hand = 0.5 * (-math.exp(0.1) * 1.0 + math.exp(-0.1) * 1.0)
    kl = 0.5 * ((math.exp(-0.2) + 0.2 - 1) + (math.exp(-0.2) + 0.2 - 1))
    assert math.isclose(float(parts["kl"]), kl, rel_tol=1e-5)
    assert math.isclose(float(loss), by_hand + 0.1 * kl - 0.01 * 0.2, rel_tol=1e-5)


def test_a_token_that_the_engine_saw_otherwise_weighs_by_a_ratio_that_is_capped() -> None:
    old = torch.tensor([-1.0, -1.0, -1.0])
    sampled = (
        old - torch.tensor([1.5, 4.0, 0.5]).log()
    )  # the learner finds them 1.5, 4 and 0.5 times as likely
    logps = old.clone().requires_grad_()
    advantages, weights = torch.tensor([1.0, 1.0, -2.0]), torch.tensor([0.5, 0.25, 0.25])
    cfg = AlgoConfig(kl_coef=0.0, max_ratio=2.0)
    loss, parts = policy_loss(logps, old, advantages, weights, cfg=cfg, sampled_logps_N=sampled)
    loss.backward()
    torch.testing.assert_close(logps.grad, torch.tensor([-1.5 * 0.5, -2.0 * 0.25, 0.5 * 2.0 * 0.25]))
    assert float(parts["capped"]) == 0.25 and float(parts["clip"]) == 0.0


def test_imitation_is_cross_entropy() -> None:
    logps = torch.tensor([-1.0, -3.0])
    assert float(imitation_loss(logps, torch.tensor([0.5, 0.5]))) == 2.0
