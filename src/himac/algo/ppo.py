"""PPO: a critic instead of peers, and credit that travels back over turns.

One idea: a turn is a step. The critic says what the return from a turn on is worth, V_t, before the turn is
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

import numpy as np

from himac.algo.advantages import gae, whiten
from himac.algo.base import TurnAdvantages, on_turns, rewards_of
from himac.types import Episode, Group, Role


class GeneralizedAdvantage:
    """GAE over each episode's turns of one role, whitened over all of them. Needs turns with values.

    Args:
        gamma: discount over turns.
        lam: lambda, how far credit travels beyond what the critic foresees.
    """

    def __init__(self, *, gamma: float = 0.95, lam: float = 0.95) -> None:
        self._gamma, self._lam = gamma, lam

    def __call__(self, groups: Sequence[Group], role: Role) -> list[list[TurnAdvantages]]:
        episodes = [episode for group in groups for episode in group]
        if not episodes:
            return [[] for _ in groups]
        raw = [_advantages(episode, role, self._gamma, self._lam) for episode in episodes]
        white = np.split(whiten(np.concatenate(raw)), np.cumsum([len(row) for row in raw])[:-1])
        laid = iter(on_turns(episode, role, row) for episode, row in zip(episodes, white, strict=True))
        return [[next(laid) for _ in group] for group in groups]


def value_targets(
    episodes: Sequence[Episode], role: Role, *, gamma: float, lam: float
) -> list[TurnAdvantages]:
    """Return, per episode, what the critic should have said at each turn of `role`: A_t + V_t, not whitened.

    Source: the lambda-return of TD(lambda). With lambda = 1 it is the discounted return from the turn on.
    """
    return [on_turns(e, role, _advantages(e, role, gamma, lam) + _values(e, role)) for e in episodes]


def _advantages(episode: Episode, role: Role, gamma: float, lam: float) -> np.ndarray:
    return gae(rewards_of(episode, role), _values(episode, role), gamma=gamma, lam=lam)


def _values(episode: Episode, role: Role) -> np.ndarray:
    values = [turn.value for turn in episode.turns if turn.role == role]
    assert None not in values, "a critic has to appraise the episodes first"
    return np.array(values, np.float64)
