"""Every estimator against the papers' equations, written out again here in plain loops over doubles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from himac.algo.advantages import discounted, gae
from himac.algo.base import rewards_of
from himac.algo.estimators import make_estimator
from himac.algo.ppo import GeneralizedAdvantage
from himac.testing import check_estimator
from himac.types import Blueprint, Episode, Role, Segment, StopReason, Task, Turn

EPS = 1e-6


def _turn(role: Role, rng: np.random.Generator, *, states: int = 4) -> Turn:
    """A turn with a reward, now and then a penalty, one of a few states, and a value."""
    return Turn(
        role=role, context=0, start=1, end=3, text="", state_key=f"s{rng.integers(states)}",
        reward=float(rng.choice([0.0, 0.0, 1.0, 10.0])), penalty=float(rng.choice([0.0, 0.0, 0.1])),
        value=float(rng.normal(2, 3)),
    )  # fmt: skip


def _episode(rng: np.random.Generator, *, planned: bool = False, subgoals: int = 1) -> Episode:
    """An episode of one to five turns a segment, whose return is the sum of its turns' rewards."""
    plan = _turn("planner", rng) if planned else None
    segments = tuple(
        Segment(
            index=index, subgoal="", stop=StopReason.SUB_DONE,
            turns=tuple(_turn("executor", rng) for _ in range(rng.integers(1, 6))),
        )
        for index in range(rng.integers(1, subgoals + 1))
    )  # fmt: skip
    turns = [turn for segment in segments for turn in segment.turns] + ([plan] if plan else [])
    return Episode(
        task=Task(env="none", split="train", index=0), replica=0, instruction="", planning=plan, segments=segments,
        blueprint=Blueprint(subgoals=("g",) * subgoals) if planned or subgoals > 1 else None, contexts=(),
        env_return=sum(t.reward for t in turns), penalty=sum(t.penalty for t in turns), success=False, score=0.0,
        stop=StopReason.TRUNCATED, env_steps=len(turns), calls=len(turns), tokens=2 * len(turns),
    )  # fmt: skip


def _group(seed: int, *, size: int = 6, planned: bool = False, subgoals: int = 1) -> list[Episode]:
    rng = np.random.default_rng(seed)
    return [_episode(rng, planned=planned, subgoals=subgoals) for _ in range(size)]


def _normalised(x: float, peers: list[float], *, divide: bool) -> float:
    """(x - mean) / std with the population's deviation, or without the division; 0 among equals."""
    mean = math.fsum(peers) / len(peers)
    std = math.sqrt(math.fsum((p - mean) ** 2 for p in peers) / len(peers))
    if max(peers) - min(peers) < 1e-9:
        return 0.0
    return (x - mean) / (std + EPS) if divide else x - mean


def _return(episode: Episode) -> float:
    return math.fsum(t.reward - t.penalty for t in episode.turns)


def _from(turns: list[Turn], t: int, gamma: float) -> float:
    """sum_{k >= t} gamma^(k - t) r_k."""
    return math.fsum(gamma ** (k - t) * (turns[k].reward - turns[k].penalty) for k in range(t, len(turns)))


def _acted(episode: Episode) -> list[Turn]:
    return [t for t in episode.turns if t.role == "executor"]


def grpo(group: list[Episode], i: int, t: int, *, divide: bool = True) -> float:
    """arXiv 2402.03300, section 4.1.2: every token of output i has the group's normalised reward."""
    return _normalised(_return(group[i]), [_return(e) for e in group], divide=divide)


def rloo(group: list[Episode], i: int, t: int) -> float:
    """arXiv 2402.14740, the leave-one-out baseline: R_i - 1 / (k - 1) sum_{j != i} R_j."""
    others = [_return(e) for j, e in enumerate(group) if j != i]
    return _return(group[i]) - math.fsum(others) / len(others)


def gigpo(
    group: list[Episode], i: int, t: int, *, divide: bool, gamma: float = 0.95, omega: float = 1.0
) -> float:
    """arXiv 2505.10978, equations 3, 6, 7, 8."""
    state = _acted(group[i])[t].state_key
    anchor = [
        _from(_acted(e), k, gamma)
        for e in group
        for k, turn in enumerate(_acted(e))
        if turn.state_key == state
    ]
    step = _normalised(_from(_acted(group[i]), t, gamma), anchor, divide=divide)
    return grpo(group, i, t, divide=divide) + omega * step


