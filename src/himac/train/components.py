"""What a run, or an evaluation, works with, put together from its config. Here alone a part meets the whole config."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from himac.agents.base import Agent
from himac.algo.estimators import make_estimator, needs
from himac.chat import ChatFormat, Format, MessageFormat
from himac.config import Config, is_endpoint, override
from himac.engines.base import Engine
from himac.engines.by_role import EngineByRole
from himac.engines.endpoint import Usage, check_key
from himac.engines.openai import OpenAIEngine
from himac.engines.rows import positions_of
from himac.envs.base import Env, make_env
from himac.errors import ConfigError
from himac.images import Album
from himac.learner.credit import CreditAssigner
from himac.learner.critic import Critic, hidden_size
from himac.learner.learner import Learner
from himac.learner.policy import Policy
from himac.parallel import ALONE, Ranks
from himac.plugins import resolve
from himac.remote import Parts, RemoteRunner
from himac.rollout.beside import BesideRunner, Gate
from himac.rollout.collect import EpisodeRunner, Runner
from himac.rollout.phases import LocalCollector, TaskStream, phases_of
from himac.rollout.shared import SharedRunner
from himac.train.coevolve import CoEvolution, Log, Outside
from himac.train.local import check_eyes, local_engine, pick_device, set_threads


class Components:
    """Policy, engine, environment and collector of one run.

    Args:
        config: the run's settings.
        model: Hugging Face name or folder to start from.
        ranks: the processes of the run.
    """

    def __init__(self, config: Config, model: str | Path, *, ranks: Ranks = ALONE) -> None:
        self.config, self.ranks = config, ranks
        self.device = pick_device(config.run.device)
        set_threads()
        self.env = build_env(config)
        self.album = Album()
        self.policy = Policy.load(
            model, config.model, device=self.device, think=config.agent.think, album=self.album
        )
        check_eyes(self.env, self.policy, str(model))
        gate, generates = None, self.policy
        if config.parallel.overlap:
            behind = config.parallel.behind
            generates = self.policy.aside(apart=behind)
            gate = Gate(
                lambda: generates.take_from(self.policy), behind=behind, shared=not self.policy.per_role
            )
        self.engine = local_engine(config, generates, gate)
        self.collector = build_collector(
            config,
            self.env,
            self.engine,
            self.policy.chat,
            positions=positions_of(self.policy.model),
            album=self.album,
            ranks=ranks,
            gate=gate,
            remote=self._remote(model),
        )
        self.estimator: Any = make_estimator(config.algo.estimator, config.algo.estimator_settings)

    @property
    def chat(self) -> ChatFormat:
        """How the model is talked to."""
        return self.policy.chat

    def learner(self) -> Learner:
        """Build the learner of this run's policy."""
        cfg = self.config
        return Learner(self.policy, cfg.optimizer, cfg.algo, critic=self._critic(), ranks=self.ranks)

    def loop(self, learner: Learner, *, log: Log, outside: Outside) -> CoEvolution:
        """Build the training loop.

        Args:
            learner: from `learner`.
            log: receives metrics and episodes.
            outside: decides what several processes must agree on.
        """
        config = self.config
        values = learner.values if learner.critic is not None else None
        return CoEvolution(
            phases=phases_of(config.algo, config.rollout, plans=getattr(agent_class(config), "plans", False)),
            tasks=TaskStream(tasks=self.env.tasks(self.env.spec.train_split), seed=config.run.seed),
            collector=self.collector,
            learner=learner,
            credit=CreditAssigner(self.estimator, values=values, line_of=self.chat.line_of),
            log=log,
            outside=outside,
            run=config.run,
            budget=config.budget,
            rollout=config.rollout,
            algo=config.algo,
            evaluate_every=config.eval.every,
            deletions=needs(self.estimator, "deletions"),
            ahead=self.collector if config.parallel.overlap else None,
            behind=config.parallel.behind,
        )

    def close(self) -> None:
        """Close the environments and what generates."""
        self.collector.close()
        self.engine.close()

    def _remote(self, model: str | Path) -> RemoteRunner | None:
        """Return what has Ray's collectors run the episodes, where there are any; they start with the first episode."""
        layout = self.config.parallel
        if not layout.collectors:
            return None
        place = os.path.abspath(model) if Path(model).is_dir() else str(model)
        make, weights = partial(parts_of, self.config, place), partial(self.policy.travelling, self.ranks)
        return RemoteRunner(layout, make, weights, ranks=self.ranks, album=self.album)

    def _critic(self) -> Critic | None:
        """Build the value head that the estimator needs, if it needs one."""
        if not needs(self.estimator, "critic"):
            return None
        return Critic(
            hidden_size(self.policy.model),
            scale=self.env.spec.reward_success or 1.0,
            rate=self.estimator.value_lr,
            coef=self.estimator.value_coef,
        ).to(self.device)


