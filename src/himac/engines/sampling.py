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
    softmax(logits / temperature) cut to its nucleus, with log-probabilities of the uncut distribution.

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
        ids = _invert(logp_BV.exp(), top_p_B, uniform_B)
        if bool(greedy_B.any()):
            ids = torch.where(greedy_B, logits_BV.argmax(-1), ids)
    return ids, logp_BV.gather(-1, ids[:, None])[:, 0]


def _invert(p_BV: Tensor, top_p_B: Tensor, uniform_B: Tensor) -> Tensor:
    """Return for each row the first token at which the cumulative probability exceeds its uniform number."""
    if bool((top_p_B < 1).any()):
        sorted_BV, order_BV = p_BV.sort(-1, descending=True)
        outside_BV = sorted_BV.cumsum(-1) - sorted_BV >= top_p_B[:, None]
        p_BV = p_BV.scatter(-1, order_BV, sorted_BV.masked_fill(outside_BV, 0.0))
    cumulative_BV = p_BV.cumsum(-1, dtype=torch.float64)
    point_B1 = (uniform_B * cumulative_BV[:, -1])[:, None]
    return torch.searchsorted(cumulative_BV, point_B1, right=True)[:, 0].clamp(max=p_BV.shape[-1] - 1)
