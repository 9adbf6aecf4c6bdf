"""What a world says about its results stands beside every one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.report.page import build_report
from himac.report.tables import OVERLAP, evaluation_table
from himac.runs.folder import MACHINE, METRICS, read_rows

SHOP = ["env=webshop", "env.generated=400", "env.plain=true", "env.tagger=rule"]
TINY = ["model=tiny", "model.tiny=[32,1,512]", "agent.think=false", "sft.demonstrations=2", "sft.batch=2"]
SHORT = [
    "run.iterations=0",
    "agent.max_steps=2",
    "eval.tasks=2",
    "eval.split=test",
    "agent.planner_tokens=4",
    "agent.executor_tokens=4",
]


@pytest.mark.parametrize("protocol", ["himac", "verl-agent"])
def test_runs_evaluations_and_tables_name_catalogue_reward_tagger_and_protocol(
    protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SHOP, *TINY, *SHORT, f"env.protocol={protocol}", f"run.dir={tmp_path}", "run.name=shop"]
    assert main(["train", *words]) == 0
    told = {
        "catalogue": "generated from seed 0 (plain True), 400 products",
        "reward": "corrected",
        "protocol": protocol,
        "goals": "synthetic",
        "tagger": "rule",
        "splits_overlap": protocol == "verl-agent",
        "results_per_page": 10,
    }
    run = tmp_path / "shop"
    assert json.loads((run / MACHINE).read_text())["world"] == told
    assert [row["provenance"] for row in read_rows(run / METRICS) if row["phase"] == "eval"] == [told]
    page = build_report([run], tmp_path / "report.html").read_text()
    assert f'"world":{json.dumps(told, separators=(",", ":"))}' in page
    tables = [(run / "table.md").read_text(), capsys.readouterr().out]
    saved = tmp_path / "evaluation.json"
    assert main(["eval", str(run), "--out", str(saved)]) == 0
    assert json.loads(saved.read_text())["provenance"] == told
    for table in [*tables, capsys.readouterr().out]:
        assert f"protocol: {protocol}; goals: synthetic; tagger: rule" in table
        assert (OVERLAP in table) == (protocol == "verl-agent")


def test_a_world_without_provenance_has_a_bare_table() -> None:
    row = {"split": "val", "episodes": 2, "success": 0.5, "success_low": 0.1, "success_high": 0.9}
    assert evaluation_table([row]).count("\n") == 2
