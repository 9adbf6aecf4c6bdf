"""What a run needs besides its settings, looked at before its folder exists and before its warm start takes an hour."""

from __future__ import annotations

import torch

from himac.config import Config
from himac.envs.base import Env, make_expert
from himac.errors import ConfigError, closest
from himac.learner.optimizer import check_optimizer
from himac.models.load import check_dtype, check_loadable
from himac.train.checks import check_sinks
from himac.train.components import build_env
from himac.train.local import pick_device
from himac.train.warm_start import demonstrated


def check_ready(config: Config, *, evaluates: bool = True) -> None:
    """Refuse a run that would end before it has begun: data, splits, expert, sinks, device, model, optimizer.

    Args:
        config: the run's, checked (`himac.train.checks`).
        evaluates: whether it trains and evaluates; a warm start alone does neither.

    Raises:
        HimacError: one line about the first thing that is not there.
    """
    device = pick_device(config.run.device)
    check_dtype(config.model.dtype, device)
    check_optimizer(config.optimizer)
    env = build_env(config)
    try:
        if evaluates:
            _check_splits(config, env)
        if config.sft.demonstrations:
            make_expert(config.env.name, env)
            demonstrated(env.tasks(env.spec.train_split), config.sft.kinds)
    finally:
        env.close()
    check_sinks(config)
    if config.model.name != "tiny":
        with torch.random.fork_rng(devices=[]):
            check_loadable(config.model.name)


def _check_splits(config: Config, env: Env) -> None:
    wanted = {"eval.split": config.eval.split if config.eval.every else "", "eval.final": config.eval.final}
    for key, split in wanted.items():
        if split and split not in env.spec.splits:
            known = ", ".join(env.spec.splits)
            raise ConfigError(
                f"{key} is {split!r}; the splits of {env.spec.name} are {known}{closest(split, env.spec.splits)}"
            )