def parts_of(config: Config, model: str) -> Parts:
    """Return what a collector of Ray's is made of; called there.

    Args:
        config: the run's.
        model: name, or folder on a disk that the collector sees too.
    """
    layout = config.parallel
    own = override(
        config, parallel={"collectors": 0}, run={"device": "cuda" if layout.collector_size[1] else "cpu"}
    )
    parts = Components(own, model)
    assert isinstance(parts.collector.runner, EpisodeRunner)
    return Parts(runner=parts.collector.runner, model=parts.policy.model, album=parts.album)


class EvalComponents:
    """Engines, environment and collector of an evaluation; nothing here learns.

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
        if planner != executor and not getattr(agent_class(config), "plans", False):
            raise ConfigError(
                f"method {config.algo.method!r} has no planner, got {planner!r} beside {executor!r}",
                hint="name one model, or method=himac",
            )
        set_threads()
        self.env, self.album = build_env(config), Album()
        self.usage = Usage.within(endpoint.budget)
        self._positions: list[int] = []
        engine, chat = self._engine_for(executor)
        planner_chat: Format | None = None
        self._engines = [engine]
        if planner != executor:
            planning, planner_chat = self._engine_for(planner, key_env=endpoint.planner_key_env)
            self._engines.append(planning)
            engine = EngineByRole({"planner": planning, "executor": engine})
        max_live = config.rollout.max_live
        if is_endpoint(planner) or is_endpoint(executor):  # what is under way is lost when the budget ends
            max_live = min(max_live, endpoint.concurrency)
        self.collector = build_collector(
            config,
            self.env,
            engine,
            chat,
            planner_chat=planner_chat,
            positions=min(self._positions, default=None),
            max_live=max_live,
            album=self.album,
        )

    def close(self) -> None:
        """Close environments and connections."""
        self.collector.close()
        for engine in self._engines:
            engine.close()

    def _engine_for(self, name: str, *, key_env: str = "") -> tuple[Engine, Format]:
        """Return what generates for a model's name, and how it is talked to."""
        if is_endpoint(name):
            variable = key_env or self.config.endpoint.key_env  # looked at before a folder is made
            check_key(os.environ.get(variable, "").strip(), variable)
            return OpenAIEngine(
                name, self.config.endpoint, usage=self.usage, key_env=key_env, album=self.album
            ), MessageFormat()
        device = pick_device(self.config.run.device)
        think = self.config.agent.think
        policy = Policy.load(name, self.config.model, device=device, think=think, album=self.album)
        check_eyes(self.env, policy, name)
        if (positions := positions_of(policy.model)) is not None:
            self._positions.append(positions)
        return local_engine(self.config, policy), policy.chat


def build_env(config: Config) -> Env:
    """Make the configured environment.

    Raises:
        ConfigError: a setting that this environment does not take.
    """
    return make_env(config.env.name, **config.env.settings)


def agent_class(config: Config) -> Callable[..., Agent]:
    """Return what builds the method's agents."""
    found: Callable[..., Agent] = resolve("agents", config.algo.method)
    return found


def trials_of(config: Config) -> int:
    """Return the attempts a task that an evaluation makes: more than one with Reflexion alone."""
    return config.eval.trials if config.algo.method == "reflexion" else 1


def build_collector(
    config: Config,
    env: Env,
    engine: Engine,
    chat: Format,
    *,
    planner_chat: Format | None = None,
    positions: int | None = None,
    max_live: int = 0,
    album: Album | None = None,
    ranks: Ranks = ALONE,
    gate: Gate | None = None,
    remote: Runner | None = None,
) -> LocalCollector:
    """Build what runs episodes of the configured method.

    Args:
        config: the settings.
        env: the world.
        engine: what generates.
        chat: how it is talked to.
        planner_chat: how the planner is, where it is another model.
        positions: of the model; a prompt leaves room for an answer in them. None: no limit.
        max_live: episodes in flight; 0 takes the config's.
        album: of the pictures.
        ranks: the processes of the run.
        gate: that the engine waits at, where collections begin beside updates.
        remote: runs the episodes; None: the engine does, here, and the ranks share them.
    """
    max_prompt = config.model.max_prompt
    if positions is not None:
        max_prompt = min(max_prompt, positions - min(config.agent.executor_tokens, positions // 4))
    runner = EpisodeRunner(
        lambda: build_env(config),
        engine,
        chat=chat,
        cfg=config.agent,
        max_live=max_live or config.rollout.max_live,
        max_prompt=max_prompt,
        planner_chat=planner_chat,
        album=album,
    )
    here: Runner = runner if gate is None else BesideRunner(runner, gate)
    if ranks.size > 1:
        here = SharedRunner(here, ranks, album or Album())
    return LocalCollector(
        remote or here,
        env.spec,
        agent_class(config),
        agent=config.agent,
        rollout=config.rollout,
        seed=config.run.seed,
    )
