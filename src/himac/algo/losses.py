"""The policy loss.

A loss is a weighted sum over sampled tokens, and the weights alone say what counts how much. All
arguments are flat (N,) tensors over the trained tokens of a batch.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from himac.config import AlgoConfig

Aggregation = Literal["episode", "token"] | int


def clipped_surrogate(
    logps_N: torch.Tensor, old_logps_N: torch.Tensor, advantages_N: torch.Tensor, *, low: float, high: float
) -> torch.Tensor:
    """(N,) -min(r A, clip(r, 1 - low, 1 + high) A) with r = exp(logp - old logp).

    Source: PPO (arXiv 1707.06347, eq. 7). On-policy (r = 1) its gradient is REINFORCE's, -A grad logp.

    >>> r = torch.tensor([1.5, 0.5]).log()
    >>> clipped_surrogate(r, torch.zeros(2), torch.tensor([1.0, -1.0]), low=0.2, high=0.2).tolist()
    [-1.2000000476837158, 0.800000011920929]
    """
    ratio_N = torch.exp(logps_N - old_logps_N)
    clipped_N = ratio_N.clamp(1 - low, 1 + high)
    return -torch.minimum(ratio_N * advantages_N, clipped_N * advantages_N)


def k3(logps_N: torch.Tensor, ref_logps_N: torch.Tensor) -> torch.Tensor:
    """(N,) exp(d) - d - 1 with d = ref logp - logp: unbiased for KL(policy || reference), never negative.

    Source: Schulman's note on approximating KL; GRPO (arXiv 2402.03300, eq. 4).

    >>> k3(torch.tensor([-1.0]), torch.tensor([-1.0])).item()
    0.0
    >>> round(k3(torch.tensor([-1.0]), torch.tensor([-2.0])).item(), 4)
    0.3679
    """
    gap_N = (ref_logps_N - logps_N).clamp(-20, 20)
    return torch.exp(gap_N) - gap_N - 1


def policy_loss(
    logps_N: torch.Tensor,
    old_logps_N: torch.Tensor,
    advantages_N: torch.Tensor,
    weights_N: torch.Tensor,
    *,
    cfg: AlgoConfig,
    sampled_logps_N: torch.Tensor | None = None,
    kl_coef_N: torch.Tensor | float = 0.0,
    ref_logps_N: torch.Tensor | None = None,
    entropy_N: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """sum_n w_n (c_n surrogate_n + kl_coef k3_n - entropy_coef H_n), and its parts.

    c_n corrects for an engine that computes a little differently from the learner (another kernel, rounding, weights
    that are older): min(p_old / p_sampled, max_ratio), truncated importance sampling as in IMPALA (arXiv 1802.01561,
    section 4.1). Without `sampled_logps_N` it is 1, and the ratio of the surrogate is taken to the engine's own.

    Args:
        logps_N: (N,) log-probabilities now, with gradient.
        old_logps_N: (N,) before the update's first step; the engine's, or the learner's own where it corrects.
        advantages_N: (N,).
        weights_N: (N,) what each token counts (see `token_weights`).
        cfg: clip, max_ratio and entropy_coef.
        sampled_logps_N: (N,) the engine's; None: not corrected for.
        kl_coef_N: (N,) each token's KL coefficient: its role's.
        ref_logps_N: (N,) under the reference; None when there is no KL term.
        entropy_N: (N,) of the next-token distribution; None when it is not wanted.
    """
    low, high = cfg.clip
    surrogate_N = clipped_surrogate(logps_N, old_logps_N, advantages_N, low=low, high=high)
    parts: dict[str, torch.Tensor] = {}
    if sampled_logps_N is not None:
        trust_N = torch.exp(old_logps_N.detach() - sampled_logps_N)
        parts["capped"] = (weights_N * (trust_N > cfg.max_ratio)).sum()
        surrogate_N = surrogate_N * trust_N.clamp(max=cfg.max_ratio)
    loss = (weights_N * surrogate_N).sum()
    with torch.no_grad():
        ratio_N = torch.exp(logps_N - old_logps_N)
        blocked_N = ((ratio_N > 1 + high) & (advantages_N > 0)) | ((ratio_N < 1 - low) & (advantages_N < 0))
        parts |= {"loss_policy": loss.detach(), "clip": (weights_N * blocked_N).sum()}
    if ref_logps_N is not None:
        kl_N = weights_N * k3(logps_N, ref_logps_N)
        loss = loss + (kl_N * kl_coef_N).sum()
        parts["kl"] = kl_N.sum().detach()
    if entropy_N is not None:
        entropy = (weights_N * entropy_N).sum()
        if cfg.entropy_coef:
            loss = loss - cfg.entropy_coef * entropy
        parts["entropy"] = entropy.detach()
    return loss, parts


def value_loss(values_M: torch.Tensor, targets_M: torch.Tensor, *, scale: float) -> torch.Tensor:
    """sum_m ((v_m - target_m) / scale)^2 / 2: plain squared error, not clipped.

    Source: PPO (arXiv 1707.06347, eq. 9). Some code also clips how far the value moves; a large comparison
    recommends not to (arXiv 2006.05990). `scale` is a typical return, so that the loss means the same in every world.

    >>> value_loss(torch.tensor([5.0, 10.0]), torch.tensor([10.0, 10.0]), scale=10.0).item()
    0.125
    """
    return (((values_M - targets_M) / scale) ** 2).sum() / 2


def imitation_loss(logps_N: torch.Tensor, weights_N: torch.Tensor) -> torch.Tensor:
    """-sum_n w_n logp_n: the warm start's cross-entropy."""
    return -(weights_N * logps_N).sum()


def token_weights(tokens_E: np.ndarray, *, aggregation: Aggregation) -> np.ndarray:
    """(E,) weight of one token of each episode, given how many trained tokens each has.

    "episode": every episode counts the same, however long: w = 1 / (E tokens_e).
    "token": every token counts the same, so that a long failure weighs more (the published token-mean).
    a number: w = 1 / (E number), whatever was sampled. An episode's mean over its own tokens punishes a
    long failure less a token than a short one, and a token-mean weighs all tokens by how much the batch happened to
    say; a constant does neither (Dr. GRPO, arXiv 2503.20783, section 3.1).
    The weights of all tokens sum to 1, except under a number; episodes without trained tokens do not count.

    >>> token_weights(np.array([2, 8]), aggregation="episode").tolist()
    [0.25, 0.0625]
    >>> token_weights(np.array([2, 8]), aggregation="token").tolist()
    [0.1, 0.1]
    >>> token_weights(np.array([2, 8]), aggregation=5).tolist()
    [0.1, 0.1]
    """
    counted_E = tokens_E > 0
    if aggregation == "token":
        return np.where(counted_E, 1.0 / max(int(tokens_E.sum()), 1), 0.0)
    divisor_E = (
        np.full(len(tokens_E), aggregation) if isinstance(aggregation, int) else np.maximum(tokens_E, 1)
    )
    return np.where(counted_E, 1.0 / (max(int(counted_E.sum()), 1) * divisor_E), 0.0)
