"""Gains, power and verdicts: what is claimed follows from the numbers, and what could have been seen is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written import write_run

from himac.compare.criteria import Criteria
from himac.compare.naming import name_runs
from himac.compare.power import components, power_of
from himac.compare.reading import find_folders, read_run
from himac.compare.statistics import interval
from himac.compare.summary import summarise
from himac.compare.tables import markdown_of


def _world(folder: Path) -> tuple[dict[str, Any], str]:
    told = summarise(name_runs([read_run(p) for p in find_folders([folder])]), Criteria(name="x"))
    return told["environments"]["toy"], markdown_of(told)


def _write(folder: Path, himac: list[tuple[float, float]], grpo: list[tuple[float, float]]) -> None:
    for seed, (ours, theirs) in enumerate(zip(himac, grpo, strict=True)):
        own = ["env=toy", f"run.seed={seed}", "model.name=start"]
        write_run(folder / f"h-{seed}", own, [0.2, 0.6], finals=ours)
        write_run(folder / f"g-{seed}", [*own, "method=flat"], [0.2, 0.6], finals=theirs)


def test_a_lead_that_the_start_had_is_a_lead_of_levels_and_not_of_gains(tmp_path: Path) -> None:
    _write(tmp_path, [(0.5, 0.8)] * 4, [(0.1, 0.4)] * 4)
    world, page = _world(tmp_path)
    assert {m: world["methods"][m]["gain"]["mean"] for m in ("himac", "grpo")} == pytest.approx(
        {"himac": 0.3, "grpo": 0.3}
    )
    assert world["methods"]["grpo"]["gain_by_seed"] == {str(s): 0.3 for s in range(4)}
    level, gain = world["verdicts"]
    assert (level["what"], level["verdict"], gain["what"], gain["verdict"]) == (
        "level", "shown", "gain", "not shown",
    )  # fmt: skip
    assert gain["mean"] == pytest.approx(0.0) and gain["seeds"] == [0, 1, 2, 3]
    assert "- HiMAC ends above GRPO: shown. +40.0 points, 95 % interval [" in page
    assert "- training adds more to HiMAC than to GRPO: not shown. +0.0 points" in page
    assert "+30.0" in page and "in four of five tries" in page


def test_what_goes_against_the_reference_is_shown_the_other_way(tmp_path: Path) -> None:
    _write(tmp_path, [(0.2, 0.3)] * 4, [(0.2, 0.9), (0.2, 0.9), (0.2, 0.85), (0.2, 0.95)])
    world, page = _world(tmp_path)
    assert {v["verdict"] for v in world["verdicts"]} == {"shown the other way"}
    assert "- HiMAC ends above GRPO: shown the other way. -60.0 points" in page


def test_gains_are_paired_by_task_so_that_tasks_alike_in_both_cancel(tmp_path: Path) -> None:
    _write(tmp_path, [(0.5, 0.5)] * 2, [(0.5, 0.6)] * 2)
    runs = {run.folder.name: run for run in map(read_run, find_folders([tmp_path]))}
    after, before = runs["g-0"].final, runs["g-0"].before
    assert after and before and (after.success_T - before.success_T).sum() == pytest.approx(4)
    assert _world(tmp_path)[0]["methods"]["himac"]["gain_by_seed"] == {"0": 0.0, "1": 0.0}


def test_a_run_that_kept_no_start_has_a_level_and_no_gain(tmp_path: Path) -> None:
    _write(tmp_path, [(0.2, 0.6)] * 2, [(0.2, 0.4)] * 2)
    for folder in tmp_path.iterdir():
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        (folder / "metrics.jsonl").write_text("\n".join(lines[1:]) + "\n")
    world, _ = _world(tmp_path)
    assert world["methods"]["himac"]["gain"] is None and world["gain_differences"] == []
    assert [v["what"] for v in world["verdicts"]] == ["level"]


def test_the_spread_of_seeds_and_tasks_is_found_again() -> None:
    rng = np.random.default_rng(0)
    values_ST = (
        0.3 * rng.standard_normal((60, 1))
        + 0.2 * rng.standard_normal((1, 300))
        + rng.standard_normal((60, 300))
    )
    assert components(values_ST) == pytest.approx((0.3, 0.2, 1.0), rel=0.2)


@pytest.mark.parametrize(("seeds", "sd"), [(3, 0.1), (5, 0.1), (5, 0.02)])
def test_with_the_difference_that_is_told_four_of_five_comparisons_are_clear(seeds: int, sd: float) -> None:
    """The promise itself: matrices of the told spread around the told difference, judged as the tool judges."""
    rng = np.random.default_rng(seeds)

    def drawn() -> np.ndarray:
        return sd * rng.standard_normal((seeds, 1)) + 0.4 * rng.standard_normal((seeds, 64))

    values_ST = drawn()
    values_ST += sd * 1.0 - values_ST.mean()
    power = power_of(values_ST)
    assert power is not None
    sds = components(values_ST)

    def like() -> np.ndarray:
        return (
            sds[0] * rng.standard_normal((seeds, 1))
            + sds[1] * rng.standard_normal((1, 64))
            + sds[2] * rng.standard_normal((seeds, 64))
        )

    trials = [power.widened(interval(like())) for _ in range(300)]
    assert np.mean([t.low <= 0 <= t.high for t in trials]) >= 0.92
    assert np.mean([t.low + power.detectable > 0 for t in trials]) == pytest.approx(0.8, abs=0.08)


def test_more_seeds_see_smaller_differences_and_one_sees_none() -> None:
    seen = [power_of(np.resize([0.1, -0.1], (n, 1))) for n in (2, 4, 8, 16)]
    sizes = [found.detectable for found in seen if found]
    assert len(sizes) == 4 and sizes == sorted(sizes, reverse=True)
    assert power_of(np.zeros((1, 40))) is None
