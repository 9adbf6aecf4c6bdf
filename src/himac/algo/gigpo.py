"""GiGPO: episodes compared as wholes, and their steps compared where they met the same state.

Attempts at one task pass through the same states. The turns that were taken in one state (an
anchor) form a second, smaller group, compared by what came of them from there on:

    A(turn) = A_E(episode) + w A_S(turn)
    A_E     = (R_i - mean R) / F(R)                       over the episodes of the group
    A_S     = (G_t - mean G) / F(G)                       over the turns of the group in the same state
    G_t     = r_t + gamma r_(t+1) + gamma^2 r_(t+2) ...   from the turn on

F is the standard deviation (the published mode for ALFWorld) or 1 (for WebShop and Sokoban). A state that no
other turn was taken in says nothing: A_S = 0. With w = 0, or without a state met twice, this is GRPO.

Source: arXiv 2505.10978, equations 3, 6, 7 and 8.

Within the hierarchy a state is met again only under the same sub-goal: what to do in it depends on that. A
flat agent has none, so there this changes nothing. The planner writes one turn, in one state: its A_E is all.
What differs from the published code: statistics are over episodes, not over their steps; the population's
standard deviation; a state is all that is seen of it, admissible actions included.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from himac.algo.advantages import Normalise, discounted, group_relative
from himac.algo.base import TurnAdvantages, rewards_of, scatter_to_turns
from himac.algo.group import GroupRelative
from himac.toml import NonNegative, Share
from himac.types import Episode, Group, Role


@dataclass(frozen=True, kw_only=True)
class GiGPO:
    """Episode advantage plus the step advantage among turns taken in the same state."""

    gamma: Share = 0.95  # discount over turns; published
    step_weight: NonNegative = 1.0  # omega, what the step advantage counts; published
    normalise: Normalise = "mean_std"  # what both levels divide by

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return, for each group and each of its episodes, one advantage per turn of `role`."""
        whole = GroupRelative(normalise=self.normalise)(groups, role)
        if role == "planner":
            return whole
        return [
            self._with_steps(group, per_episode) for group, per_episode in zip(groups, whole, strict=True)
        ]

    def _with_steps(self, group: Group, whole: Sequence[TurnAdvantages]) -> list[TurnAdvantages]:
        steps = within_key(
            [_anchors(episode) for episode in group],
            [discounted(rewards_of(episode, "executor"), gamma=self.gamma) for episode in group],
            normalise=self.normalise,
        )
        return [
            advantages_N + scatter_to_turns(episode, "executor", self.step_weight * steps_K)
            for episode, advantages_N, steps_K in zip(group, whole, steps, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class GiGPOMean(GiGPO):
    """Without the two divisions: the published mode for WebShop and Sokoban."""

    normalise: Normalise = "mean"


def within_key(
    keys: Sequence[Sequence[Hashable]],
    returns: Sequence[np.ndarray],
    *,
    normalise: Normalise = "mean_std",
    eps: float = 1e-6,
) -> list[np.ndarray]:
    """Compare returns that have the same key, wherever in the group they stand.

    Args:
        keys: per episode, K keys.
        returns: per episode, (K,).
        normalise: see `group_relative`.
        eps: keeps the division finite.

    Returns:
        Per episode (K,); 0 where nobody else has the key.

    >>> [a.tolist() for a in within_key(
    ...     [["a", "b"], ["a"]], [np.array([1.0, 5.0]), np.array([3.0])], normalise="mean")]
    [[-1.0, 0.0], [1.0]]
    """
    members_of: dict[Hashable, list[int]] = {}
    for index, key in enumerate(key for row in keys for key in row):
        members_of.setdefault(key, []).append(index)
    flat_T = np.concatenate(returns)
    compared_T = np.zeros_like(flat_T)
    for members in members_of.values():
        compared_T[members] = group_relative(flat_T[members], normalise=normalise, eps=eps)
    return np.split(compared_T, np.cumsum([len(row) for row in returns])[:-1])


def _anchors(episode: Episode) -> list[Hashable]:
    """One key per executor turn: the state it was taken in, and under which sub-goal."""
    return [(segment.index, turn.state_key) for segment in episode.segments for turn in segment.turns]
