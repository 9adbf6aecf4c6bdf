"""`himac train --check` and the memory that it counts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch

from himac.cli.main import main
from himac.config import Config, override
from himac.envs.base import make_env
from himac.errors import ConfigError
from himac.learner.policy import Policy
from himac.runs.console import Silent
from himac.train.memory import in_parts, kept_per_token, memory_of
from himac.train.rehearse import Timed, rehearse


def _policy(config: Config, start: Path) -> Policy:
    return Policy.load(start, config.model, device=torch.device("cpu"))


def test_memory_by_hand(toy_config: Config, start: Path) -> None:
    config = override(toy_config, rollout={"max_live": 10}, model={"max_prompt": 100})
    policy = _policy(config, start)
    n = policy.num_parameters
    found = memory_of(policy, config)
    assert (found.weights, found.masters, found.gradients, found.stepped) == (4 * n, 0, 4 * n, 4 * n)
    assert found.optimizer == 2 * 8 * n  # AdamW's two moments, in float32, of each role's state
    assert found.reference == 4 * n  # kl_coef is 0.01 by default
    settings = policy.model.config
    per_token = 2 * 2 * settings.num_key_value_heads * settings.head_dim * 4  # keys and values, layers
    assert found.cache == per_token * 10 * (100 + config.agent.executor_tokens)
    assert found.collecting == (4 + 16 + 4) * n + found.cache + found.prefill
    assert found.learning == (4 + 16 + 4 + 4) * n + found.activations + found.layer + found.logits
    narrow = override(config, model={"dtype": "bfloat16"}, algo={"kl_coef": 0.0, "method": "flat"})
    found = memory_of(_policy(narrow, start), narrow)
    assert (found.weights, found.masters, found.gradients) == (2 * n, 4 * n, 2 * n)
    assert (found.optimizer, found.reference) == (8 * n, 0)
    bounded = override(config, engine={"max_kv_tokens": 64})
    assert memory_of(_policy(bounded, start), bounded).cache == per_token * 64


def test_what_collects_beside_an_update_takes_the_memory_of_both(toy_config: Config, start: Path) -> None:
    roles = override(toy_config, model={"lora_rank": 2, "lora_per_role": True})
    policy = _policy(roles, start)
    apart, together = (
        memory_of(policy, override(roles, parallel={"overlap": overlap})) for overlap in (False, True)
    )
    assert apart.most == max(apart.learning, apart.collecting) < together.most
    assert together.most == apart.learning + apart.cache + apart.prefill
    behind = memory_of(policy, override(roles, parallel={"overlap": True, "behind": True}))
    trained = sum(p.numel() for p in policy.trainable)
    assert behind.most == together.most + 4 * trained  # both adapters once more


def test_memory_of_a_rank_that_holds_parts_by_hand(toy_config: Config, start: Path) -> None:
    config = override(toy_config, model={"dtype": "bfloat16"})
    policy = _policy(config, start)
    alone, part = memory_of(policy, config), in_parts(memory_of(policy, config), policy, 4)
    n = policy.num_parameters
    layer = sum(p.numel() for p in policy.model.model.layers[0].parameters())
    others = n - 2 * layer
    assert (part.weights, part.masters, part.optimizer) == (-(-2 * n // 4), n, 4 * n)
    assert part.gathered == 2 * 2 * others + 2 * 2 * layer + 3 * 2 * layer
    assert part.collecting == part.held + 2 * n + alone.cache + alone.prefill  # it generates with all weights
    assert part.held < alone.held / 3.9 and not part.is_offloaded


def test_an_adapter_needs_no_reference_and_little_else(toy_config: Config, start: Path) -> None:
    config = override(toy_config, model={"lora_rank": 2})
    policy = _policy(config, start)
    trained = sum(p.numel() for p in policy.trainable)
    found = memory_of(policy, config)
    assert trained < policy.num_parameters / 4
    assert (found.reference, found.gradients, found.optimizer) == (0, 4 * trained, 16 * trained)


def test_checkpointing_keeps_less_of_a_pass(toy_config: Config, start: Path) -> None:
    plain, layer = kept_per_token(_policy(toy_config, start))
    config = override(toy_config, model={"gradient_checkpointing": True})
    less, _ = kept_per_token(_policy(config, start))
    width, layers = 32, 2
    assert less < 0.75 * plain  # one of two layers, and the inputs of both
    assert layer == plain / layers and less > layer and plain > layers * 10 * width * 4


def test_a_rehearsal_says_what_a_run_takes_and_writes_nothing(
    toy_config: Config, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = [p.stat().st_mtime_ns for p in sorted(start.rglob("*"))]
    config = override(toy_config, model={"name": str(start)}, run={"iterations": 120})
    told = rehearse(config)
    assert told["rehearsed"].startswith("2 of 3 tasks: 12 episodes")
    assert "120 take" in told["iteration"] and "tokens/s" in told["collecting"]
    assert "at most here; by calculation" in told["memory"] and "weights" in told["of which"]
    assert not list(tmp_path.iterdir())
    assert [p.stat().st_mtime_ns for p in sorted(start.rglob("*"))] == before


def test_a_tiny_model_is_rehearsed_with_its_warm_start(
    toy_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "temporary").mkdir()
    config = override(
        toy_config,
        sft={"demonstrations": 3000},
        rollout={"tasks": 16},
        run={"iterations": 10},
        eval={"every": 5, "tasks": 6, "final": "test"},
    )
    told = rehearse(config)
    assert told["rehearsed"].startswith(
        "4 of 16 tasks: 24 episodes"
    )  # a quarter of them, in two phases of groups of 3
    assert told["warm start"].startswith("400 of 3,000 demonstrations, 50 of 750 steps; all of it takes ")
    assert "10 take" in told["iteration"]
    tests = len(make_env("toy", doors=1).tasks("test"))
    assert told["evaluating"].startswith(f"5 times, {3 * 6 + 2 * tests:,} episodes")
    assert told["whole run"].startswith("at most about ")
    assert not [*tmp_path.glob("runs"), *(tmp_path / "temporary").iterdir()]


def test_a_named_model_is_rehearsed_as_it_is_beside_its_warm_start(toy_config: Config, start: Path) -> None:
    told = rehearse(
        override(toy_config, model={"name": str(start)}, sft={"demonstrations": 400, "epochs": 1.0})
    )
    assert told["warm start"].startswith("24 of 400 demonstrations, 3 of 50 steps; all of it takes ")


def test_a_budget_ends_the_run_that_is_foretold(toy_config: Config, start: Path) -> None:
    config = override(toy_config, model={"name": str(start)}, sft={"demonstrations": 0}, rollout={"tasks": 2})
    told = rehearse(override(config, run={"iterations": 1000}, budget={"tokens": 1}))
    assert "; 1 take" in told["iteration"] and told["iteration"].endswith("then budget.tokens is spent")


def test_the_parts_of_a_stage_are_timed_from_the_first_on(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 102.0, 106.0, 200.0])
    monkeypatch.setattr("himac.train.rehearse.time.perf_counter", lambda: next(times))
    timed = Timed(Silent())
    tick = timed.collecting("warm start", 3)
    for _ in range(3):
        tick(1)
    timed.collecting("demonstrations", 1)(1)
    assert (timed.each_s("warm start"), timed.each_s("demonstrations"), timed.each_s("never")) == (
        3.0,
        0.0,
        0.0,
    )
    assert timed.parts == {"warm start": 3, "demonstrations": 1}


def test_the_command_prints_it_and_a_model_from_nothing_is_refused(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "train",
        "env=toy",
        "env.doors=1",
        "agent.think=false",
        "rollout.tasks=1",
        "rollout.group_size=2",
    ]
    words += [
        "rollout.executor_group_size=2",
        "agent.planner_tokens=48",
        "agent.executor_tokens=12",
        "--check",
    ]
    assert main([*words, f"model={start}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][:3] == ["rehearsed", "collecting", "learning"]
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError, match="needs a warm start"):
        rehearse(override(Config(), model={"name": "tiny"}))
