"""What every estimator shares: its protocol, and an episode's rewards turn by turn.

One idea: an estimator turns groups of episodes into one number a turn, and says nothing of tokens. It returns, per
episode, an array over `episode.turns`; NaN marks a turn that is not trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from himac.types import Episode, Group, Role

TurnAdvantages = np.ndarray
"""(N,) float32 over an episode's turns; NaN where the turn gets no gradient."""


class Estimator(Protocol):
    """Turns groups into advantages."""

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return, for each group and each of its episodes, one advantage per turn of `role`."""
        ...


def returns_of(group: Group) -> np.ndarray:
    """(G,) returns that the group compares."""
    return np.array([episode.ret for episode in group], np.float64)


def spread(group: Group, advantages_G: np.ndarray, role: Role) -> list[TurnAdvantages]:
    """Give each episode's advantage to all its turns of `role`."""
    return [_per_turn(episode, float(a), role) for episode, a in zip(group, advantages_G, strict=True)]


def is_of(episode: Episode, role: Role) -> np.ndarray:
    """(N,) bool: which turns are of `role`."""
    return np.array([turn.role == role for turn in episode.turns], bool)


def on_turns(episode: Episode, role: Role, values_K: np.ndarray) -> TurnAdvantages:
    """Lay the values of the K turns of `role` over all N turns; NaN elsewhere."""
    laid_N = np.full(len(episode.turns), np.nan, np.float32)
    laid_N[is_of(episode, role)] = values_K
    return laid_N


def rewards_of(episode: Episode, role: Role) -> np.ndarray:
    """(K,) rewards of the K turns of `role`, penalties taken off.

    What comes after a turn and before the next one of its role is its reward: the planner's one turn has earned
    all that its blueprint came to. Only what lies before the role's first turn is not its affair.
    """
    starts = np.flatnonzero(is_of(episode, role))
    rewards_N = np.array([turn.reward - turn.penalty for turn in episode.turns], np.float64)
    return np.add.reduceat(rewards_N, starts) if len(starts) else np.zeros(0)


def _per_turn(episode: Episode, advantage: float, role: Role) -> TurnAdvantages:
    return np.array([advantage if t.role == role else np.nan for t in episode.turns], np.float32)