REFERENCES: dict[str, Callable[[list[Episode], int, int], float]] = {
    "group_relative": grpo,
    "group_mean": lambda g, i, t: grpo(g, i, t, divide=False),
    "rloo": rloo,
    "gigpo": lambda g, i, t: gigpo(g, i, t, divide=True),
    "gigpo_mean": lambda g, i, t: gigpo(g, i, t, divide=False),
}


@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 9))
def test_advantages_on_random_groups_are_the_papers_equations(name: str, seed: int, size: int) -> None:
    groups = [_group(seed, size=size), _group(seed + 1, size=3)]
    estimate = make_estimator(name)
    for group, rows in zip(groups, estimate(groups, "executor"), strict=True):
        expected = [
            [REFERENCES[name](group, i, t) for t in range(len(_acted(e)))] for i, e in enumerate(group)
        ]
        for got_N, want_N in zip(rows, expected, strict=True):
            np.testing.assert_allclose(got_N, want_N, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*REFERENCES, "ppo"])
@pytest.mark.parametrize("role", ["planner", "executor"])
def test_every_estimator_keeps_the_contract(name: str, role: Role) -> None:
    groups = [_group(0, planned=True, subgoals=3), _group(1, planned=True, subgoals=3)]
    check_estimator(make_estimator(name), groups, role)
    check_estimator(make_estimator("subgoal"), groups, role)


def test_gigpo_without_a_state_met_twice_is_grpo() -> None:
    group = [
        _with_states(episode, [f"{i} {t}" for t in range(len(_acted(episode)))])
        for i, episode in enumerate(_group(3))
    ]
    flat, step = make_estimator("group_relative"), make_estimator("gigpo")
    for a, b in zip(flat([group], "executor")[0], step([group], "executor")[0], strict=True):
        assert a.tolist() == b.tolist()


def test_gigpo_sees_a_difference_between_episodes_of_equal_return() -> None:
    """Both get 10; from the shared state one needed one turn, the other two: only the step advantage can tell."""
    rng = np.random.default_rng(0)
    quick = _with_rewards(_episode(rng), [0.0, 10.0], states=["start", "door"])
    slow = _with_rewards(_episode(rng), [0.0, 0.0, 10.0], states=["start", "door", "yard"])
    ((quick_N, slow_N),) = make_estimator("gigpo_mean", {"gamma": 0.5})([[quick, slow]], "executor")
    assert quick_N.tolist() == [1.25, 2.5] and slow_N.tolist() == [-1.25, -2.5, 0.0]
    assert not any(make_estimator("group_relative")([[quick, slow]], "executor")[0][0])


def test_a_state_under_another_sub_goal_is_another_anchor() -> None:
    turns = [
        Turn(role="executor", context=0, start=1, end=2, text="", state_key="s", reward=r) for r in (1.0, 5.0)
    ]
    split = Segment(index=1, subgoal="", turns=(turns[1],), stop=StopReason.EPISODE_END)
    base = _episode(np.random.default_rng(0))
    one = _of_segments(base, [Segment(index=0, subgoal="", turns=(turns[0],), stop=StopReason.SUB_DONE)])
    two = _of_segments(
        base, [Segment(index=0, subgoal="", turns=(turns[0],), stop=StopReason.SUB_DONE), split]
    )
    estimate = make_estimator("gigpo_mean", {"gamma": 1.0})
    ((one_N, two_N),) = estimate([[one, two]], "executor")
    # episode: 1 and 6, mean 3.5; first turns share an anchor: 1 and 6 again; the last turn is alone in its own
    assert one_N.tolist() == [-5.0] and two_N.tolist() == [5.0, 2.5]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_credit_by_sub_goal_is_its_equation(seed: int) -> None:
    group, gamma, omega = _group(seed, subgoals=4), 0.9, 0.5
    rows = make_estimator("subgoal", {"gamma": gamma, "step_weight": omega})([group], "executor")[0]
    for i, (episode, got_N) in enumerate(zip(group, rows, strict=True)):
        want, first = [], 0
        for segment in episode.segments:
            peers = []
            for other in group:
                at = 0
                for theirs in other.segments:
                    if theirs.index == segment.index:
                        peers.append(_from(_acted(other), at, gamma))
                    at += len(theirs.turns)
            own = _normalised(_from(_acted(episode), first, gamma), peers, divide=True)
            want += [grpo(group, i, 0) + omega * own] * len(segment.turns)
            first += len(segment.turns)
        np.testing.assert_allclose(got_N, want, rtol=1e-5, atol=1e-5)


