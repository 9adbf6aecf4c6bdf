"""What a comparison could have seen, and how often its interval is right: measured for the seeds and the spread at hand.

The bootstrap of `statistics` knows only the seeds it was given. With few of them it holds the truth less often than the
95 % it says, and how much less depends on how much the seeds differ. So every difference that a verdict rests on is
simulated: its matrix of seeds by tasks is taken apart into what seeds, tasks and neither explain (the usual two-way analysis
of variance), a thousand matrices of that size and spread are drawn around a known truth, and the same interval is made of each.
Three numbers come of it: how often the interval holds the truth; how much wider it must be to hold it 95 times in a
hundred; and the smallest true difference that the widened interval would set apart from 0 four times in five.

The spread is itself estimated from the few seeds, and often too small. So the widening is that of the largest spread of
seeds with which theirs would be this small in one case of five. Effects are drawn from normal distributions: a guide, not a
guarantee. benchmarks/interval_coverage.py measures both intervals against coins with known skills.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from himac.compare.statistics import Interval, draws, spread
from himac.seeds import generator

TRIALS = 1000
POWER = 0.8
LEVEL = 0.95
_COLUMNS = 128  # at most; of more tasks, fewer with less noise stand for all


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What was measured for one difference."""

    coverage: float  # share of trials in which the interval as drawn holds the truth
    stretch: float  # times that the interval is widened for it to be LEVEL, at least 1
    detectable: float  # smallest true difference that the widened interval sets apart from 0 with POWER
    sd_seeds: float  # deviation between seeds, tasks' share taken off
    seeds: int

    def widened(self, found: Interval) -> Interval:
        """Return an interval that holds the truth as often as it says."""
        return Interval(
            mean=found.mean,
            low=found.mean - self.stretch * (found.mean - found.low),
            high=found.mean + self.stretch * (found.high - found.mean),
        )

    def told(self) -> dict[str, float]:
        """Return it for JSON."""
        return {
            "coverage": round(self.coverage, 3),
            "stretch": round(self.stretch, 3),
            "detectable": round(self.detectable, 4),
            "sd_seeds": round(self.sd_seeds, 4),
        }


def power_of(values_ST: np.ndarray) -> Power | None:
    """Measure what a difference of S seeds by T tasks could have seen; None with one seed, which says nothing of others.

    >>> power_of(np.ones((1, 8))) is None
    True
    >>> few, many = (power_of(np.linspace(-0.1, 0.1, seeds)[:, None]) for seeds in (3, 8))
    >>> few.coverage < 0.93 and few.stretch > 1.3, few.detectable > many.detectable
    (True, True)
    """
    rows, columns = values_ST.shape
    if rows < 2:
        return None
    seeds, tasks, rest = components(values_ST)
    kept = min(columns, _COLUMNS)
    scale = (kept / columns) ** 0.5  # the means of fewer columns vary as those of all did
    rests = (round(tasks * scale, 4), round(rest * scale, 4))
    wide_N, _, _ = _simulated(rows, kept, round(_at_most(values_ST), 4), *rests)
    stretch = max(1.0, float(np.quantile(wide_N, LEVEL)))
    needed_N, means_N, below_N = _simulated(rows, kept, round(seeds, 4), *rests)
    coverage = float((needed_N <= 1.0).mean())
    detectable = max(0.0, float(np.quantile(stretch * below_N - means_N, POWER)))
    return Power(coverage=coverage, stretch=stretch, detectable=detectable, sd_seeds=seeds, seeds=rows)


def components(values_ST: np.ndarray) -> tuple[float, float, float]:
    """Return the deviations of seeds, of tasks and of what neither explains.

    >>> [round(float(sd), 2) for sd in components(np.array([[0.0, 1.0], [2.0, 3.0]]))]
    [1.41, 0.71, 0.0]
    """
    rows, columns = values_ST.shape
    of_rows, of_columns = values_ST.mean(axis=1), values_ST.mean(axis=0)
    if columns == 1:
        return float(of_rows.std(ddof=1)), 0.0, 0.0
    left_ST = values_ST - of_rows[:, None] - of_columns[None, :] + values_ST.mean()
    rest = float((left_ST**2).sum() / ((rows - 1) * (columns - 1)))
    seeds = max(0.0, float(of_rows.var(ddof=1)) - rest / columns)
    tasks = max(0.0, float(of_columns.var(ddof=1)) - rest / rows)
    return seeds**0.5, tasks**0.5, rest**0.5


def _at_most(values_ST: np.ndarray) -> float:
    """Return the deviation of seeds with which a spread as small as this one's is seen in one case of five.

    Their mean square is a chi-squared variable; its quantile by E. B. Wilson and M. M. Hilferty, 1931.
    """
    rows, columns = values_ST.shape
    free = rows - 1
    fifth = (
        1 - 2 / (9 * free) - 0.8416 * (2 / (9 * free)) ** 0.5
    ) ** 3  # of the mean square over its expectation
    rest = components(values_ST)[2]
    largest = float(values_ST.mean(axis=1).var(ddof=1)) / fifth - rest**2 / columns
    return float(max(0.0, largest) ** 0.5)


@lru_cache(maxsize=256)
def _simulated(
    rows: int, columns: int, seeds: float, tasks: float, rest: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each trial's interval around a truth of 0: (times it must be widened to hold it, mean, mean less low end).

    A true difference moves a matrix, its mean and its interval alike, so that one set of trials serves for all of them.
    """
    rng = generator("power", rows, columns, str(seeds), str(tasks), str(rest))
    weights_BX = _weights(rows, columns)
    values_NX = np.empty((TRIALS, rows * columns), np.float32)
    means_N = np.empty(TRIALS)
    for trial in range(TRIALS):
        drawn_ST = (
            seeds * rng.standard_normal((rows, 1))
            + tasks * rng.standard_normal((1, columns))
            + rest * rng.standard_normal((rows, columns))
        )
        values_NX[trial] = spread(drawn_ST).ravel()
        means_N[trial] = drawn_ST.mean()
    lows_N, highs_N = np.percentile(values_NX @ weights_BX.T, [2.5, 97.5], axis=1)
    below_N, above_N = means_N - lows_N, highs_N - means_N
    towards_N = np.where(means_N > 0, below_N, above_N)  # the half of the interval that looks to the truth
    with np.errstate(divide="ignore", invalid="ignore"):
        needed_N = np.where(towards_N > 0, np.abs(means_N) / towards_N, 0.0)
    return needed_N, means_N, below_N


@lru_cache(maxsize=4)
def _weights(rows: int, columns: int) -> np.ndarray:
    """Return the weight that each resample gives to each outcome, (B, S x T)."""
    draws_BS, draws_BT = draws(rows, columns)
    weights_BST = draws_BS[:, :, None] * draws_BT[:, None, :]
    flat_BX: np.ndarray = weights_BST.reshape(len(draws_BS), -1).astype(np.float32)
    return flat_BX
