"""The workbench: everything a run works with, put together from its config.

One idea: the loop, the evaluation and the command line all need the same five things (policy, engine,
environment, collector, phases), so they are assembled in one place and nowhere else. A stage is the
bench of an evaluation whose roles are played by models of different kinds: local ones, and endpoints.
"""

from __future__ import annotations

from pathlib import Path

import torch

from himac.algo.losses import LossSettings
from himac.config import Config
from himac.engines.base import Engine
from himac.engines.by_role import EngineByRole
from himac.engines.transformers import TransformersEngine
from himac.envs.base import Env, make_env
from himac.errors import ConfigError
from himac.learner.critic import Critic, hidden_size
from himac.learner.learner import Learner
from himac.learner.policy import ROLES, Policy
from himac.rollout.collect import Collector, CollectSettings
from himac.rollout.episode import Penalties
from himac.rollout.phases import Phases


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
