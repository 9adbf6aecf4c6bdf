"""Credit by deletion: what each line of a blueprint is worth, by carrying the blueprint out without it.

Phase A gives all words of a blueprint the same advantage, so words that change nothing drift with those that do. In a
world that can be played again, z* is also executed without its k-th sub-goal, for each k, by the same frozen executor:

    d_k = R(z*) - R(z* without k)          A(tokens of line k) = d_k / F
    F = std({R_i of the group} and {R(z* without k)}) + eps   for group_relative;   1   for the other bases

A line that changes nothing gets exactly 0, one that does harm less. All other tokens, tags and numbers of z* too, and all other
blueprints keep the base estimator's advantage; so does the executor. The executions are paid for out of every budget.

This is ours and not the paper's. It is a leave-one-out estimate: of two lines of which either would do, both get 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from himac.algo.base import TurnAdvantages, returns_of
from himac.algo.group import BASES
from himac.types import Group, Role

EPSILON = 1e-6  # keeps the division finite


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """A base estimator's advantage, and for the lines of z* what they are worth."""

    base: Literal["group_relative", "group_mean", "rloo"] = "group_relative"  # of everything but z*'s lines

    needs_blueprint: ClassVar[bool] = True
    needs_deletions: ClassVar[bool] = True

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return, for each group and each of its episodes, one advantage per turn of `role`."""
        return BASES[self.base](groups, role)

    def lines(self, group: Group) -> list[np.ndarray | None]:
        """Return, for each episode, (K,) advantages of its blueprint's lines; None where none was deleted."""
        return [self._worth(group, np.array(e.worth)) if e.worth else None for e in group]

    def _worth(self, group: Group, worth_K: np.ndarray) -> np.ndarray:
        if self.base != "group_relative":
            return worth_K
        returns_G = returns_of(group)
        without_K = max(returns_G) - worth_K  # z* has the group's best return
        return worth_K / (float(np.concatenate([returns_G, without_K]).std()) + EPSILON)
