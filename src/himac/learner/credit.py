"""Credit: an estimator's comparison of groups, with a critic's values where it needs them, as training samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from himac.algo.base import TurnAdvantages
from himac.algo.estimators import Estimator
from himac.algo.losses import Aggregation
from himac.learner.samples import fill_values, to_samples
from himac.types import Episode, Group, Role, Sample

PerRole = dict[Role, list[list[TurnAdvantages]]]
"""For each role, for each group and each of its episodes, (N,) over its turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Groups, and who deserves what."""

    groups: Sequence[Group]  # their turns have values where a critic was asked
    advantages: PerRole
    targets: PerRole = field(default_factory=dict)  # what the critic should have said; empty without one

    @property
    def episodes(self) -> list[Episode]:
        """All groups' episodes in order."""
        return [episode for group in self.groups for episode in group]

    def samples(self, aggregation: Aggregation) -> list[Sample]:
        """Return the training samples of every role that was credited."""
        return [
            sample
            for role, per_group in self.advantages.items()
            for sample in to_samples(
                self.episodes,
                _flat(per_group),
                role=role,
                aggregation=aggregation,
                targets=_flat(self.targets[role]) if role in self.targets else None,
            )
        ]


class CreditAssigner:
    """Turns groups into credit.

    Args:
        estimator: compares.
        values: asks a critic (see `Learner.values`); None where the estimator needs none.
    """

    def __init__(
        self,
        estimator: Estimator,
        *,
        values: Callable[[Sequence[Sample]], list[np.ndarray]] | None = None,
    ) -> None:
        self._estimator, self._values = estimator, values

    def __call__(self, groups: Sequence[Group], roles: Sequence[Role]) -> Credit:
        """Compare the groups for each of the roles."""
        if self._values is None:
            return Credit(groups=groups, advantages={role: self._estimator(groups, role) for role in roles})
        groups = fill_values(groups, self._values)
        return Credit(
            groups=groups,
            advantages={role: self._estimator(groups, role) for role in roles},
            targets={role: self._estimator.targets(groups, role) for role in roles},  # type: ignore[attr-defined]
        )


def _flat(per_group: Sequence[Sequence[TurnAdvantages]]) -> list[TurnAdvantages]:
    return [row for group in per_group for row in group]
