"""Credit by sub-goal: the executions of one blueprint, compared sub-goal by sub-goal.

In phase B all peers carry out the same z*, so its k-th sub-goal is a place where they can be
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
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from himac.algo.advantages import discounted
from himac.algo.base import TurnAdvantages, rewards_of, scatter_to_turns
from himac.algo.gigpo import within_key
from himac.algo.group import BASES
from himac.toml import NonNegative, Share
from himac.types import Episode, Group, Role


@dataclass(frozen=True, kw_only=True)
class SubgoalRelative:
    """A base estimator's advantage plus the comparison within each sub-goal."""

    base: Literal["group_relative", "group_mean", "rloo"] = "group_relative"  # of episodes, and the planner's
    gamma: Share = 0.95  # discount over turns
    step_weight: NonNegative = 1.0  # what the comparison within a sub-goal counts

    needs_blueprint: ClassVar[bool] = True

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return, for each group and each of its episodes, one advantage per turn of `role`."""
        whole = BASES[self.base](groups, role)
        if role == "planner":
            return whole
        return [self._with_subgoals(group, rows) for group, rows in zip(groups, whole, strict=True)]

    def _with_subgoals(self, group: Group, whole: Sequence[TurnAdvantages]) -> list[TurnAdvantages]:
        compared = within_key(
            [[segment.index for segment in episode.segments] for episode in group],
            [self._from_each_subgoal(episode) for episode in group],
            normalise="mean_std" if self.base == "group_relative" else "mean",
        )
        return [
            advantages_N
            + scatter_to_turns(
                episode, "executor", self.step_weight * np.repeat(compared_S, _lengths(episode))
            )
            for episode, advantages_N, compared_S in zip(group, whole, compared, strict=True)
        ]

    def _from_each_subgoal(self, episode: Episode) -> np.ndarray:
        """(S,) discounted return from each segment's first turn on."""
        firsts_S = np.cumsum([0, *_lengths(episode)])[:-1]
        from_each_S: np.ndarray = discounted(rewards_of(episode, "executor"), gamma=self.gamma)[firsts_S]
        return from_each_S


def _lengths(episode: Episode) -> list[int]:
    """Turns of each segment."""
    return [len(segment.turns) for segment in episode.segments]
