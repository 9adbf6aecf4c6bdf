"""Two ranks do what one does: the same episodes, the same gradient, the same files, also when one is killed."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rank_processes import WORDS, finish, ranks

from himac.config import Config, override
from himac.parallel import ALONE
from himac.parallel.ranks import shares
from himac.runs.folder import EPISODES, METRICS, START, read_rows
from himac.train.run import new_run

CASES = {
    "adamw": [],
    "minibatches": ["algo.minibatches=[2,3]", "algo.kl_coef=0.1"],
    "muon": ["optimizer.name=muon"],
    "lora": ["model.lora_rank=2", "algo.kl_coef=0.1"],
    "lora-per-role": ["model.lora_rank=2", "model.lora_per_role=true"],
    "critic": ["algo.estimator=ppo"],
    "idle": [
        "rollout.tasks=1",
        "rollout.group_size=2",
        "rollout.executor_group_size=2",
        "optimizer.max_tokens=100000",
    ],
}


def _learned(
    size: int, start: Path, words: list[str], out: Path, *more: str
) -> tuple[Any, dict[str, torch.Tensor]]:
    finish(
        ranks(
            size, "learn", str(start), json.dumps([*WORDS, "sft.demonstrations=0", *words]), str(out), *more
        )
    )
    return json.loads(out.read_text()), torch.load(out.with_suffix(".pt"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_see_the_same_episodes_and_take_the_same_steps(
    case: str, start: Path, tmp_path: Path
) -> None:
    if "lora" in case:
        pytest.importorskip("peft")
    one, weights = _learned(1, start, CASES[case], tmp_path / "one.json")
    two, others = _learned(2, start, CASES[case], tmp_path / "two.json")
    before = {n: p for n, p in _start_weights(start).items() if n in weights}
    assert any((weights[n] - before[n]).abs().max() > 1e-4 for n in before) or "lora" in case
    for phase, told in one.items():
        assert told["ids"] == two[phase]["ids"]
        for name, value in told["metrics"].items():
            if name not in ("train_s", "packed_tokens", "gap_max", "gap_mean", "moved"):
                assert two[phase]["metrics"][name] == pytest.approx(value, rel=2e-3, abs=1e-5), name
    worst = max(float((weights[name] - others[name]).abs().max()) for name in weights)
    assert worst < (
        2e-3 if case == "muon" else 1e-4
    )  # Muon's own arithmetic is bfloat16: it makes last bits large


def _start_weights(start: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(start / "model.safetensors")


@pytest.mark.slow
def test_a_rank_that_leaves_its_share_out_is_found_by_this_test(start: Path, tmp_path: Path) -> None:
    _, weights = _learned(1, start, ["optimizer.max_tokens=64"], tmp_path / "one.json")
    _, others = _learned(2, start, ["optimizer.max_tokens=64"], tmp_path / "two.json", "wrong")
    assert max(float((weights[name] - others[name]).abs().max()) for name in weights) > 1e-4


def _new(folder: Path, config: Config, start: Path) -> Path:
    new_run(folder, config)
    shutil.copytree(start, folder / START)
    return folder


def _numbers(folder: Path) -> list[dict[str, Any]]:
    times = ("seconds", "total_train_s", "total_processor_s")
    return [
        {k: v for k, v in row.items() if not k.endswith("_s") and k not in times}
        for row in read_rows(folder / METRICS)
    ]


@pytest.fixture(scope="module")
def whole(config: Config, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that nobody disturbed."""
    folder = _new(tmp_path_factory.mktemp("runs") / "whole", override(config, eval={"final": "val"}), start)
    finish(ranks(2, "train", str(folder), "3"))
    return folder


@pytest.mark.slow
def test_a_run_of_two_ranks_is_one_run(whole: Path) -> None:
    rows = _numbers(whole)
    assert [r["phase"] for r in rows if r["iteration"] == 1] == ["planner", "executor"]
    assert len([r for r in read_rows(whole / EPISODES) if r["phase"] != "eval"]) == 3 * (9 + 9)
    assert (whole / "checkpoints" / "last").read_text().strip() == "iteration-000003"


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_whichever_rank_is_killed_the_run_resumes_to_the_same_files(
    whole: Path, config: Config, start: Path, tmp_path: Path, victim: int
) -> None:
    folder = _new(tmp_path / "killed", override(config, eval={"final": "val"}), start)
    processes = ranks(2, "train", str(folder), "3")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        done = list(read_rows(folder / METRICS)) if (folder / METRICS).is_file() else []
        if any(row["iteration"] == 1 + victim for row in done):
            break
        time.sleep(0.02)
    processes[victim].send_signal(signal.SIGKILL)
    other = processes[1 - victim]
    other.communicate(timeout=120)  # it cannot go on alone, and does not wait for ever
    assert other.returncode != 0
    finish(ranks(2, "train", str(folder), "3"))
    assert _numbers(folder) == _numbers(whole)
    assert (folder / EPISODES).read_bytes() == (whole / EPISODES).read_bytes()


@pytest.mark.slow
def test_a_checkpoint_of_two_ranks_goes_on_with_one_and_the_other_way_round(
    config: Config, start: Path, tmp_path: Path
) -> None:
    folder = _new(tmp_path / "mixed", config, start)
    for size, iterations in ((2, 1), (1, 2), (2, 3)):
        finish(ranks(size, "train", str(folder), str(iterations)))
    assert [row["iteration"] for row in _numbers(folder) if row["phase"] == "planner"] == [1, 2, 3]


def test_costs_are_dealt_out_evenly_and_everything_once() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 5):
        costs = rng.integers(1, 100, 23).tolist()
        dealt = shares(costs, size)
        assert sorted(i for part in dealt for i in part) == list(range(23))
        loads = [sum(costs[i] for i in part) for part in dealt]
        assert max(loads) - min(loads) <= max(costs)


def test_alone_everything_is_what_it_was() -> None:
    assert ALONE.is_first and ALONE.mine([3, 1, 2], [1, 1, 1]) == [3, 1, 2]
    assert ALONE.gather("x") == ["x"] and ALONE.first(4) == 4
    assert ALONE.sum(np.array([1.5]))[0] == 1.5
