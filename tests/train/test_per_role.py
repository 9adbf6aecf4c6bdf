"""One adapter a role: what the planner learns, the executor does not even notice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from himac.config import Config, load_config, override
from himac.errors import ConfigError, ModelError
from himac.learner.checkpoint import Progress
from himac.learner.policy import ROLES, Policy
from himac.models.load import save_model
from himac.train.coevolve import Loop
from himac.train.components import Workbench
from himac.types import Request, Role, Sampling

pytest.importorskip("peft")


@pytest.fixture
def config(toy_config: Config) -> Config:
    return override(
        toy_config, model={"lora_rank": 2, "lora_per_role": True}, optim={"lr": 1e-2}, algo={"kl_coef": 0.1}
    )


@pytest.fixture
def bench(config: Config, start: Path) -> Workbench:
    return Workbench(config, start)


def _weights(policy: Policy, role: Role) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in policy.model.named_parameters() if f".{role}." in n}


def _shake(policy: Policy) -> None:
    """Make the adapters something else than nothing, and different from each other."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


class _Watching:
    """A log that looks at the adapters after each phase."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.rows = policy, []  # type: ignore[var-annotated]

    def phase(self, row: dict[str, Any], groups: Any, advantages: Any, chosen: Any) -> None:
        self.rows.append((row, {role: _weights(self.policy, role) for role in ROLES}))

    def collecting(self, title: str, total: int) -> Any:
        return lambda count: None


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_each_phase_moves_its_own_adapter_and_nothing_else(config: Config, bench: Workbench) -> None:
    config = override(config, algo={"estimator": "gigpo_mean"})  # has signal also where all returns are equal
    bench.policy.freeze_reference()
    log, learner = _Watching(bench.policy), bench.learner()
    before = {role: _weights(bench.policy, role) for role in ROLES}
    rest = {n: p.detach().clone() for n, p in bench.policy.model.named_parameters() if "lora" not in n}
    assert before["macro"] and before["macro"].keys() != before["micro"].keys()
    loop = Loop(config=config, bench=bench, learner=learner, tasks=bench.env.tasks("train"), log=log)  # type: ignore[arg-type]
    progress = Progress()
    for _ in range(3):
        progress = loop.iterate(progress)
    moved = {"macro": 0, "micro": 0}
    for row, after in log.rows:
        own: Role = row["phase"]
        other: Role = "micro" if own == "macro" else "macro"
        assert _same(before[other], after[other])
        moved[own] += not _same(before[own], after[own])
        assert _same(before[own], after[own]) == (row["samples"] == 0)
        before = after
    assert moved["macro"] and moved["micro"]
    assert all(torch.equal(p, rest[n]) for n, p in bench.policy.model.named_parameters() if n in rest)


def test_engine_and_learner_agree_when_the_adapters_differ(config: Config, bench: Workbench) -> None:
    _shake(bench.policy)
    config = override(config, algo={"coevolution": False, "kl_coef": 0.0, "estimator": "ppo"})
    bench.config = config
    log = _Watching(bench.policy)
    loop = Loop(
        config=config,
        bench=bench,
        learner=bench.learner(),
        tasks=bench.env.tasks("train"),
        log=log,  # type: ignore[arg-type]
    )
    loop.iterate(Progress())
    ((row, _),) = log.rows
    assert row["samples"] > 0 and row["gap_max"] < 1e-4


def test_roles_have_caches_of_their_own(bench: Workbench) -> None:
    _shake(bench.policy)
    bench.refresh(1)
    prompt = np.arange(10, 40, dtype=np.int32)
    ask = lambda role: Request(prompt=prompt, sampling=Sampling(max_tokens=6, temperature=0.0), role=role)  # noqa: E731
    alone = {role: bench.engine.generate([ask(role)])[0] for role in ROLES}
    bench.refresh(2)
    mixed = bench.engine.generate([ask("micro"), ask("macro"), ask("micro")])
    assert [c.ids for c in mixed] == [alone["micro"].ids, alone["macro"].ids, alone["micro"].ids]
    assert alone["micro"].logps != alone["macro"].logps


def test_both_adapters_are_saved_and_come_back(bench: Workbench, tmp_path: Path) -> None:
    _shake(bench.policy)
    save_model(bench.policy.model, bench.policy.tokenizer, tmp_path)
    back = Policy.load(tmp_path, bench.config.model, device=torch.device("cpu"))
    for role in ROLES:
        ours, theirs = _weights(bench.policy, role), _weights(back, role)
        assert ours.keys() == theirs.keys() and _same(ours, theirs)
    assert len(back.trainable) == len(bench.policy.trainable)
    with pytest.raises(ModelError, match=r"holds the adapter\(s\) macro, micro, not default"):
        Policy.load(tmp_path, replace(bench.config.model, lora_per_role=False), device=torch.device("cpu"))


def test_an_adapter_a_role_needs_adapters() -> None:
    with pytest.raises(ConfigError, match=r"needs model.lora_rank of at least 1, got 0"):
        load_config(None, ["model.lora_per_role=true"])
