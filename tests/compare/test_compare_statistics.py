"""Intervals: they hold the truth as often as they say, and know seeds from tasks."""

from __future__ import annotations

import numpy as np
import pytest

from himac.compare.statistics import interval, rate


def test_intervals_of_a_difference_cover_the_truth_with_three_seeds_and_tasks_of_unlike_difficulty() -> None:
    rng = np.random.default_rng(0)
    logistic = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731

    def outcomes(difficulty_T: np.ndarray, skill: float) -> np.ndarray:
        seeds_S = rng.normal(0, 0.3, 3)
        return (rng.random((3, 64)) < logistic(skill + seeds_S[:, None] + difficulty_T)).astype(float)

    many = rng.normal(0, np.hypot(1.5, 0.3), 400_000)
    truth = (logistic(0.6 + many) - logistic(0.3 + many)).mean()
    covered = 0
    for _ in range(300):
        difficulty_T = rng.normal(0, 1.5, 64)
        found = interval(outcomes(difficulty_T, 0.6) - outcomes(difficulty_T, 0.3))
        covered += found.low <= truth <= found.high
    assert covered / 300 >= 0.92


def test_one_seed_s_interval_is_that_of_its_tasks_mean() -> None:
    values_ST = np.array([[1.0] * 30 + [0.0] * 70])
    found = interval(values_ST)
    deviation = np.sqrt(0.3 * 0.7 / 100)
    assert found.mean == pytest.approx(0.3)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * deviation, rel=0.06)


def test_seeds_that_differ_widen_the_interval_more_than_as_many_tasks() -> None:
    alike, unlike = np.zeros((3, 90)), np.zeros((3, 90))
    alike[:, :45], unlike[:, :45] = 1, 1
    unlike[0], unlike[2] = 1, 0
    widths = [i.high - i.low for i in (interval(alike), interval(unlike))]
    assert widths[1] > 2 * widths[0]


def test_a_rate_stays_within_0_and_1_and_is_uncertain_where_all_outcomes_agree() -> None:
    none = rate(np.zeros((3, 20)))
    assert none.low == 0.0 and none.high == pytest.approx(0.060, abs=0.001)  # Wilson of 0 of 60
