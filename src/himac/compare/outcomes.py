"""Outcomes by task, and differences between them that are paired: the same seed, the same tasks.

A method's outcomes are those of its runs' last evaluations (its level), or these less the outcomes of the models that the
runs started from (its gain). Two methods are then compared in the same way in either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from himac.compare.power import power_of
from himac.compare.reading import Evaluation
from himac.compare.statistics import Interval, interval
from himac.types import Row

DIGITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of tasks, by task."""

    index_T: np.ndarray | None  # None: only the mean is known
    values_T: np.ndarray


def success_of(evaluation: Evaluation) -> Outcomes:
    """Return an evaluation's successes, 0.0 or 1.0 a task."""
    return Outcomes(index_T=evaluation.index_T, values_T=evaluation.success_T)


def minus(after: Outcomes, before: Outcomes) -> Outcomes:
    """Return what was gained, task by task; by means alone where tasks are unknown."""
    pair_ST, is_by_task = matrix([after, before])
    index_T = shared_index([after.index_T, before.index_T]) if is_by_task else None
    return Outcomes(index_T=index_T, values_T=pair_ST[0] - pair_ST[1])


def matrix(outcomes: Sequence[Outcomes]) -> tuple[np.ndarray, bool]:
    """Return ((S, T) outcomes on the tasks that all share, whether columns are tasks).

    Where one of them does not know its tasks, all become their means: (S, 1).
    """
    if not outcomes:
        return np.zeros((0, 0)), False
    shared = shared_index([o.index_T for o in outcomes])
    if shared is None:
        return np.array([[o.values_T.mean()] for o in outcomes]), False
    rows = []
    for o in outcomes:
        assert o.index_T is not None
        order = np.argsort(o.index_T, kind="stable")
        rows.append(o.values_T[order][np.searchsorted(o.index_T[order], shared)])
    return np.stack(rows), True


def shared_index(indices: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the tasks in all of them, in order; None when one is unknown or nothing is shared."""
    shared: np.ndarray | None = None
    for index_T in indices:
        if index_T is None:
            return None
        shared = np.unique(index_T) if shared is None else np.intersect1d(shared, index_T)
    return shared if shared is not None and shared.size else None


def difference(a: dict[int, Outcomes], b: dict[int, Outcomes], *, is_verdict: bool = False) -> Row | None:
    """Return a - b over the seeds and tasks that both have; None when they share none.

    Args:
        a: {seed: outcomes}.
        b: the same of the other.
        is_verdict: a claim rests on it. Its interval is then widened until it holds the truth as often as it says, with
            this many seeds of this spread, and what could have been seen is told, see `power`.
    """
    seeds = sorted(set(a) & set(b))
    if not seeds:
        return None
    both_ST, is_by_task = matrix([side[seed] for side in (a, b) for seed in seeds])
    if not both_ST.size:
        return None
    values_ST = both_ST[: len(seeds)] - both_ST[len(seeds) :]
    found = interval(values_ST)
    row: Row = {
        **rounded(found),
        "seeds": seeds,
        "by_seed": [round(float(x), DIGITS) for x in values_ST.mean(axis=1)],
        "tasks": values_ST.shape[1] if is_by_task else 0,
        "is_clear": found.excludes_zero,
    }
    if is_verdict and (power := power_of(values_ST)) is not None:
        wide = power.widened(found)
        row |= rounded(wide) | {
            "is_clear": wide.excludes_zero,
            "power": power.told() | {"unwidened": rounded(found)},
        }
    return row


def rounded(found: Interval) -> dict[str, float]:
    """Return an interval for JSON."""
    return {key: round(value, DIGITS) + 0.0 for key, value in asdict(found).items()}  # -0.0 becomes 0.0
