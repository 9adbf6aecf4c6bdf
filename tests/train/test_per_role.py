"""One adapter a role: what the planner learns, the executor does not even notice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from looping import Rows, iterate

from himac.config import Config, load_config, override
from himac.errors import ConfigError, ModelError
from himac.learner import checkpoint
from himac.learner.policy import ROLES, Policy
from himac.models.load import load_model, save_model
from himac.runs.folder import METRICS
from himac.train.components import Components
from himac.train.run import new_run, train
from himac.train.start import starting_model
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


def test_on_one_module_nobody_acts_before_all_have_planned(parts: Components) -> None:
    """Or what an executor computes beside would depend on when its weights came to rest."""
    ask = lambda role, tokens: Request(  # noqa: E731
        prompt=np.arange(10, 40, dtype=np.int32),
        sampling=Sampling(max_tokens=tokens, temperature=0.0),
        role=role,
    )
    engine = parts.engine
    acting, *planning = [
        engine.submit(ask(*each)) for each in (("executor", 2), ("planner", 2), ("planner", 9))
    ]
    done: list[int] = []
    while len(done) < 3:
        done += [ticket for ticket, _ in engine.step()]
    assert sorted(done[:2]) == planning and done[2] == acting


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


@pytest.mark.parametrize("per_role", [False, True])
def test_a_lora_warm_start_is_merged_and_is_the_reference(
    toy_config: Config, start: Path, tmp_path: Path, per_role: bool
) -> None:
    """The first update of a run that begins with a LoRA warm start is at a KL of 0."""
    lora = {"lora_rank": 4, "lora_per_role": per_role, "name": str(start)}
    config = override(
        toy_config,
        model=lora,
        optimizer={"lr": 1e-2},
        sft={"lr": 1e-2},
        algo={"kl_coef": 0.1},
        agent={"invalid_penalty": (0.1, 0.2)},  # returns differ although nobody wins
        rollout={"tasks": 6},
        eval={"every": 0},
    )
    folder = tmp_path / "run"
    new_run(folder, config)
    begins = starting_model(config, folder)
    assert not list(Path(begins).rglob("adapter_config.json"))
    ids = torch.tensor([[5, 6, 7]])
    taught, untaught = (load_model(str(name))[0](ids).logits for name in (begins, start))
    assert (taught - untaught).abs().max() > 0.01, "the warm start taught nothing"
    train(override(config, run={"iterations": 3}), folder)
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    kls = [row["kl"] for row in rows if "kl" in row]
    assert kls[0] < 1e-6 < 1e-4 < max(kls)  # and it is no KL that is always 0


def test_a_tiny_model_with_lora_starts_and_its_run_may_be_moved(toy_config: Config, tmp_path: Path) -> None:
    config = override(toy_config, model={"lora_rank": 4}, run={"iterations": 1}, eval={"every": 0})
    here, there = tmp_path / "here", tmp_path / "there"
    new_run(here, config)
    train(config, here)
    here.rename(there)
    found = checkpoint.find(there)
    assert found
    saved = checkpoint.model_folder(found)
    assert list(saved.rglob("adapter_config.json"))
    load_model(str(saved))
    assert train(override(config, run={"iterations": 2}), there).state.iteration == 2


def test_an_adapter_that_a_run_starts_from_is_merged_first(
    toy_config: Config, start: Path, tmp_path: Path
) -> None:
    adapted = Policy.load(start, replace(toy_config.model, lora_rank=2), device=torch.device("cpu"))
    _shake(adapted)
    adapted.save(tmp_path / "adapter")
    config = override(
        toy_config, model={"name": str(tmp_path / "adapter"), "lora_rank": 2}, sft={"demonstrations": 0}
    )
    new_run(tmp_path / "run", config)
    begins = starting_model(config, tmp_path / "run")
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(
        load_model(str(begins))[0](ids).logits, adapted.model(ids).logits, atol=1e-4, rtol=1e-4
    )
    assert not list(Path(begins).rglob("adapter_config.json"))