def test_credit_by_sub_goal_counts_an_execution_once_however_long_it_took() -> None:
    short, long = _group(0, size=2)
    short, long = _with_rewards(short, [4.0]), _with_rewards(long, [0.0] * 9)
    ((short_N, long_N),) = make_estimator("subgoal", {"base": "group_mean"})([[short, long]], "executor")
    assert short_N.tolist() == [4.0] and long_N.tolist() == [-4.0] * 9


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), gamma=st.floats(0, 1), lam=st.floats(0, 1))
def test_gae_is_its_sum_of_discounted_surprises(seed: int, gamma: float, lam: float) -> None:
    rng = np.random.default_rng(seed)
    r, v = rng.normal(size=7), rng.normal(size=7)
    got = gae(r, v, gamma=gamma, lam=lam)
    for t in range(7):
        delta = [r[k] + gamma * (v[k + 1] if k + 1 < 7 else 0.0) - v[k] for k in range(7)]
        want = math.fsum(
            (gamma * lam) ** (k - t) * delta[k] for k in range(t, 7)
        )  # arXiv 1506.02438, equation 16
        assert math.isclose(got[t], want, rel_tol=1e-9, abs_tol=1e-9)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), gamma=st.floats(0, 1))
def test_gae_at_lambda_one_is_the_monte_carlo_return_minus_the_value(seed: int, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    r, v = rng.normal(size=6), rng.normal(size=6)
    want = [math.fsum(gamma ** (k - t) * r[k] for k in range(t, 6)) - v[t] for t in range(6)]
    np.testing.assert_allclose(gae(r, v, gamma=gamma, lam=1.0), want, atol=1e-9)
    np.testing.assert_allclose(discounted(r, gamma=gamma), np.array(want) + v, atol=1e-9)


def test_ppo_s_advantages_are_gae_over_turns_whitened_over_all_of_them() -> None:
    groups = [_group(0, planned=True, subgoals=3), _group(1, planned=True, subgoals=3)]
    got = [a for rows in make_estimator("ppo")(groups, "executor") for a in rows]
    raw = []
    for episode in [e for g in groups for e in g]:
        turns, after, advantage, found = _acted(episode), 0.0, 0.0, []
        for turn in reversed(turns):
            surprise = turn.reward - turn.penalty + 0.95 * after - float(turn.value or 0.0)
            advantage, after = surprise + 0.95 * 0.95 * advantage, float(turn.value or 0.0)
            found.insert(0, advantage)
        raw.append(found)
    flat = np.array([a for row in raw for a in row])
    want = [(np.array(row) - flat.mean()) / (flat.std() + EPS) for row in raw]
    for got_N, want_N in zip(got, want, strict=True):
        np.testing.assert_allclose(got_N[1:], want_N, rtol=1e-5, atol=1e-6)
        assert math.isnan(got_N[0])


def test_the_planner_s_one_turn_is_judged_by_all_that_came_of_its_blueprint() -> None:
    group = _group(5, planned=True, subgoals=3)
    for episode in group:
        assert episode.planning is not None and episode.planning.value is not None
        assert math.isclose(rewards_of(episode, "planner")[0], episode.return_, rel_tol=1e-9)
        (target_N,) = GeneralizedAdvantage(gamma=0.5, gae_lambda=0.5).targets([[episode]], "planner")[0]
        assert math.isclose(target_N[0], episode.return_, rel_tol=1e-5, abs_tol=1e-6)


def test_at_lambda_one_the_critic_is_taught_the_return_whatever_it_said() -> None:
    for episode in _group(6, subgoals=3):
        (target_N,) = GeneralizedAdvantage(gamma=0.9, gae_lambda=1.0).targets([[episode]], "executor")[0]
        want = [_from(_acted(episode), t, 0.9) for t in range(len(_acted(episode)))]
        np.testing.assert_allclose(target_N, want, rtol=1e-5, atol=1e-5)


def _of_segments(episode: Episode, segments: list[Segment]) -> Episode:
    total = sum(turn.reward - turn.penalty for segment in segments for turn in segment.turns)
    return replace(episode, segments=tuple(segments), env_return=total, penalty=0.0)


def _with_rewards(episode: Episode, rewards: list[float], *, states: list[str] | None = None) -> Episode:
    keys = states or ["s"] * len(rewards)
    turns = tuple(
        Turn(role="executor", context=0, start=1, end=2, text="", reward=r, state_key=k)
        for r, k in zip(rewards, keys, strict=True)
    )
    return _of_segments(episode, [Segment(index=0, subgoal="", turns=turns, stop=StopReason.EPISODE_END)])


def _with_states(episode: Episode, states: list[str]) -> Episode:
    rewards = [t.reward - t.penalty for t in _acted(episode)]
    return _with_rewards(episode, rewards, states=states)
