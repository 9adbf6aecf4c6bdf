"""What an update says of itself: losses, gradient norms, the gap between engine and learner, packing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

_MEANS = {"kl", "entropy", "clip", "capped"}


class UpdateMetrics:
    """Adds up what an update tells about itself."""

    def __init__(self) -> None:
        self.steps = 0
        self._parts: dict[str, float] = {}
        self._grads: list[float] = []
        self._moved: list[float] = []
        self._gap_sum = self._gap_max = self._weight = 0.0
        self._gap_count = self._tokens = self._rows = self._packed = 0
        self._foreseen: list[np.ndarray] = []
        self._came: list[np.ndarray] = []

    @classmethod
    def of_all(cls, ranks: Sequence[UpdateMetrics]) -> UpdateMetrics:
        """Return what several ranks, which took the same steps with shares of the packs, have to tell together."""
        if len(ranks) == 1:
            return ranks[0]
        found = cls()
        found.steps, found._grads, found._moved = ranks[0].steps, ranks[0]._grads, ranks[0]._moved
        for own in ranks:
            for name, value in own._parts.items():
                found._parts[name] = found._parts.get(name, 0.0) + value
            found._gap_sum += own._gap_sum
            found._gap_max = max(found._gap_max, own._gap_max)
            found._weight += own._weight
            found._gap_count += own._gap_count
            found._tokens += own._tokens
            found._rows += own._rows
            found._packed += own._packed
            found._foreseen += own._foreseen
            found._came += own._came
        return found

    def add(
        self,
        parts: dict[str, torch.Tensor],
        gap_N: torch.Tensor,
        *,
        weight: float,
        packed_tokens: int,
        row_tokens: int,
    ) -> None:
        """Add one pack's share of the losses, and how far learner and engine are apart."""
        for name, value in parts.items():
            self._parts[name] = self._parts.get(name, 0.0) + float(value)
        if self.steps == 0:  # before any step the learner should agree with the engine
            self._gap_sum += float(gap_N.abs().sum())
            self._gap_max = max(self._gap_max, float(gap_N.abs().max()))
            self._gap_count += len(gap_N)
        self._weight += weight
        self._tokens += len(gap_N)
        self._packed += packed_tokens
        self._rows += row_tokens

    def add_values(self, values_M: torch.Tensor, targets_M: torch.Tensor) -> None:
        """Remember what the critic said before the first step, and what came."""
        if self.steps == 0:
            self._foreseen.append(values_M.cpu().numpy())
            self._came.append(targets_M.cpu().numpy())

    def step(self, grad: float, *, moved: float) -> None:
        """Count an optimizer step, its gradient norm before clipping, and the share of weights that it moved."""
        self.steps += 1
        self._moved.append(moved)
        self._grads.append(grad)

    def summary(self, samples: int) -> dict[str, float]:
        """Return the means; sums over tokens and samples."""
        parts = {name: value / max(self.steps, 1) for name, value in self._parts.items()}
        for name in _MEANS & parts.keys():  # over trained tokens, whatever share of the weight they carry
            parts[name] = self._parts[name] / max(self._weight, 1e-12)
        if self._came:
            parts["value_explained"] = _explained(np.concatenate(self._foreseen), np.concatenate(self._came))
        return parts | {
            "grad": float(np.mean(self._grads)),
            "moved": float(np.mean(self._moved)),
            "grad_max": float(np.max(self._grads)),
            "skipped_steps": float(sum(not math.isfinite(g) for g in self._grads)),
            "gap_mean": self._gap_sum / max(self._gap_count, 1),
            "gap_max": self._gap_max,
            "samples": float(samples),
            "trained_tokens": float(self._tokens),
            "row_tokens": float(self._rows),
            "packed_tokens": float(self._packed),
        }


def _explained(values_M: np.ndarray, targets_M: np.ndarray) -> float:
    """1 - Var(target - value) / Var(target): 1 is a perfect critic, 0 one that knows nothing, below 0 a harmful one.

    >>> _explained(np.array([1.0, 2.0]), np.array([1.0, 2.0])), _explained(np.zeros(2), np.array([1.0, 2.0]))
    (1.0, 0.0)
    """
    spread = float(targets_M.var()) if len(targets_M) else 0.0
    return 1.0 - float((targets_M - values_M).var()) / spread if spread > 0 else 0.0
