"""Advantages against numbers worked out by hand and against their limit cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from himac.algo.advantages import group_relative, has_variance, leave_one_out
from himac.algo.losses import token_weights

RETURNS = arrays(np.float64, st.integers(2, 16), elements=st.floats(-10, 10, width=32))


def test_group_relative_by_hand() -> None:
    # mean 2, deviations -2 0 2, variance (4 + 0 + 4) / 3, std 1.632993
    advantages = group_relative(np.array([0.0, 2.0, 4.0]), eps=0.0)
    np.testing.assert_allclose(advantages, [-1.2247449, 0.0, 1.2247449], rtol=1e-6)


def test_leave_one_out_by_hand() -> None:
    # 10 - (0 + 2) / 2, 0 - (10 + 2) / 2, 2 - (10 + 0) / 2
    np.testing.assert_allclose(leave_one_out(np.array([10.0, 0.0, 2.0])), [9.0, -6.0, -3.0])


@given(RETURNS)
def test_advantages_sum_to_zero_and_keep_the_order(returns_G: np.ndarray) -> None:
    for advantages in (
        group_relative(returns_G),
        group_relative(returns_G, normalise="mean"),
        leave_one_out(returns_G),
    ):
        assert abs(advantages.sum()) < 1e-6 * max(1.0, np.abs(advantages).max()) * len(returns_G)
        order = np.argsort(returns_G, kind="stable")
        assert np.all(np.diff(advantages[order]) >= -1e-9)


@given(RETURNS, st.floats(0.5, 4), st.floats(-5, 5))
def test_group_relative_does_not_see_shift_and_scale(
    returns_G: np.ndarray, scale: float, shift: float
) -> None:
    if np.ptp(returns_G) < 1e-2:
        return
    plain, moved = group_relative(returns_G, eps=0.0), group_relative(returns_G * scale + shift, eps=0.0)
    np.testing.assert_allclose(plain, moved, atol=1e-6)


@pytest.mark.parametrize("estimate", [group_relative, leave_one_out])
def test_equal_returns_give_exactly_zero(estimate) -> None:  # type: ignore[no-untyped-def]
    returns_G = np.array([0.1 + 0.2, 0.3, 0.3])
    assert not has_variance(returns_G)
    assert np.abs(estimate(returns_G)).max() < 1e-12


def test_an_episode_weighs_the_same_however_long() -> None:
    tokens_E = np.array([3, 300, 0, 30])
    weights_E = token_weights(tokens_E, aggregation="episode")
    np.testing.assert_allclose(weights_E * tokens_E, [1 / 3, 1 / 3, 0, 1 / 3])


def test_token_mean_lets_the_long_one_weigh_more() -> None:
    tokens_E = np.array([10, 90])
    weights_E = token_weights(tokens_E, aggregation="token")
    np.testing.assert_allclose(weights_E * tokens_E, [0.1, 0.9])


def test_under_a_constant_a_token_weighs_the_same_whatever_else_was_said() -> None:
    weights_E = token_weights(np.array([10, 90, 0]), aggregation=100)
    np.testing.assert_allclose(weights_E, [1 / 200, 1 / 200, 0])
