"""What every estimator shares: its protocol, and an episode's rewards turn by turn.

An estimator turns groups of episodes into one number a turn, and says nothing of tokens. It returns, per
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
    """Turns groups into advantages.

    Class attributes say what it needs; left out, they are the values here. Its parameters are those of its
    constructor, best the fields of a dataclass, and are set in a recipe under `[algo.estimator_settings]`.

        needs_peers = True        compares episodes of a group, so a group has at least two
        needs_critic = False      reads `Turn.value`; also has `targets`, and `value_lr` and `value_coef` of the critic
        needs_blueprint = False   its executor's peers carry out one blueprint
        needs_deletions = False   z* is also executed without each of its sub-goals; also has `lines` (algo/deletion.py)
    """

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return, for each group and each of its episodes, one advantage per turn of `role`."""
        ...


class CriticEstimator(Estimator, Protocol):
    """An estimator that also says what its critic should have said."""

    value_lr: float  # the critic's learning rate over the policy's
    value_coef: float  # share of the value loss's gradient that reaches the policy

    def targets(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return, as `__call__` does, the value that the critic is trained towards at each turn of `role`."""
        ...


def returns_of(group: Group) -> np.ndarray:
    """(G,) returns that the group compares."""
    return np.array([episode.return_ for episode in group], np.float64)


def broadcast_to_turns(group: Group, advantages_G: np.ndarray, role: Role) -> list[TurnAdvantages]:
    """Give each episode's advantage to all its turns of `role`."""
    return [_per_turn(episode, float(a), role) for episode, a in zip(group, advantages_G, strict=True)]


def role_mask(episode: Episode, role: Role) -> np.ndarray:
    """(N,) bool: which turns are of `role`."""
    return np.array([turn.role == role for turn in episode.turns], bool)


def scatter_to_turns(episode: Episode, role: Role, values_K: np.ndarray) -> TurnAdvantages:
    """Lay the values of the K turns of `role` over all N turns; NaN elsewhere."""
    laid_N = np.full(len(episode.turns), np.nan, np.float32)
    laid_N[role_mask(episode, role)] = values_K
    return laid_N


def rewards_of(episode: Episode, role: Role) -> np.ndarray:
    """(K,) rewards of the K turns of `role`, penalties taken off.

    What comes after a turn and before the next one of its role is its reward: the planner's one turn has earned
    all that its blueprint came to. Only what lies before the role's first turn is not its affair.
    """
    starts = np.flatnonzero(role_mask(episode, role))
    rewards_N = np.array([turn.reward - turn.penalty for turn in episode.turns], np.float64)
    return np.add.reduceat(rewards_N, starts) if len(starts) else np.zeros(0)


def _per_turn(episode: Episode, advantage: float, role: Role) -> TurnAdvantages:
    return np.array([advantage if t.role == role else np.nan for t in episode.turns], np.float32)
