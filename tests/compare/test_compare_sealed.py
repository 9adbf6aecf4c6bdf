"""The sealed split of a comparison: drawn when all is done, on record before it is played, and told when drawn again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from written import TASKS, write_plan, write_run

from himac.cli.main import main
from himac.compare.comparison import planned_runs, read_comparison
from himac.compare.reading import read_run
from himac.compare.seal import Draw, Record, finished, paragraph, read_record, told_of, unsealed, write_record
from himac.errors import DataError

PLAN = """
seeds = [0]
[budget]
iterations = 1
[environments.toy]
recipe = "recipe.toml"
[methods.himac]
"""


def _draw(previous: str = "", **changed: Any) -> Draw:
    runs = {"h-0": ["a", "b"]}
    told = {"at": "2026-03-01 10:00", "commit": "abc", "version": "1", "plan": "p", "runs": runs}
    return Draw(**{**told, "tasks": {"toy": ["40", "t"]}, "previous": previous, **changed}).hashed()


def _row(success: float) -> dict[str, Any]:
    wins = round(success * TASKS)
    outcomes = {"index": list(range(TASKS)), "success": "1" * wins + "0" * (TASKS - wins)}
    return {"success": success, "env_steps": 5.0, "tokens": 9.0, "outcomes": outcomes}


def test_a_run_is_judged_by_the_sealed_split_once_it_is_drawn_to_the_end(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "h-0", ["env=toy"], [0.2, 0.6]))
    broken_off = Record(draws=(_draw(),))
    assert unsealed([run], broken_off) == [run] and not broken_off.is_complete
    record = finished(broken_off, {"h-0": {"before": _row(0.25), "after": _row(0.75)}})
    (judged,) = unsealed([run], record)
    assert judged.before and judged.final and run.final
    assert (judged.config.eval.final, judged.before.success, judged.final.success) == ("sealed", 0.25, 0.75)
    assert (judged.final.iteration, judged.final.env_steps) == (run.final.iteration, run.final.env_steps)
    assert judged.curve == run.curve
    (absent,) = unsealed([read_run(write_run(tmp_path / "later", ["env=toy"], [0.2, 0.6]))], record)
    assert absent.final is None and absent.before is None


def test_a_second_draw_is_told_with_the_first(tmp_path: Path) -> None:
    first = _draw()
    again = Record(draws=(first, _draw(first.hash, at="2026-03-02 10:00", runs={"h-0": ["a", "c"]})))
    write_record(finished(again, {}), tmp_path)
    told = paragraph(told_of(read_record(tmp_path)))
    assert "drawn 2 times, the last time: 2026-03-02 10:00 UTC" in told
    assert (
        f"**It had been drawn before**: 2026-03-01 10:00 UTC, 1 runs, commit abc, himac 1, hash {first.hash}"
        in told
    )


@pytest.mark.parametrize("what", ["date", "result", "first draw gone"])
def test_a_record_that_was_changed_is_refused(tmp_path: Path, what: str) -> None:
    first = _draw()
    record = Record(draws=(first, _draw(first.hash, commit="def")))
    write_record(finished(record, {"h-0": {"after": _row(0.5)}}), tmp_path)
    assert read_record(tmp_path).is_complete
    tree = json.loads((tmp_path / "sealed.json").read_text())
    if what == "date":
        tree["draws"][0]["at"] = "2026-03-09 10:00"
    elif what == "result":
        tree["results"]["h-0"]["after"]["success"] = 0.9
    else:
        del tree["draws"][0]
    (tmp_path / "sealed.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match="was changed after it was written"):
        read_record(tmp_path)


def test_without_a_draw_nothing_is_said(tmp_path: Path) -> None:
    assert read_record(tmp_path) == Record() and told_of(Record()) == {}
    assert replace(Record(), draws=(_draw(),)).is_complete is False


@pytest.mark.slow
def test_a_plan_is_unsealed_once_its_runs_are_done_and_not_drawn_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plan = tmp_path / "out", write_plan(tmp_path, PLAN)
    words = ["compare", str(plan), "--out", str(out), "--unseal"]
    assert main(words) == 2
    assert "1 of the plan's 1 runs are not finished, first toy-himac-0" in capsys.readouterr().err
    assert not (out / "sealed.json").exists()
    (start,), (run,) = planned_runs(read_comparison(plan), out)
    assert main(["sft", *start.words]) == 0 and main(["train", *run.words]) == 0
    capsys.readouterr()

    assert main(words) == 0
    page = (out / "table.md").read_text()
    assert "Sealed split, drawn once: " in page and "Success in % on `sealed` (4 tasks)" in page
    record = read_record(out)
    assert record.is_complete and set(record.results["toy-himac-0"]) == {"before", "after"}
    assert record.draws[0].runs["toy-himac-0"][0] != record.draws[0].runs["toy-himac-0"][1]
    assert str(tmp_path) not in (out / "sealed.json").read_text()

    assert main(words) == 0 and "nothing is drawn again" in capsys.readouterr().err
    assert read_record(out) == record
    write_record(Record(draws=record.draws), out)  # as a kill would leave it
    assert main(words) == 0 and "going on with the draw that was broken off" in capsys.readouterr().err
    assert read_record(out) == record
    assert main(["compare", str(out)]) == 0 and capsys.readouterr().out.startswith(page)
    assert main(["compare", str(out / "toy-himac-0"), "--unseal"]) == 2
    assert "--unseal needs a plan" in capsys.readouterr().err
