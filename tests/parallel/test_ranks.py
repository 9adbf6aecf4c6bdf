"""Two ranks do what one does: the same episodes, the same gradient, the same files, also when one is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rank_processes import CASES, apart, finish, killed, learned, ranks, same

from begun_runs import new, numbers
from himac.config import Config, override
from himac.parallel import ALONE
from himac.parallel.ranks import shares
from himac.runs.folder import EPISODES, read_rows

Alone = Callable[[str], tuple[Any, dict[str, Any]]]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_see_the_same_episodes_and_take_the_same_steps(
    case: str, alone: Alone, start: Path, tmp_path: Path
) -> None:
    if "model.lora_rank=2" in CASES[case]:
        pytest.importorskip("peft")
    one, weights = alone(case)
    two, others = learned(2, start, CASES[case], tmp_path / "two.json")
    before = {n: p for n, p in _start_weights(start).items() if n in weights}
    assert (
        any((weights[n] - before[n]).abs().max() > 1e-4 for n in before) or "model.lora_rank=2" in CASES[case]
    )
    same(one, two)
    # Muon's own arithmetic is bfloat16: it makes last bits large
    assert apart(weights, others) < (2e-3 if case == "muon" else 1e-4)


def _start_weights(start: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(start / "model.safetensors")


@pytest.mark.slow
def test_a_rank_that_leaves_its_share_out_is_found_by_this_test(start: Path, tmp_path: Path) -> None:
    _, weights = learned(1, start, ["optimizer.max_tokens=64"], tmp_path / "one.json")
    _, others = learned(2, start, ["optimizer.max_tokens=64"], tmp_path / "two.json", "left-out")
    assert apart(weights, others) > 1e-4


@pytest.fixture(scope="module")
def whole(config: Config, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that nobody disturbed."""
    folder = new(tmp_path_factory.mktemp("runs") / "whole", override(config, eval={"final": "val"}), start)
    finish(ranks(2, "train", str(folder), "3"))
    return folder


@pytest.mark.slow
def test_a_run_of_two_ranks_is_one_run(whole: Path) -> None:
    rows = numbers(whole)
    assert [r["phase"] for r in rows if r["iteration"] == 1] == ["planner", "executor"]
    assert len([r for r in read_rows(whole / EPISODES) if r["phase"] != "eval"]) == 3 * (9 + 9)
    assert (whole / "checkpoints" / "last").read_text().strip() == "iteration-000003"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "victim", "call"),
    [
        pytest.param("collecting", 0, 30, marks=pytest.mark.rare),
        ("collecting", 1, 12),
        ("learning", 0, 3),
        pytest.param("learning", 1, 4, marks=pytest.mark.rare),
        ("saving", 0, 2),
        pytest.param("saving", 1, 2, marks=pytest.mark.rare),
    ],
)
def test_whichever_rank_is_killed_and_where_the_run_resumes_to_the_same_files(
    whole: Path, config: Config, start: Path, tmp_path: Path, place: str, victim: int, call: int
) -> None:
    folder = new(tmp_path / "killed", override(config, eval={"final": "val"}), start)
    killed(ranks(2, "train", str(folder), "3", die=f"{place}:{victim}:{call}"), victim)
    assert len(numbers(folder)) < len(numbers(whole))
    finish(ranks(2, "train", str(folder), "3"))
    assert numbers(folder) == numbers(whole)
    assert (folder / EPISODES).read_bytes() == (whole / EPISODES).read_bytes()


@pytest.mark.slow
def test_two_ranks_that_collect_beside_updates_are_two_that_do_not(
    config: Config, start: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    roles = override(
        config,
        model={"lora_rank": 2, "lora_per_role": True},
        optimizer={"lr": 3e-2},
        algo={"estimator": "gigpo_mean"},
        eval={"every": 3},
    )
    one = new(tmp_path / "one", roles, start)
    other = new(tmp_path / "other", override(roles, parallel={"overlap": True}), start)
    for folder in (one, other):
        finish(ranks(2, "train", str(folder), "3"))
    assert numbers(one) == numbers(other)
    assert all(row["samples"] for row in numbers(one) if row["phase"] != "eval")
    assert (one / EPISODES).read_bytes() == (other / EPISODES).read_bytes()


@pytest.mark.slow
def test_a_checkpoint_of_two_ranks_goes_on_with_one_and_the_other_way_round(
    config: Config, start: Path, tmp_path: Path
) -> None:
    folder = new(tmp_path / "mixed", config, start)
    for size, iterations in ((2, 1), (1, 2), (2, 3)):
        finish(ranks(size, "train", str(folder), str(iterations)))
    assert [row["iteration"] for row in numbers(folder) if row["phase"] == "planner"] == [1, 2, 3]


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
