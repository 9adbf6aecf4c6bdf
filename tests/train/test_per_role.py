"""One adapter a role: what the planner learns, the executor does not even notice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from looping import Rows, iterate

from himac.config import Config, load_config, override
from himac.errors import ConfigError, ModelError
from himac.learner.policy import ROLES, Policy
from himac.models.load import save_model
from himac.train.components import Components
from himac.types import Request, Role, Sampling

pytest.importorskip("peft")


@pytest.fixture
def config(toy_config: Config) -> Config:
    return override(
        toy_config,
        model={"lora_rank": 2, "lora_per_role": True},
        optimizer={"lr": 1e-2},
        algo={"kl_coef": 0.1},
    )


@pytest.fixture
def parts(config: Config, start: Path) -> Components:
    return Components(config, start)


def _weights(policy: Policy, role: Role) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in policy.model.named_parameters() if f".{role}." in n}


def _shake(policy: Policy) -> None:
    """Make the adapters something else than nothing, and different from each other."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


class _Watching(Rows):
    """A log that looks at the adapters after each phase."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy
        self.seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def phase(self, row: dict[str, Any], groups: Any, advantages: Any, chosen: Any = ()) -> None:
        self.seen.append((row, {role: _weights(self.policy, role) for role in ROLES}))


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_each_phase_moves_its_own_adapter_and_nothing_else(config: Config, start: Path) -> None:
    # gigpo_mean has signal also where all returns are equal
    parts = Components(override(config, algo={"estimator": "gigpo_mean"}), start)
    parts.policy.freeze_reference()
    log, learner = _Watching(parts.policy), parts.learner()
    before = {role: _weights(parts.policy, role) for role in ROLES}
    rest = {n: p.detach().clone() for n, p in parts.policy.model.named_parameters() if "lora" not in n}
    assert before["planner"] and before["planner"].keys() != before["executor"].keys()
    iterate(parts, learner, log, count=3)
    moved = {"planner": 0, "executor": 0}
    for row, after in log.seen:
        own: Role = row["phase"]
        other: Role = "executor" if own == "planner" else "planner"
        assert _same(before[other], after[other])
        moved[own] += not _same(before[own], after[own])
        assert _same(before[own], after[own]) == (row["samples"] == 0)
        before = after
    assert moved["planner"] and moved["executor"]
    assert all(torch.equal(p, rest[n]) for n, p in parts.policy.model.named_parameters() if n in rest)


def test_engine_and_learner_agree_when_the_adapters_differ(config: Config, start: Path) -> None:
    parts = Components(
        override(config, algo={"coevolution": False, "kl_coef": 0.0, "estimator": "ppo"}), start
    )
    _shake(parts.policy)
    log = _Watching(parts.policy)
    iterate(parts, parts.learner(), log)
    ((row, _),) = log.seen
    assert row["samples"] > 0 and row["gap_max"] < 1e-4


def test_roles_have_caches_of_their_own(parts: Components) -> None:
    _shake(parts.policy)
    parts.engine.load_weights(None, 1)
    prompt = np.arange(10, 40, dtype=np.int32)
    ask = lambda role: Request(prompt=prompt, sampling=Sampling(max_tokens=6, temperature=0.0), role=role)  # noqa: E731
    alone = {role: parts.engine.generate([ask(role)])[0] for role in ROLES}
    parts.engine.load_weights(None, 2)
    mixed = parts.engine.generate([ask("executor"), ask("planner"), ask("executor")])
    assert [c.ids for c in mixed] == [alone["executor"].ids, alone["planner"].ids, alone["executor"].ids]
    assert alone["executor"].logps != alone["planner"].logps


def test_both_adapters_are_saved_and_come_back(parts: Components, tmp_path: Path) -> None:
    _shake(parts.policy)
    save_model(parts.policy.model, parts.policy.tokenizer, tmp_path)
    back = Policy.load(tmp_path, parts.config.model, device=torch.device("cpu"))
    for role in ROLES:
        ours, theirs = _weights(parts.policy, role), _weights(back, role)
        assert ours.keys() == theirs.keys() and _same(ours, theirs)
    assert len(back.trainable) == len(parts.policy.trainable)
    with pytest.raises(ModelError, match=r"holds the adapter\(s\) executor, planner, not default"):
        Policy.load(tmp_path, replace(parts.config.model, lora_per_role=False), device=torch.device("cpu"))


def test_an_adapter_a_role_needs_adapters() -> None:
    with pytest.raises(ConfigError, match=r"needs model.lora_rank of at least 1, got 0"):
        load_config(None, ["model.lora_per_role=true"])
