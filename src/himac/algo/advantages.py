"""Advantages from returns.

Each function is one equation over the returns of one group; a group is a (G,) array of peers. No episode,
no token, no model appears here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Normalise = Literal["mean_std", "mean"]


def group_relative(
    returns_G: np.ndarray, *, normalise: Normalise = "mean_std", eps: float = 1e-6
) -> np.ndarray:
    """A_i = (R_i - mean R) / (std R + eps), with the population's standard deviation.

    Source: GRPO (arXiv 2402.03300, eq. 4.1.3); HiMAC uses it at both levels. `normalise="mean"` leaves the
    division out (Dr. GRPO, arXiv 2503.20783). A group whose returns are all equal has advantage 0.

    Args:
        returns_G: (G,) returns of one group.
        normalise: divide by the standard deviation, or do not.
        eps: keeps the division finite.

    >>> group_relative(np.array([1.0, 0.0, 0.0, 1.0])).round(3).tolist()
    [1.0, -1.0, -1.0, 1.0]
    >>> group_relative(np.array([3.0, 1.0]), normalise="mean").tolist()
    [1.0, -1.0]
    >>> group_relative(np.array([0.1, 0.1, 0.1])).tolist()
    [0.0, 0.0, 0.0]
    """
    returns_G = np.asarray(returns_G, np.float64)
    centred_G: np.ndarray = returns_G - returns_G.mean()
    if not has_variance(returns_G):
        return np.zeros_like(centred_G)
    scale = 1.0 if normalise == "mean" else float(returns_G.std()) + eps
    scaled_G: np.ndarray = centred_G / scale
    return scaled_G


def leave_one_out(returns_G: np.ndarray) -> np.ndarray:
    """A_i = R_i - mean of the others' returns = G / (G - 1) * (R_i - mean R).

    Source: RLOO (arXiv 2402.14740, eq. 9). A lone episode has no baseline: advantage 0.

    >>> leave_one_out(np.array([1.0, 0.0, 0.0])).tolist()
    [1.0, -0.5, -0.5]
    """
    returns_G = np.asarray(returns_G, np.float64)
    num_peers = len(returns_G)
    if num_peers < 2:
        return np.zeros_like(returns_G)
    advantages_G: np.ndarray = (returns_G - returns_G.mean()) * num_peers / (num_peers - 1)
    return advantages_G


def discounted(rewards_N: np.ndarray, *, gamma: float) -> np.ndarray:
    """(N,) G_t = r_t + gamma r_(t+1) + gamma^2 r_(t+2) + ...: what came from each turn on.

    Source: GiGPO (arXiv 2505.10978, section 4.2). gamma = 0 is the reward itself; gamma = 1 the return to go.

    >>> discounted(np.array([0.0, 0.0, 8.0]), gamma=0.5).tolist()
    [2.0, 4.0, 8.0]
    """
    return gae(rewards_N, np.zeros(len(rewards_N)), gamma=gamma, lam=1.0)


def gae(rewards_N: np.ndarray, values_N: np.ndarray, *, gamma: float, lam: float) -> np.ndarray:
    """(N,) A_t = d_t + gamma lambda A_(t+1) with d_t = r_t + gamma V_(t+1) - V_t; nothing comes after the last.

    Source: GAE (arXiv 1506.02438, eq. 16). lambda = 1 is the discounted return minus V_t; lambda = 0 is d_t.

    Args:
        rewards_N: (N,) rewards of one episode's steps.
        values_N: (N,) value before each step.
        gamma: discount.
        lam: lambda.

    >>> gae(np.array([0.0, 1.0]), np.array([0.5, 0.5]), gamma=1.0, lam=1.0).tolist()
    [0.5, 0.5]
    >>> gae(np.array([0.0, 1.0]), np.array([0.5, 0.5]), gamma=1.0, lam=0.0).tolist()
    [0.0, 0.5]
    """
    advantages_N = np.zeros(len(rewards_N))
    advantage = next_value = 0.0
    for t in reversed(range(len(rewards_N))):
        surprise = rewards_N[t] + gamma * next_value - values_N[t]
        advantages_N[t] = advantage = surprise + gamma * lam * advantage
        next_value = values_N[t]
    return advantages_N


def whiten(values_N: np.ndarray, *, eps: float = 1e-6) -> np.ndarray:
    """(N,) shifted to mean 0 and scaled to deviation 1; all zeros when there is nothing to scale.

    >>> whiten(np.array([1.0, 3.0])).round(3).tolist(), whiten(np.array([2.0])).tolist()
    ([-1.0, 1.0], [0.0])
    """
    return group_relative(values_N, eps=eps) if len(values_N) else values_N


def has_variance(returns_G: np.ndarray) -> bool:
    """Whether a group carries signal: its returns differ by more than rounding.

    >>> has_variance(np.array([0.1 + 0.2, 0.3])), has_variance(np.array([0.0, 0.1]))
    (False, True)
    """
    returns_G = np.asarray(returns_G, np.float64)
    return len(returns_G) > 0 and bool(np.ptp(returns_G) > 1e-9 * max(1.0, float(np.abs(returns_G).max())))
