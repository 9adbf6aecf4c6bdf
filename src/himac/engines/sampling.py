"""Drawing tokens from logits, one row a sequence.

The k-th token of a request is the inverse of its cumulative distribution at the k-th number of
the request's own random stream, so it does not matter which batch the row was in.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def stream(seed: int) -> np.random.Generator:
    """Return a request's stream of uniform numbers (counter-based, so seeds next to each other are unrelated).

    >>> stream(1).random() == stream(1).random(), stream(1).random() == stream(2).random()
    (True, False)
    """
    return np.random.Generator(np.random.Philox(key=seed % 2**128))


def draw(
    logits_BV: Tensor, temperature_B: Tensor, top_p_B: Tensor, uniform_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (token ids (B,), their log-probabilities (B,)).

    Greedy where the temperature is 0, with log-probabilities at temperature 1; elsewhere sampled from
    softmax(logits / temperature) cut to its nucleus, with log-probabilities of what was sampled from: the nucleus,
    scaled to sum to 1.

    Args:
        logits_BV: float32.
        temperature_B: >= 0.
        top_p_B: in (0, 1]; 1 is off.
        uniform_B: float64 in [0, 1).

    >>> ids, logps = draw(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), torch.tensor([1.0, 0.0]), torch.ones(2),
    ...                   torch.tensor([0.49, 0.0]))
    >>> ids.tolist(), [round(x, 4) for x in logps.tolist()]
    ([0, 1], [-0.6931, -0.3133])
    """
    greedy_B = temperature_B == 0
    scaled_BV = logits_BV / torch.where(greedy_B, 1.0, temperature_B)[:, None]
    logp_BV = scaled_BV.log_softmax(-1)
    if bool(greedy_B.all()):
        ids = logits_BV.argmax(-1)
    else:
        if bool((top_p_B < 1).any()):
            logp_BV = _nucleus(logp_BV, torch.where(greedy_B, 1.0, top_p_B))
        ids = _invert(logp_BV.exp(), uniform_B)
        if bool(greedy_B.any()):
            ids = torch.where(greedy_B, logits_BV.argmax(-1), ids)
    return ids, logp_BV.gather(-1, ids[:, None])[:, 0]


def exact(device: torch.device) -> torch.device:
    """Return where float64 exists for tensors of a device: Apple's GPUs have none.

    >>> exact(torch.device("mps")), exact(torch.device("cuda", 1))
    (device(type='cpu'), device(type='cuda', index=1))
    """
    return torch.device("cpu") if device.type == "mps" else device


def _nucleus(logp_BV: Tensor, top_p_B: Tensor) -> Tensor:
    """Keep each row's likeliest tokens up to a mass of top_p, and scale them to sum to 1; rows at 1 stay as they are."""
    sorted_BV, order_BV = logp_BV.exp().sort(-1, descending=True)
    outside_BV = sorted_BV.cumsum(-1) - sorted_BV >= top_p_B[:, None]
    cut_BV = logp_BV.masked_fill(torch.zeros_like(outside_BV).scatter(-1, order_BV, outside_BV), -torch.inf)
    return torch.where((top_p_B < 1)[:, None], cut_BV.log_softmax(-1), logp_BV)


def _invert(p_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Return for each row the first token at which the cumulative probability exceeds its uniform number."""
    cumulative_BV = p_BV.to(exact(p_BV.device)).cumsum(-1, dtype=torch.float64)
    point_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
    found_B = torch.searchsorted(cumulative_BV, point_B1, right=True)[:, 0].clamp(max=p_BV.shape[-1] - 1)
    return found_B.to(p_BV.device)
