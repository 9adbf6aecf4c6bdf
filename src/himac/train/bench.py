"""The workbench: everything a run works with, put together from its config. Layer 4.

One idea: the loop, the evaluation and the command line all need the same five things (policy, engine,
environment, collector, phases), so they are assembled in one place and nowhere else. A stage is the
bench of an evaluation whose roles are played by models of different kinds: local ones, and endpoints.
"""

from __future__ import annotations

from pathlib import Path

import torch

from himac.algo.losses import LossSettings
from himac.chat import Format, MessageFormat
from himac.config import Config
from himac.engines.base import Engine
from himac.engines.by_role import EngineByRole
from himac.engines.endpoint import Meter, is_endpoint
from himac.engines.openai import OpenAIEngine
from himac.engines.transformers import TransformersEngine
from himac.envs.base import Env, make_env
from himac.errors import ConfigError
from himac.rollout.collect import Collector, CollectSettings
from himac.rollout.live import Penalties
from himac.rollout.phases import Phases
from himac.train.critic import Critic, hidden_size
from himac.train.learner import Learner
from himac.train.policy import ROLES, Policy
from himac.types import Role


class Workbench:
    """Policy, engine, environment, collector and phases of one run.

    Args:
        config: the run's settings.
        model: Hugging Face name or folder to start from.
    """

    def __init__(self, config: Config, model: str | Path) -> None:
        self.config = config
        self.device = pick_device(config.run.device)
        torch.set_num_threads(config.run.threads)
        self.env = build_env(config)
        self.policy = Policy.load(model, config.model, device=self.device)
        self.engine = self._engine()
        self.collector = Collector(
            lambda: build_env(config), self.engine, chat=self.policy.chat, settings=collect_settings(config)
        )
        self.phases = Phases(config, self.env.spec, self.collector)

    def learner(self) -> Learner:
        """Build the learner of this run's policy."""
        algo = self.config.algo
        loss = LossSettings(
            clip_low=algo.clip_low,
            clip_high=algo.clip_high,
            kl_coef=algo.kl_coef,
            entropy_coef=algo.entropy_coef,
        )
        return Learner(self.policy, self.config.optim, loss, critic=self._critic())

    def refresh(self, version: int) -> None:
        """Tell the engine that the weights it shares with the learner have changed."""
        self.engine.load_weights(None, version)

    def _engine(self) -> Engine:
        """Generate with the learner's own module; a role with its own adapter has its own cache."""

        def one() -> TransformersEngine:
            policy = self.policy
            return TransformersEngine(policy.model, policy.tokenizer, max_batch=self.config.rollout.max_live)

        if not self.policy.per_role:
            return one()
        return EngineByRole({role: one() for role in ROLES}, play=self.policy.play)

    def _critic(self) -> Critic | None:
        """Build the value head that the method needs, if it needs one."""
        algo = self.config.algo
        if not algo.has_critic:
            return None
        return Critic(
            hidden_size(self.policy.model),
            scale=self.env.spec.reward_success or 1.0,
            rate=algo.value_lr,
            coef=algo.value_coef,
        ).to(self.device)


class Stage:
    """Engines, environment, collector and phases of an evaluation; nothing on it learns.

    Args:
        config: the evaluation's settings.
        planner: Hugging Face name, folder or endpoint that plans.
        executor: the same, that acts. When the two are equal they are one engine.

    Raises:
        ConfigError: two models for a method that has one role.
        MissingExtraError: an endpoint, and the package openai is not installed.
    """

    def __init__(self, config: Config, *, planner: str, executor: str) -> None:
        self.config = config
        endpoint = config.endpoint
        if planner != executor and config.algo.method != "himac":
            raise ConfigError(
                f"method {config.algo.method!r} has no planner, got {planner!r} beside {executor!r}",
                hint="name one model, or method=himac",
            )
        torch.set_num_threads(config.run.threads)
        self.env = build_env(config)
        self.meter = Meter(max_requests=endpoint.max_requests, max_tokens=endpoint.max_tokens)
        engine, chat = self._voice(executor, "micro")
        planner_chat: Format | None = None
        self._engines = [engine]
        if planner != executor:
            planning, planner_chat = self._voice(planner, "macro", key_env=endpoint.planner_key_env)
            self._engines.append(planning)
            engine = EngineByRole({"macro": planning, "micro": engine})
        max_live = config.rollout.max_live
        if is_endpoint(planner) or is_endpoint(executor):  # what is under way is lost when the budget ends
            max_live = min(max_live, endpoint.concurrency)
        self.collector = Collector(
            lambda: build_env(config),
            engine,
            chat=chat,
            settings=collect_settings(config, max_live=max_live),
            planner_chat=planner_chat,
        )
        self.phases = Phases(config, self.env.spec, self.collector)

    def close(self) -> None:
        """Close environments and connections."""
        self.collector.close()
        for engine in self._engines:
            if isinstance(engine, OpenAIEngine):
                engine.close()

    def _voice(self, name: str, role: Role, *, key_env: str = "") -> tuple[Engine, Format]:
        """Return what generates for a model's name, and how it is talked to."""
        if is_endpoint(name):
            return OpenAIEngine(
                name, self.config.endpoint, meter=self.meter, key_env=key_env
            ), MessageFormat()
        policy = Policy.load(name, self.config.model, device=pick_device(self.config.run.device))
        policy.play(role)
        engine = TransformersEngine(policy.model, policy.tokenizer, max_batch=self.config.rollout.max_live)
        return engine, policy.chat


def collect_settings(config: Config, *, max_live: int = 0) -> CollectSettings:
    """Translate the config for a collector; `max_live` 0 takes the config's."""
    agent = config.agent
    return CollectSettings(
        max_live=max_live or config.rollout.max_live,
        max_prompt=config.model.max_prompt,
        penalties=Penalties(invalid=agent.invalid_penalty, malformed=agent.format_penalty),
    )


def build_env(config: Config) -> Env:
    """Make the configured environment.

    Raises:
        ConfigError: a setting that this environment does not take.
    """
    return make_env(config.env.name, **config.env.settings)


def pick_device(name: str) -> torch.device:
    """Return the device that "auto", "cpu", "cuda" or "cuda:1" means here.

    Raises:
        ConfigError: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"run.device must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"run.device is {name!r}, but torch sees no CUDA device", hint="run.device=auto")
    return device
