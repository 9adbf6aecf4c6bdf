"""Credit by sub-goal: the executions of one blueprint, compared sub-goal by sub-goal.

One idea: in phase B all peers carry out the same z*, so its k-th sub-goal is a place where they can be
compared, as a state is for GiGPO, without having to meet in the same state:

    A(turn of sub-goal k) = A_E(episode) + w (G_k - mean G_k) / F(G_k)
    G_k = r_t + gamma r_(t+1) + ...    from the first turn under sub-goal k on

over the executions that reached sub-goal k. Each execution counts once, however many turns it spent there; one
that nobody else reached says nothing. With w = 0 this is HiMAC's own phase B.

This is ours and not the paper's. It needs peers with one blueprint, so the joint ablation and the flat agent
cannot have it; the planner's advantage stays what it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from himac.algo.advantages import Normalise, discounted
from himac.algo.base import Estimator, TurnAdvantages, on_turns, rewards_of
from himac.algo.gigpo import among_equals
from himac.types import Episode, Group, Role


class SubgoalRelative:
    """A base estimator's advantage plus the comparison within each sub-goal.

    Args:
        base: gives the episode's advantage, and all of the planner's.
        gamma: discount over turns.
        weight: what the comparison within a sub-goal counts.
        normalise: what it divides by.
        eps: keeps the division finite.
    """

    def __init__(
        self,
        base: Estimator,
        *,
        gamma: float = 0.95,
        weight: float = 1.0,
        normalise: Normalise = "mean_std",
        eps: float = 1e-6,
    ) -> None:
        self._base, self._gamma, self._weight = base, gamma, weight
        self._normalise, self._eps = normalise, eps

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        whole = self._base(groups, role)
        if role == "macro":
            return whole
        return [self._with_subgoals(group, rows) for group, rows in zip(groups, whole, strict=True)]

    def _with_subgoals(self, group: Group, whole: Sequence[TurnAdvantages]) -> list[TurnAdvantages]:
        compared = among_equals(
            [[segment.index for segment in episode.segments] for episode in group],
            [self._from_each_subgoal(episode) for episode in group],
            normalise=self._normalise,
            eps=self._eps,
        )
        return [
            advantages_N + on_turns(episode, "micro", self._weight * np.repeat(compared_S, _lengths(episode)))
            for episode, advantages_N, compared_S in zip(group, whole, compared, strict=True)
        ]

    def _from_each_subgoal(self, episode: Episode) -> np.ndarray:
        """(S,) discounted return from each segment's first turn on."""
        firsts_S = np.cumsum([0, *_lengths(episode)])[:-1]
        return discounted(rewards_of(episode, "micro"), gamma=self._gamma)[firsts_S]


def _lengths(episode: Episode) -> list[int]:
    """Turns of each segment."""
    return [len(segment.turns) for segment in episode.segments]
