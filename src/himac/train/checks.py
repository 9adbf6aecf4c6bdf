"""What a run would refuse, refused before it starts: names, their settings, and what goes with what. Loads no torch."""

from __future__ import annotations

from typing import Any

from himac.agents.prompts import load_prompts
from himac.algo.estimators import make_estimator, needs
from himac.config import Config, is_endpoint
from himac.engines.settings import check_engine
from himac.envs.base import Describes, check_env_settings, make_env
from himac.envs.splits import SEALED
from himac.errors import ConfigError
from himac.plugins import resolve


def check(config: Config) -> Config:
    """Return the config, or refuse what no training run and no evaluation could use.

    Raises:
        ConfigError: a name that stands for nothing, a setting that its part does not take, or two settings that
            contradict one another.
    """
    check_env_settings(config.env.name, config.env.settings)
    check_engine(config.engine.name, config.engine.settings)
    for key, split in (("split", config.eval.split), ("final", config.eval.final)):
        if split == SEALED:
            raise ConfigError(
                f"eval.{key} cannot be {SEALED!r}: that split is drawn at the end of a comparison and by nothing else",
                hint="himac compare PLAN --unseal",
            )
    agent = resolve("agents", config.algo.method)
    estimator = make_estimator(config.algo.estimator, config.algo.estimator_settings)
    load_prompts(config.agent.prompts)
    for sink in config.run.sinks:
        resolve("sinks", sink)
    _check_peers(config, estimator)
    _check_thoughts(config)
    if getattr(agent, "replans", False) and config.agent.context == "full":
        raise ConfigError(
            f"algo.method = {config.algo.method!r} cannot have agent.context = 'full': a second plan has a context of its own",
            hint='agent.context = "segment", "carry" or "step"',
        )
    if getattr(agent, "style", "") == "stream" and config.agent.context != "segment":
        raise ConfigError(
            f"agent.context = {config.agent.context!r} has no meaning for algo.method = {config.algo.method!r}: its context is the "
            "whole stream",
            hint="leave agent.context out",
        )
    plans = getattr(agent, "plans", False) and not getattr(agent, "replans", False)
    _check_blueprints(config, estimator, plans=plans)
    return config


def check_sinks(config: Config) -> None:
    """Refuse a sink whose library is missing. Not part of `check`: who evaluates a run needs none of its sinks.

    Raises:
        MissingExtraError: it is not installed.
    """
    for name in config.run.sinks:
        if require := getattr(resolve("sinks", name), "require", None):
            require()


def check_trainable(config: Config) -> Config:
    """Return the config, or refuse also what cannot be trained: prompting methods, and models behind endpoints.

    Raises:
        ConfigError: the config describes an evaluation.
    """
    check(config)
    agent = resolve("agents", config.algo.method)
    if not getattr(agent, "is_trained", True):
        raise ConfigError(
            f"algo.method = {config.algo.method!r} prompts a frozen model and is not trained",
            hint="himac eval MODEL method=" + config.algo.method,
        )
    if is_endpoint(config.model.name):
        raise ConfigError(
            "model.name is an endpoint, which shows no tokens and no log-probabilities and cannot be trained",
            hint="himac eval takes endpoints; himac train takes local models",
        )
    if config.parallel.collectors and config.engine.name == "vllm-server":
        raise ConfigError(
            f"parallel.collectors = {config.parallel.collectors} with engine.name = 'vllm-server': each collector would hand its "
            "weights to the one server",
            hint="parallel.collectors = 0: the server generates for all",
        )
    for key in ("planner", "executor"):
        if name := getattr(config.eval, key):
            raise ConfigError(f"eval.{key} is for himac eval; training has one model, got {name!r}")
    _check_overlap(config, plans=getattr(agent, "plans", False))
    return config


def _check_peers(config: Config, estimator: Any) -> None:
    """Refuse what would compare an episode with nobody."""
    algo, rollout = config.algo, config.rollout
    for key in ("group_size", "executor_group_size"):
        size = getattr(rollout, key)
        if size < 2 and needs(estimator, "peers"):
            raise ConfigError(
                f"rollout.{key} must be at least 2 for estimator {algo.estimator!r}, got {size}",
                hint='it compares an episode with its peers; estimator = "ppo" needs none',
            )
    executions, temperature = rollout.judge
    if executions > 1 and not temperature:
        raise ConfigError(
            f"rollout.judge = {list(rollout.judge)} runs a greedy execution {executions} times over",
            hint=f"give it a temperature: rollout.judge = [{executions}, 0.4]",
        )
    if rollout.group_size < 2 and rollout.dynamic_sampling:
        raise ConfigError(
            f"rollout.dynamic_sampling must be 0 with rollout.group_size = 1, got {rollout.dynamic_sampling}",
            hint="it replaces groups without variance, and a group of one has none",
        )


def _check_overlap(config: Config, *, plans: bool) -> None:
    """Refuse to collect beside an update that moves the very weights, unless that is wanted and what is trained is weighed."""
    if not config.parallel.overlap:
        if config.parallel.behind:
            raise ConfigError(
                "parallel.behind = true needs parallel.overlap = true", hint="parallel.behind = false"
            )
        return
    has_two = plans and config.algo.coevolution
    if config.parallel.behind:
        if not (has_two and config.model.lora_per_role) and not config.algo.max_ratio:
            raise ConfigError(
                "parallel.behind = true trains on what was sampled before the newest update, and needs algo.max_ratio above 0",
                hint="algo.max_ratio = 2.0, or an adapter for each role: then only judges are behind",
            )
    elif not has_two:
        raise ConfigError(
            "parallel.overlap = true needs two phases: what the only one collects next waits for its own update",
            hint="method=himac with algo.coevolution = true, or parallel.behind = true",
        )
    elif not config.model.lora_per_role:
        raise ConfigError(
            "parallel.overlap = true needs an adapter for each role: a phase would collect with weights that the other one is moving",
            hint="model.lora_rank=32 model.lora_per_role=true, or parallel.behind = true",
        )
    if config.parallel.collectors:
        raise ConfigError(
            f"parallel.overlap = true with parallel.collectors = {config.parallel.collectors}: Ray's collectors wait for the newest weights",
            hint="one of the two",
        )
    if config.parallel.shard:
        raise ConfigError(
            "parallel.overlap = true is not there with parallel.shard = true: weights in parts are whole for one or the other",
            hint="parallel.shard = false: adapters alone learn, and every rank holds the whole model",
        )


def _check_thoughts(config: Config) -> None:
    """Refuse demonstrations without the thoughts that are asked for: a world that describes itself has them."""
    if not (config.sft.demonstrations and config.agent.think):
        return
    if not isinstance(make_env(config.env.name, **config.env.settings), Describes):
        raise ConfigError(
            f"sft.demonstrations = {config.sft.demonstrations} with agent.think = true: demonstrations hold no thoughts",
            hint="set agent.think = false, or sft.demonstrations = 0 for a model that can think",
        )


def _check_blueprints(config: Config, estimator: Any, *, plans: bool) -> None:
    """Refuse what would compare sub-goals of different blueprints."""
    if needs(estimator, "blueprint") and not (plans and config.algo.coevolution):
        raise ConfigError(
            f"algo.estimator = {config.algo.estimator!r} needs a method that plans once, and algo.coevolution = true",
            hint="only phase B's executions share a blueprint, and so their sub-goals",
        )
