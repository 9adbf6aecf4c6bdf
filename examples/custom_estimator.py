"""An advantage estimator of your own: how far an attempt is from the median of its group.

cd examples
himac check algo.estimator=custom_estimator:MedianBaseline
himac train custom_env.toml algo.estimator=custom_estimator:MedianBaseline algo.estimator_settings.scale=2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from himac.algo.base import TurnAdvantages, broadcast_to_turns, returns_of
from himac.toml import at_least
from himac.types import Group, Role


@dataclass(frozen=True, kw_only=True)
class MedianBaseline:
    """A = scale x (R - median R), the same for every turn; one lucky attempt does not make all others bad."""

    scale: Annotated[float, at_least(0)] = 1.0  # fields are settings: checked by type and range

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return, for each group and each of its episodes, one advantage a turn of `role`, NaN elsewhere."""
        return [
            broadcast_to_turns(group, self.scale * (returns_of(group) - np.median(returns_of(group))), role)
            for group in groups
        ]
