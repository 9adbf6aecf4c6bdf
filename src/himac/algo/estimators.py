"""Estimators by name: from groups of episodes to one advantage per trainable turn.

    group_relative   GRPO, HiMAC       (R - mean R) / std R                           algo/group.py
    group_mean       Dr. GRPO          R - mean R
    rloo             RLOO              R - mean of the others' R
    gigpo            GiGPO             GRPO's + w x the same among turns in one state  algo/gigpo.py
    gigpo_mean       GiGPO, mean only  without the two divisions
    ppo              PPO               GAE over turns against a value head             algo/ppo.py

`credit = "subgoal"` adds a comparison within each sub-goal of z* to the first three (algo/subgoal.py).
"""

from __future__ import annotations

from himac.algo.advantages import Normalise
from himac.algo.base import Estimator, TurnAdvantages, returns_of, spread
from himac.algo.gigpo import GiGPO
from himac.algo.group import GroupRelative, LeaveOneOut
from himac.algo.ppo import GeneralizedAdvantage
from himac.algo.subgoal import SubgoalRelative
from himac.config import AlgoConfig
from himac.errors import ConfigError, closest

__all__ = [
    "Estimator", "GeneralizedAdvantage", "GiGPO", "GroupRelative", "LeaveOneOut", "SubgoalRelative", "TurnAdvantages",
    "make_estimator", "returns_of", "spread",
]  # fmt: skip


def make_estimator(algo: AlgoConfig) -> Estimator:
    """Build the estimator that the [algo] section names.

    Raises:
        ConfigError: unknown name.
    """
    gamma, weight = algo.gamma, algo.step_weight
    known: dict[str, Estimator] = {
        "group_relative": GroupRelative(),
        "group_mean": GroupRelative(normalise="mean"),
        "rloo": LeaveOneOut(),
        "gigpo": GiGPO(gamma=gamma, weight=weight),
        "gigpo_mean": GiGPO(gamma=gamma, weight=weight, normalise="mean"),
        "ppo": GeneralizedAdvantage(gamma=gamma, lam=algo.gae_lambda),
    }
    name = algo.estimator
    if name not in known:
        raise ConfigError(f"unknown estimator {name!r}; known: {', '.join(known)}{closest(name, known)}")
    if algo.credit == "subgoal":
        normalise: Normalise = "mean_std" if name == "group_relative" else "mean"
        return SubgoalRelative(known[name], gamma=gamma, weight=weight, normalise=normalise)
    return known[name]
