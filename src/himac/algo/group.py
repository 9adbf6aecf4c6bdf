"""Advantages by comparison of whole episodes: GRPO, Dr. GRPO, RLOO, and HiMAC at either level.

HiMAC's two levels use the same comparison among different peers. Phase A groups the attempts at one
task and credits the turn that wrote the blueprint; phase B groups the executions of one blueprint and
credits the executor's turns; flat GRPO groups the attempts at one task and credits every turn.

Source: arXiv 2603.00977, hierarchical relative advantage estimation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from himac.algo.advantages import Normalise, group_relative, leave_one_out
from himac.algo.base import Estimator, TurnAdvantages, broadcast_to_turns, returns_of
from himac.types import Group, Role


@dataclass(frozen=True, kw_only=True)
class GroupRelative:
    """GRPO's advantage, the same for every trained turn of an episode; HRAE at either level."""

    normalise: Normalise = "mean_std"  # "mean" does not divide by the deviation

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return, for each group and each of its episodes, one advantage per turn of `role`."""
        return [
            broadcast_to_turns(group, group_relative(returns_of(group), normalise=self.normalise), role)
            for group in groups
        ]


@dataclass(frozen=True, kw_only=True)
class GroupMean(GroupRelative):
    """Dr. GRPO's: not divided by the group's deviation."""

    normalise: Normalise = "mean"


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """RLOO's advantage, the same for every trained turn of an episode."""

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return, for each group and each of its episodes, one advantage per turn of `role`."""
        return [broadcast_to_turns(group, leave_one_out(returns_of(group)), role) for group in groups]


BASES: dict[str, Estimator] = {
    "group_relative": GroupRelative(),
    "group_mean": GroupMean(),
    "rloo": LeaveOneOut(),
}
"""What estimators that add to a comparison of episodes may add to."""
