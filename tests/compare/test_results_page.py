"""docs/results.md: what is recorded is on it, also what does not favour HiMAC."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from written import write_run

from himac.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_results_of_a_comparison_reach_the_page_with_what_does_not_favour_himac(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_results.py"), run_name="docs")
    runs = tmp_path / "runs"
    for seed in range(2):
        own = ["env=toy", f"run.seed={seed}", "model.name=start"]
        write_run(runs / f"h-{seed}", own, [0.2, 0.3, 0.4])
        write_run(runs / f"g-{seed}", [*own, "method=flat"], [0.2, 0.5, 0.6])
    assert main(["compare", str(runs), "--out", str(tmp_path / "x")]) == 0
    (tmp_path / "compare_x.json").write_text((tmp_path / "x" / "table.json").read_text())
    (tmp_path / "compare_x.md").write_text("It was understood.")
    monkeypatch.setitem(script["page"].__globals__, "RESULTS", tmp_path)
    page = script["page"]()
    assert (
        "### Comparison: runs" in page
        and "It was understood." in page
        and "No comparison over seeds" not in page
    )
    against = page.split("## What does not favour HiMAC")[1].split("## Published")[0]
    assert "HiMAC ends above GRPO: shown the other way. -20.0 points" in against
    claims = page.split("## What is shown, and what is not")[1].split("## HiMAC beside")[0]
    assert "| HiMAC ends above GRPO " in claims and "**shown the other way** | -20.0 [" in claims
    assert "HiMAC took 2.00 of the iterations" in against
