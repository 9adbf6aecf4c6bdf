"""Comparisons of runs: what is paired is paired, budgets are matched, doubts are said, folders alone suffice."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from written import TASKS, write_run

from himac.cli.main import main
from himac.compare.criteria import Criteria
from himac.compare.naming import method_of, name_runs
from himac.compare.reading import find_folders, read_run
from himac.compare.summary import summarise
from himac.compare.tables import markdown_of, sentence
from himac.config import load_config
from himac.errors import ConfigError, DataError
from himac.report.tables import markdown, narrow
from himac.runs.folder import EPISODES, METRICS


def _judged(folder: Path, **terms: Any) -> dict[str, Any]:
    named = name_runs([read_run(path) for path in find_folders([folder])])
    return summarise(named, Criteria(name="x", **terms))


def test_run_directories_alone_are_grouped_judged_and_told_apart(runs: Path) -> None:
    told = _judged(runs)
    world = told["environments"]["toy"]
    assert list(world["methods"]) == ["himac", "grpo"]
    assert world["methods"]["himac"]["seeds"] == [0, 1, 2]
    assert world["methods"]["himac"]["success"]["mean"] == pytest.approx(0.8)
    (difference,) = world["differences"]
    assert (
        difference["mean"] == pytest.approx(0.3) and difference["is_clear"] and difference["tasks"] == TASKS
    )
    assert sentence(difference).startswith("HiMAC - GRPO = +30.0 points, 95 % interval [")
    assert "]: HiMAC is ahead (3 seeds: +30.0, +30.0, +30.0; 40 tasks)" in sentence(difference)


def test_budgets_are_matched_where_all_runs_have_been(runs: Path) -> None:
    equal = _judged(runs)["environments"]["toy"]["equal"]
    assert {axis: table["at"] for axis, table in equal.items()} == {
        "env_steps": 400,
        "iteration": 10,
        "tokens": 4000,
    }
    means = {axis: [round(m["mean"], 3) for m in table["methods"].values()] for axis, table in equal.items()}
    assert means == {"env_steps": [0.8, 0.5], "iteration": [0.8, 0.4], "tokens": [0.8, 0.5]}
    lead = equal["iteration"]["methods"]["grpo"]["difference"]
    assert lead["mean"] == pytest.approx(0.4) and equal["iteration"]["methods"]["himac"]["difference"] is None


def test_the_cost_of_a_target_is_that_of_the_first_evaluation_that_reached_it(runs: Path) -> None:
    given = _judged(runs, target=0.45)["environments"]["toy"]
    assert not given["target_is_found"]
    costs = {m: (c["reached"], c["iteration"], c["env_steps"]) for m, c in given["to_target"].items()}
    assert costs == {"himac": (3, 5.0, 200.0), "grpo": (3, 15.0, 300.0)}
    assert (
        "- HiMAC took 0.33 of the iterations, 0.67 of the environment steps and 0.67 of the generated tokens that GRPO took."
        in (markdown_of(_judged(runs, target=0.45)))
    )
    found = _judged(runs)["environments"]["toy"]
    assert found["target_is_found"] and found["target"] == 0.5
    too_high = _judged(runs, target=0.7)["environments"]["toy"]["to_target"]["grpo"]
    assert (too_high["reached"], too_high["iteration"]) == (0, None)


def test_older_runs_outcomes_are_read_from_their_episodes(tmp_path: Path) -> None:
    old = read_run(write_run(tmp_path / "r", ["env=toy"], [0.2, 0.6], kept=False))
    new = read_run(write_run(tmp_path / "again" / "r", ["env=toy"], [0.2, 0.6]))
    assert old.final and new.final and old.final.index_T is not None and new.final.index_T is not None
    assert (old.final.success_T == new.final.success_T).all() and len(old.curve) == len(new.curve) == 2
    assert (old.curve[1].success_T == new.curve[1].success_T).all()


def test_runs_whose_outcomes_are_lost_are_compared_over_seeds_and_the_page_says_so(runs: Path) -> None:
    for folder in runs.iterdir():
        rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
        lines = [json.dumps({k: v for k, v in row.items() if k != "outcomes"}) for row in rows]
        (folder / METRICS).write_text("\n".join(lines) + "\n")
        (folder / EPISODES).unlink()
    told = _judged(runs)
    assert told["environments"]["toy"]["differences"][0]["tasks"] == 0
    assert "outcomes by task were not kept" in markdown_of(told)


def test_an_unfinished_run_is_in_the_curves_and_not_in_the_verdict(runs: Path) -> None:
    lines = (runs / "g-2" / METRICS).read_text().splitlines()
    (runs / "g-2" / METRICS).write_text("\n".join(lines[:-1]) + "\n")
    told = _judged(runs)
    world = told["environments"]["toy"]
    assert world["methods"]["grpo"]["seeds"] == [0, 1] and world["differences"][0]["seeds"] == [0, 1]
    assert world["to_target"]["grpo"]["seeds"] == 3
    assert "GRPO: no finished run of seed 2." in markdown_of(told)


def test_a_target_below_a_start_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", ["env=toy", "model.name=one"], [0.2, 0.6])
    write_run(tmp_path / "b", ["env=toy", "model.name=one", "method=flat"], [0.4, 0.6])
    for target in (0.3, 0.4):
        with pytest.raises(
            ConfigError, match=f"target {target} is not above the start of b, which succeeds at 0.400"
        ):
            _judged(tmp_path, target=target)
    assert _judged(tmp_path, target=0.5)["environments"]["toy"]["to_target"]


def test_what_would_make_a_comparison_doubtful_is_said(tmp_path: Path) -> None:
    write_run(tmp_path / "a", ["env=toy", "model.name=one"], [0.2, 0.6])
    write_run(tmp_path / "b", ["env=toy", "model.name=two", "method=flat"], [0.2, 0.6], steps=150)
    notes = " ".join(_judged(tmp_path)["environments"]["toy"]["notes"])
    assert "One seed: intervals are over tasks alone" in notes
    assert "Seed 0 did not start from one model: one, two." in notes
    assert "100 to 150 environment steps" in notes


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "himac"),
        (["method=flat"], "grpo"),
        (["method=flat", "algo.estimator=rloo"], "rloo"),
        (["algo.coevolution=false"], "no_coevolution"),
        (["agent.explicit_done=false"], "no_sub_done"),
        (["rollout.select=random", "agent.context=full"], "random_blueprint+full_context"),
    ],
)
def test_a_config_says_which_method_it_is(words: list[str], name: str) -> None:
    assert method_of(load_config(None, words)) == name


def test_runs_that_differ_are_not_averaged(tmp_path: Path) -> None:
    for place, words in enumerate((["optimizer.lr=1e-3"], ["optimizer.lr=1e-4"], ["env.doors=2"])):
        write_run(tmp_path / str(place), ["env=toy", *words], [0.2, 0.6])
    named = name_runs([read_run(path) for path in find_folders([tmp_path])])
    assert [(n.environment, n.method) for n in named] == [
        ("toy (env.doors=None)", "himac (optimizer.lr=0.001)"),
        ("toy (env.doors=None)", "himac (optimizer.lr=0.0001)"),
        ("toy (env.doors=2)", "himac"),
    ]
    write_run(tmp_path / "twin", ["env=toy", "optimizer.lr=1e-4"], [0.2, 0.6])
    with pytest.raises(DataError, match="the same method with the same seed"):
        name_runs([read_run(path) for path in find_folders([tmp_path])])


def test_the_command_reads_runs_and_writes_tables_and_curves(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(runs), "--target", "0.45"]) == 0
    page = (runs / "table.md").read_text()
    assert capsys.readouterr().out.startswith(page) and "### To 45 % on `val`" in page
    told = json.loads((runs / "table.json").read_text())
    assert markdown_of(told) == page  # the page can be drawn again from its JSON alone
    assert (runs / "curves.png").read_bytes()[:4] == b"\x89PNG" and "<svg" in (
        runs / "curves.svg"
    ).read_text()
    some = [str(runs / name) for name in ("h-0", "g-0")]
    assert main(["compare", *some, "--reference", "grpo", "--out", str(runs / "two")]) == 0
    two = (runs / "two" / "table.md").read_text()
    assert "- GRPO ends above HiMAC: not shown. -30.0 points" in two and "One seed shows nothing" in two
    assert main(["compare", *some, "--reference", "gpro"]) == 2
    assert "did you mean 'grpo'?" in capsys.readouterr().err


def test_a_terminal_gets_all_of_the_table_as_wide_as_it_is(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("himac.cli.compare.room", lambda: 80)
    assert main(["compare", str(runs), "--target", "0.45", "--out", str(runs / "x")]) == 0
    shown, page = (
        capsys.readouterr().out.partition("\n" + str(runs))[0],
        (runs / "x" / "table.md").read_text(),
    )
    assert max(map(len, page.splitlines())) > 100 > 80 >= max(map(len, shown.splitlines()))
    said, meant = (set(re.sub(r"[|]|-{3,}", " ", text).split()) for text in (shown, page))
    assert said == meant  # each cell and each word
    rows = [line for line in shown.splitlines() if line.startswith("| HiMAC")]
    assert len(rows) > len([line for line in page.splitlines() if line.startswith("| HiMAC")])


def test_a_table_of_one_column_or_one_wide_cell_stays_as_it_is() -> None:
    page = markdown(["a" * 30], [["b"]]) + "\n\nsome words"
    assert narrow(page, 20) == page == narrow(page, None)
    wide = markdown(["m", "x" * 30, "y"], [["n", "1", "2"]])
    assert narrow(wide, 20) == markdown(["m", "x" * 30], [["n", "1"]]) + "\n\n" + markdown(
        ["m", "y"], [["n", "2"]]
    )


def test_a_dry_run_prints_commands_that_a_shell_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "compare-sokoban", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "missing  himac sft demo sft.style=himac run.seed=0 run.dir=runs/compare-sokoban/starts run.name=sokoban-himac-0"
        in lines
    )
    monkeypatch.setattr("himac.cli.compare.room", lambda: 80)
    assert main(["compare", "compare-sokoban", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    blocks = re.split(r"^(?=missing )", out.partition("\n\n")[0], flags=re.M)[1:]
    told = [" ".join(shlex.split(block.partition("\n")[2].replace("\\\n", ""))) for block in blocks]
    assert told == [line.removeprefix("missing  ") for line in lines]
    assert out.endswith(f"\n\n{len(lines)} missing; folder runs/compare-sokoban\n")
