"""Estimators by name: from groups of episodes to one advantage per trainable turn.

group_relative   GRPO, HiMAC       (R - mean R) / std R                           algo/group.py
group_mean       Dr. GRPO          R - mean R
rloo             RLOO              R - mean of the others' R
gigpo            GiGPO             GRPO's + w x the same among turns in one state  algo/gigpo.py
gigpo_mean       GiGPO, mean only  without the two divisions
ppo              PPO               GAE over turns against a value head             algo/ppo.py

deletion         ours              one of the first three; lines of z* by what is lost without them  algo/deletion.py
subgoal          ours              one of the first three + w x the same within each sub-goal of z*  algo/subgoal.py
"""

from __future__ import annotations

from typing import Any

from himac.algo.base import Estimator, TurnAdvantages, returns_of
from himac.errors import ConfigError
from himac.plugins import resolve
from himac.toml import call

__all__ = ["Estimator", "TurnAdvantages", "make_estimator", "needs", "returns_of"]


def make_estimator(name: str, settings: dict[str, Any] | None = None) -> Estimator:
    """Build an estimator.

    Args:
        name: a short name, an import path, or an entry point in himac.estimators.
        settings: its parameters by name.

    Raises:
        ConfigError: unknown name, unknown parameter, or a value it does not allow.
    """
    estimator: Estimator = call(resolve("estimators", name), settings or {}, "algo.estimator_settings")
    if not callable(estimator):
        raise ConfigError(f"estimator {name!r} cannot be called with (groups, role)")
    return estimator


def needs(estimator: Any, what: str) -> bool:
    """Return whether an estimator, or its class, needs "peers", a "critic", a "blueprint" or "deletions" (see `Estimator`)."""
    return bool(getattr(estimator, f"needs_{what}", what == "peers"))
