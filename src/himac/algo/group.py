"""Advantages by comparison of whole episodes: GRPO, Dr. GRPO, RLOO, and HiMAC at either level.

One idea: HiMAC's two levels use the same comparison among different peers. Phase A groups the attempts at one
task and credits the turn that wrote the blueprint; phase B groups the executions of one blueprint and
credits the executor's turns; flat GRPO groups the attempts at one task and credits every turn.

Source: arXiv 2603.00977, hierarchical relative advantage estimation.
"""

from __future__ import annotations

from collections.abc import Sequence

from himac.algo.advantages import Normalise, group_relative, leave_one_out
from himac.algo.base import TurnAdvantages, returns_of, spread
from himac.types import Group, Role


class GroupRelative:
    """GRPO's advantage, the same for every trained turn of an episode; HRAE at either level."""

    def __init__(self, *, normalise: Normalise = "mean_std", eps: float = 1e-6) -> None:
        self._normalise, self._eps = normalise, eps

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        return [
            spread(group, group_relative(returns_of(group), normalise=self._normalise, eps=self._eps), role)
            for group in groups
        ]


class LeaveOneOut:
    """RLOO's advantage, the same for every trained turn of an episode."""

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        return [spread(group, leave_one_out(returns_of(group)), role) for group in groups]
