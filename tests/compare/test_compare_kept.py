"""Finished runs as one small file: judged elsewhere to the same page, gone on with by their plan, refused when damaged."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
from test_compare_runner import _plan, _states
from written import write_run

from himac.cli.main import main
from himac.compare.kept import keep, lay
from himac.errors import DataError
from himac.report.tables import TABLE

_RUNS = ("h-0", "h-1", "h-2", "g-0", "g-1", "g-2")


@pytest.fixture
def finished(runs: Path) -> Path:
    """The six runs of `runs`, each with the table that a run ends with."""
    for name in _RUNS:
        (runs / name / TABLE).write_text("ended\n")
    return runs


def test_kept_runs_are_judged_to_the_same_page(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, elsewhere = tmp_path / "all.runs.gz", tmp_path / "elsewhere"
    assert main(["compare", str(finished), "--out", str(finished), "--keep", str(file)]) == 0
    assert capsys.readouterr().out.endswith(f"6 finished runs are kept in {file}\n")
    assert file.stat().st_size < sum(p.stat().st_size for p in finished.rglob("*.jsonl")) / 20
    assert main(["compare", str(file), "--out", str(elsewhere)]) == 0
    assert capsys.readouterr().out.startswith(f"6 runs laid in {elsewhere}\n")
    title, *page = (elsewhere / "table.md").read_text().splitlines()
    assert title == "# Comparison: elsewhere"
    assert page == (finished / "table.md").read_text().splitlines()[1:]


def test_parts_of_a_comparison_are_joined_and_what_is_there_stays(finished: Path, tmp_path: Path) -> None:
    parts = []
    for seed in range(3):
        parts.append(tmp_path / f"{seed}.runs.gz")
        assert keep(finished, [finished / f"h-{seed}", finished / f"g-{seed}"], parts[-1]) == 2
    out = tmp_path / "both"
    assert lay(parts[:2], out) == ["h-0", "g-0", "h-1", "g-1"]
    (out / "h-1" / TABLE).write_text("mine\n")
    assert lay(parts, out) == ["h-2", "g-2"]
    assert (out / "h-1" / TABLE).read_text() == "mine\n"


def test_an_unfinished_run_is_not_kept(finished: Path, tmp_path: Path) -> None:
    (finished / "h-0" / TABLE).unlink()
    assert keep(finished, [finished / name for name in _RUNS], tmp_path / "some.runs.gz") == 5
    with pytest.raises(DataError, match="no finished run"):
        keep(finished, [finished / "h-0"], tmp_path / "none.runs.gz")
    assert not (tmp_path / "none.runs.gz").exists()


@pytest.mark.slow
def test_a_plan_goes_on_beside_kept_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, first, second, file = _plan(tmp_path), tmp_path / "a", tmp_path / "b", tmp_path / "a.runs.gz"
    assert main(["compare", str(plan), "--out", str(first)]) == 0
    shutil.rmtree(first / "toy-grpo-0")
    assert main(["compare", str(plan), "--out", str(first), "--read", "--keep", str(file)]) == 0
    assert main(["compare", str(file), "--out", str(second)]) == 0
    assert _states(plan, second) == {"toy-himac-0": "done", "toy-grpo-0": "missing"}
    capsys.readouterr()
    assert main(["compare", str(plan), "--out", str(second)]) == 0
    assert not (second / "starts" / "toy-himac-0").exists()  # nobody needs it any more
    assert "| GRPO" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "it is cut"),
        (b"no gzip at all", "incorrect header"),
        (gzip.compress(b'{"kind":"himac runs","beside":{},"runs":{}}')[:-9], "it is cut"),
        (gzip.compress(b"{"), "truncated"),
        (gzip.compress(b'{"kind":"else","beside":{},"runs":{}}'), "its kind is 'else'"),
        (
            gzip.compress(b'{"kind":"himac runs","beside":{},"runs":{"../../up":{}}}'),
            "'../../up' cannot name a run's folder",
        ),
        (gzip.compress(b'{"kind":"himac runs","beside":{},"runs":{"..":{}}}'), "'..' cannot name"),
        (gzip.compress(b'{"kind":"himac runs","beside":{"../x":"1"},"runs":{}}'), "it holds ../x"),
        (gzip.compress(b'{"kind":"himac runs","beside":{"plan.json":"{"},"runs":{}}'), "Expecting"),
        (gzip.compress(b'{"kind":"himac runs","beside":{"plan.json":"[1]"},"runs":{}}'), "plan.json"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_line_and_nothing_is_laid(
    data: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "x.runs.gz", tmp_path / "out"
    file.write_bytes(data)
    assert main(["compare", str(file), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"himac: cannot read {str(file)!r} as kept runs: ") and told in said
    assert not out.exists()


def test_runs_of_two_comparisons_and_kept_runs_beside_folders_are_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for name in ("one", "two"):
        (finished / "plan.json").write_text(json.dumps({"name": name, "names": {"h-0": ["toy", "himac"]}}))
        files.append(tmp_path / f"{name}.runs.gz")
        keep(finished, [finished / "h-0"], files[-1])
    assert main(["compare", *map(str, files), "--out", str(tmp_path / "out")]) == 2
    assert "runs of two comparisons, 'one' and 'two'" in capsys.readouterr().err
    assert main(["compare", str(files[0]), str(finished)]) == 2
    assert f"kept runs and {str(finished)!r} are given together" in capsys.readouterr().err


def test_runs_laid_twice_in_one_name_are_refused_when_kept(tmp_path: Path) -> None:
    own = ["env=toy", "model.name=start"]
    folders = [write_run(tmp_path / side / "h", own, [0.2, 0.6]) for side in ("a", "b")]
    for folder in folders:
        (folder / TABLE).write_text("ended\n")
    with pytest.raises(DataError, match="two runs are called 'h'"):
        keep(tmp_path, folders, tmp_path / "h.runs.gz")
