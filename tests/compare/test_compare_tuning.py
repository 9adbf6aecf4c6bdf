"""The search before a comparison: alike for all methods, on validation alone, and its winners are what runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from written import write_plan

from himac.cli.main import main
from himac.compare.comparison import planned_runs, read_comparison
from himac.compare.tuning import choose, paragraphs_of, search_of, with_tuned, write_tuned
from himac.errors import ConfigError, DataError
from himac.runs.folder import RunWriter

PLAN = """
seeds = [0]
[budget]
iterations = 1
[tuning]
seeds = [100, 101]
trials = 3
budget = { iterations = 1 }
[tuning.grid]
optimizer.lr = [1e-4, 1e-3]
rollout.temperature = [0.7, 1.0]
[environments.toy]
recipe = "recipe.toml"
[methods.himac]
optimizer.weight_decay = 0.0
[methods.grpo]
algo.method = "flat"
"""


def _plan(folder: Path, text: str = PLAN) -> Path:
    return write_plan(folder, text)


def _write(folder: Path, success: float) -> None:
    row: dict[str, Any] = {"iteration": 1, "phase": "eval", "split": "val", "episodes": 4, "success": success}
    told = {
        "success_low": 0.0,
        "success_high": 1.0,
        "return": 0.0,
        "turns": 1.0,
        "seconds": 1.0,
        "score": 0.0,
    }
    spent = {
        "env_steps": 3.0,
        "tokens": 5.0,
        "total_env_steps": 40,
        "total_tokens": 9,
        "total_processor_s": 30.0,
    }
    writer = RunWriter(folder)
    writer.metrics(row | told | spent)
    writer.close()


def test_every_method_gets_the_same_points_seeds_and_budget_and_no_final_split(tmp_path: Path) -> None:
    search = search_of(read_comparison(_plan(tmp_path)))
    starts, runs = planned_runs(search, tmp_path / "out")
    tried: dict[str, set[tuple[float, float, int]]] = {}
    for run in runs:
        config = run.config
        assert (config.eval.final, config.run.iterations) == ("", 1)
        point = (config.optimizer.lr, config.rollout.temperature, config.run.seed)
        tried.setdefault(config.algo.method, set()).add(point)
    assert len(runs) == 2 * 3 * 2 and tried["himac"] == tried["flat"] and len(tried["flat"]) == 6
    assert len(starts) == 4  # of two formats and two seeds: what is searched changes no start
    assert all(run.config.optimizer.weight_decay == 0.0 for run in runs if run.config.algo.method == "himac")


def test_the_best_on_validation_wins_and_its_settings_are_the_runs(tmp_path: Path) -> None:
    plan, out = read_comparison(_plan(tmp_path)), tmp_path / "out"
    runs = planned_runs(search_of(plan), out / "tuning")[1]
    success = {"himac.0": (0.1, 0.3), "himac.1": (0.5, 0.4), "himac.2": (0.9, 0.0)}
    for run in runs:
        of_method = success.get(run.method, (0.2, 0.2))
        _write(run.folder, of_method[run.seed - 100])
    told = choose(plan, runs)
    points = plan.tuning.points() if plan.tuning else []
    best = told["winners"]["toy"]
    assert best["himac"]["settings"] == points[1] and best["himac"]["success"] == pytest.approx(0.45)
    assert best["grpo"]["settings"] == points[0]  # level: the first
    write_tuned(told, out)
    tuned = with_tuned(plan, out)
    (ours, theirs) = planned_runs(tuned, out)[1]
    assert (ours.config.optimizer.lr, ours.config.rollout.temperature) == tuple(points[1].values())
    assert (theirs.config.optimizer.lr, theirs.config.rollout.temperature) == tuple(points[0].values())
    page = "\n".join(paragraphs_of(told))
    assert (
        "3 points of `optimizer.lr` [0.0001, 0.001]" in page
        and "seeds 100, 101, 1 iterations a trial" in page
    )
    assert (
        "45.0 % (the worst point 20.0); the search took 240 environment steps, 3.0 processor minutes" in page
    )

    with pytest.raises(DataError, match="another search than the plan's"):
        with_tuned(read_comparison(_plan(tmp_path, PLAN.replace("trials = 3", "trials = 2"))), out)


@pytest.mark.parametrize(
    ("was", "given", "told"),
    [
        ("seeds = [100, 101]", "seeds = [0, 101]", "a seed of the comparison"),
        ("trials = 3", "trials = 5", "from 1 to the grid's 4 points, got 5"),
        ("optimizer.lr = [1e-4, 1e-3]", "env.doors = [1, 2]", "cannot search env.doors"),
        ("optimizer.lr = [1e-4, 1e-3]", "optimizer.lr = 1e-4", "must be a list of values to try, got 0.0001"),
        ("optimizer.lr = [1e-4, 1e-3]", "optimizer.rate = [1e-4, 1e-3]", "unknown key 'optimizer.rate'"),
        ("budget = { iterations = 1 }", "", r"needs a \[budget\]"),
    ],
)
def test_a_search_that_would_be_unfair_or_cannot_be_is_refused(
    tmp_path: Path, was: str, given: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        read_comparison(_plan(tmp_path, PLAN.replace(was, given)))


@pytest.mark.slow
def test_a_plan_is_tuned_first_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PLAN.replace("seeds = [100, 101]", "seeds = [100]").replace("trials = 3", "trials = 2")
    plan = _plan(tmp_path, text.split("[methods.grpo]")[0])
    words = ["compare", str(plan), "--out", str(tmp_path / "out")]
    assert main([*words, "--tune"]) == 0
    told = json.loads((tmp_path / "out" / "tuned.json").read_text())
    assert len(told["trials"]) == 2 and "Every method was tuned alike" in capsys.readouterr().out
    assert not (tmp_path / "out" / "table.md").exists()
    assert main(words) == 0
    page = (tmp_path / "out" / "table.md").read_text()
    assert "Every method was tuned alike on the validation split: 2 points" in page
    assert main(["compare", str(tmp_path / "out")]) == 0 and capsys.readouterr().out.endswith("curves.svg\n")
    assert main(["compare", "compare-sokoban", "--tune"]) == 2
    assert "plan 'compare-sokoban' has no [tuning]" in capsys.readouterr().err
