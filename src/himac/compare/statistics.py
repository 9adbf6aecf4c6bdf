"""Means with intervals over seeds and tasks.

An evaluation is a matrix, seeds by tasks, and both were drawn from many: other seeds would have trained other
models, other tasks would have been harder. So the bootstrap draws rows and columns again, each with replacement
(A. B. Owen, The pigeonhole bootstrap, 2007). A difference of two methods is the same on the matrix of differences, seed
by seed and task by task, which is what makes it a paired comparison.

A bootstrap of S rows shrinks their variance by (S - 1) / S, which with three seeds is a third; rows are therefore first
spread about their mean by sqrt(S / (S - 1)) (J. N. K. Rao and C. F. J. Wu, 1988). How often the result covers the
truth is measured by benchmarks/interval_coverage.py. Left out: corrections for many comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from himac.rollout.summary import wilson
from himac.seeds import generator

RESAMPLES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and where 95 % of its resamples lie."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether all of it lies on one side of 0."""
        return self.low > 0 or self.high < 0


def interval(values_ST: np.ndarray) -> Interval:
    """Return the mean over seeds and tasks with its 95 % interval.

    Args:
        values_ST: (S, T) outcomes or differences, one row a seed, one column a task. With S = 1 only tasks are drawn
            again, with T = 1 only seeds, and a single number has an interval of no width.

    >>> both = interval(np.array([[1.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 1.0]]))
    >>> both.mean, both.low < 0.4, both.high > 0.9
    (0.625, True, True)
    >>> interval(np.full((3, 8), 0.5)) == Interval(mean=0.5, low=0.5, high=0.5)
    True
    """
    rows, columns = values_ST.shape
    draws_BS, draws_BT = draws(rows, columns)
    means_B = np.einsum("bt,bt->b", draws_BS @ spread(values_ST), draws_BT)
    low, high = np.percentile(means_B, [2.5, 97.5])
    return Interval(mean=float(values_ST.mean()), low=float(low), high=float(high))


def rate(outcomes_ST: np.ndarray) -> Interval:
    """Return a success rate with its interval: within [0, 1], and never narrower than Wilson's of all outcomes.

    Where every outcome is the same there is nothing to resample; Wilson's interval knows that unseen tasks may differ.

    >>> all_solved = rate(np.ones((2, 8)))
    >>> (all_solved.mean, round(all_solved.low, 2), all_solved.high)
    (1.0, 0.81, 1.0)
    """
    found = interval(outcomes_ST)
    low, high = (found.mean, found.mean) if outcomes_ST.shape[1] == 1 else _wilson(outcomes_ST)
    return Interval(mean=found.mean, low=max(0.0, min(found.low, low)), high=min(1.0, max(found.high, high)))


def _wilson(outcomes_ST: np.ndarray) -> tuple[float, float]:
    return wilson(round(float(outcomes_ST.sum())), outcomes_ST.size)


def spread(values_ST: np.ndarray) -> np.ndarray:
    """Spread the rows' means about the grand mean by sqrt(S / (S - 1))."""
    rows = len(values_ST)
    if rows == 1:
        return values_ST
    offsets_S = values_ST.mean(axis=1) - values_ST.mean()
    wider_ST: np.ndarray = values_ST + (np.sqrt(rows / (rows - 1)) - 1) * offsets_S[:, None]
    return wider_ST


@lru_cache(maxsize=16)
def draws(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the share that each resample gives to each row (B, S) and to each column (B, T).

    Every matrix of one shape meets the same resamples, so what two methods share cancels exactly.
    """
    rng = generator("pigeonhole", rows, columns)
    draws = [rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n for n in (rows, columns)]
    return draws[0], draws[1]
