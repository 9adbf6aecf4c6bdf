"""Samples laid out in packed rows, and what the losses ask of them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from himac.config import AlgoConfig
from himac.models.packing import PackedBatch
from himac.types import Role, Sample


@dataclass(frozen=True, slots=True)
class Pack:
    """One packed row with the samples that lie in it, in the words of `token_logps`.

    Per sequence given to `pack`: which of the update's samples it is, the sample, (T_s,) bool its trained tokens, and
    (T_s,) bool where a critic is asked.
    """

    batch: PackedBatch
    members: Sequence[int]
    samples: Sequence[Sample]
    masks: Sequence[np.ndarray]
    states_at: Sequence[np.ndarray]
    counts: bool = True  # False: it keeps ranks in step and teaches nothing (himac.parallel)

    @property
    def role(self) -> Role:
        """Whose row it is, where the roles are packed apart."""
        return self.samples[self.batch.sequences[0]].role

    @property
    def num_tokens(self) -> int:
        """Tokens before a common prefix was laid out once."""
        return sum(len(self.samples[i].ids) for i in self.batch.sequences)

    def pick(self, name: Literal["logps", "advantages", "weights"]) -> np.ndarray:
        """(N,) a field of the samples at their trained tokens."""
        return self.batch.select([getattr(sample, name) for sample in self.samples], self.masks)

    def pick_from(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """(N,) at the trained tokens, of values given for all of the update's samples."""
        return self.batch.select([values[i] for i in self.members], self.masks)

    def kl_coefs(self, cfg: AlgoConfig) -> np.ndarray:
        """(N,) the KL coefficient of each trained token: its role's."""
        return self.batch.select(
            [np.full(len(sample.ids), cfg.kl_of(sample.role), np.float32) for sample in self.samples],
            self.masks,
        )

    @property
    def targets_M(self) -> np.ndarray:
        """(M,) what the critic should say where it is asked."""
        asked = [(self.samples[i].targets, self.states_at[i]) for i in self.batch.sequences]
        return np.concatenate([np.zeros(0), *(targets[at] for targets, at in asked if targets is not None)])

    @property
    def state_roles(self) -> list[Role]:
        """Whose turn it is at each of these places."""
        return [
            self.samples[i].role for i in self.batch.sequences for _ in range(int(self.states_at[i].sum()))
        ]


def where_asked(targets: np.ndarray | None, ids: np.ndarray) -> np.ndarray:
    """(T,) bool: where there is a target."""
    return np.zeros(len(ids), bool) if targets is None else ~np.isnan(targets)
