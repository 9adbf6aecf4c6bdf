"""What computes in this process: threads, a device, and the engine that generates with a policy's own module."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from himac.config import Config
from himac.engines.base import BatchEngine, Engine, stepping
from himac.engines.by_role import EngineByRole
from himac.engines.padded import PaddedEngine
from himac.engines.settings import GIVEN
from himac.engines.transformers import TransformersEngine
from himac.envs.base import Env
from himac.errors import ConfigError, ModelError
from himac.learner.policy import ROLES, Policy
from himac.models.attention import why_padded
from himac.models.vision import FAMILIES, has_tower
from himac.plugins import resolve
from himac.rollout.beside import Gate
from himac.toml import check_settings
from himac.types import Role


def set_threads() -> None:
    """Compute with as many threads as OMP_NUM_THREADS says; one where it says nothing: small models lose by more."""
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "8,4" is for nested ones
    wanted = int(told) if told.isascii() and told.isdigit() else 1
    torch.set_num_threads(min(max(wanted, 1), 4 * (os.cpu_count() or 1)))  # a hundred thousand end in a crash


def pick_device(name: str) -> torch.device:
    """Return the device that "auto", "cpu", "cuda" or "cuda:1" means here.

    Raises:
        ConfigError: no such device.
    """
    if name == "auto":  # of several GPUs, the one that this rank was given
        return (
            torch.device("cuda", torch.cuda.current_device())
            if torch.cuda.is_available()
            else torch.device("cpu")
        )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"run.device must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"run.device is {name!r}, but torch sees no CUDA device", hint="run.device=auto")
    return device


def engine_class(config: Config) -> Callable[..., Engine | BatchEngine]:
    """Return what builds the configured engine.

    Raises:
        ConfigError: a setting that this engine does not take.
    """
    found: Callable[..., Engine | BatchEngine] = resolve("engines", config.engine.name)
    check_settings(found, config.engine.settings, "engine", given=GIVEN)
    return found


def local_engine(config: Config, policy: Policy, gate: Gate | None = None) -> Engine:
    """Generate with a policy's own module; a role with an adapter of its own has a cache of its own.

    Args:
        config: the settings.
        policy: what generates.
        gate: to wait at before a role is asked, where that may be while another one learns; the modules are then apart.

    Raises:
        ConfigError: an engine that would go on with one role's weights while it is handed the other's.
    """
    make, settings = engine_class(config), config.engine.settings
    if make is TransformersEngine and why_padded(policy.model):
        make, settings = PaddedEngine, {}  # it has no cache to bound

    if policy.vision is not None:
        if make is PaddedEngine:
            raise ModelError(f"pictures need packed rows: {why_padded(policy.model)}")
        settings = {**settings, "vision": policy.vision}

    plays_roles = getattr(make, "plays_roles", False)
    if gate is not None and plays_roles:
        raise ConfigError(
            f"parallel.overlap = true is for himac's own engine, got engine.name = {config.engine.name!r}",
            hint="parallel.overlap = false",
        )

    def play(role: Role) -> None:
        if gate is not None:
            gate.wait(role)
        policy.play(role)

    def one() -> Engine:
        return stepping(make(policy.model, policy.tokenizer, max_batch=config.rollout.max_live, **settings))

    if policy.per_role and not plays_roles:
        return EngineByRole({role: one() for role in ROLES}, play=play)
    return one()


def check_eyes(env: Env, policy: Policy, name: str) -> None:
    """Refuse a model that sees nothing in a world that shows pictures.

    Raises:
        ConfigError: it is so.
    """
    if env.spec.images and policy.vision is None:
        kind = policy.model.config.model_type
        unread = f": pictures of model type {kind!r} are not read" if has_tower(policy.model) else ""
        raise ConfigError(
            f"{env.spec.name} shows pictures, and the model {name!r} sees none{unread}",
            hint=f'take a model whose pictures are read ({", ".join(FAMILIES)}), or env.observation = "grid"',
        )
