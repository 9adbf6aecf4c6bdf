"""What an evaluation works with: engines, environment and collector, and nothing that learns."""

from __future__ import annotations

import torch

from himac.chat import Format, MessageFormat
from himac.config import Config
from himac.engines.base import Engine
from himac.engines.by_role import EngineByRole
from himac.engines.endpoint import Meter, is_endpoint
from himac.engines.openai import OpenAIEngine
from himac.engines.transformers import TransformersEngine
from himac.errors import ConfigError
from himac.learner.policy import Policy
from himac.rollout.collect import Collector
from himac.rollout.phases import Phases
from himac.train.components import build_env, collect_settings, pick_device
from himac.types import Role


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
