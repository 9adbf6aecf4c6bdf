"""PPO: a critic instead of peers, and credit that travels back over turns.

A turn is a step. The critic says what the return from a turn on is worth, V_t, before the turn is
written; how much better it went is the turn's advantage, the same for all its tokens:

    d_t = r_t + gamma V_(t+1) - V_t                A_t = d_t + gamma lambda A_(t+1)
    V_t is trained towards A_t + V_t               V after the last turn is 0

lambda = 0 trusts the critic a step ahead; lambda = 1 is the Monte Carlo return minus V_t. The advantages of an
update are then shifted and scaled to mean 0 and deviation 1, over turns. An episode that a limit has ended counts as
ended, as in every other method here: nothing that might have come later is part of anybody's return.

Sources: GAE, arXiv 1506.02438, equations 11 and 16; PPO, arXiv 1707.06347. The published agents' PPO bootstraps
from token to token inside one answer, so that no credit reaches earlier turns; this one does not.

The same estimator is a critic per level (the idea of HiPER, arXiv 2602.16165): each role's steps are its own turns, and
each role has its own column of the value head. With `algo.coevolution = false` both levels learn from the same
episodes, the planner's one turn against V(task), the executor's turns against V(segment so far). What HiPER has and this
has not: a planner that decides again at every step whether to keep its sub-goal. Here a blueprint is one
decision, so the planner's level has one step, and no boundary to bootstrap at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from himac.algo.advantages import gae, whiten
from himac.algo.base import TurnAdvantages, rewards_of, scatter_to_turns
from himac.toml import NonNegative, Share
from himac.types import Episode, Group, Role


@dataclass(frozen=True, kw_only=True)
class GeneralizedAdvantage:
    """GAE over each episode's turns of one role, whitened over all of them. Needs turns with values."""

    gamma: Share = 0.95  # discount over turns
    gae_lambda: Share = 0.95  # 1 is the whole return, 0 trusts the critic one turn ahead
    value_lr: NonNegative = 10.0  # the value head's rate over optimizer.lr (published: 1e-5 beside 1e-6)
    value_coef: NonNegative = 0.5  # how hard the value loss pulls at the backbone; 0 leaves it alone

    needs_peers: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = True

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return, for each group and each of its episodes, one advantage per turn of `role`."""
        episodes = [episode for group in groups for episode in group]
        if not episodes:
            return [[] for _ in groups]
        raw = [self._advantages(episode, role) for episode in episodes]
        white = np.split(whiten(np.concatenate(raw)), np.cumsum([len(row) for row in raw])[:-1])
        laid = iter(
            scatter_to_turns(episode, role, row) for episode, row in zip(episodes, white, strict=True)
        )
        return [[next(laid) for _ in group] for group in groups]

    def targets(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        """Return what the critic should have said at each turn of `role`: A_t + V_t, not whitened.

        Source: the lambda-return of TD(lambda). With lambda = 1 it is the discounted return from the turn on.
        """
        return [
            [scatter_to_turns(e, role, self._advantages(e, role) + _values(e, role)) for e in group]
            for group in groups
        ]

    def _advantages(self, episode: Episode, role: Role) -> np.ndarray:
        values = _values(episode, role)
        return gae(rewards_of(episode, role), values, gamma=self.gamma, lam=self.gae_lambda)


def _values(episode: Episode, role: Role) -> np.ndarray:
    values = [turn.value for turn in episode.turns if turn.role == role]
    assert None not in values, "fill_values first"
    return np.array(values, np.float64)
