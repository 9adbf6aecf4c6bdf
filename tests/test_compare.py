"""Comparisons: the intervals cover, what is paired is paired, a plan refuses what would be unfair, runs alone suffice."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from himac.cli import main
from himac.compare.naming import method_of, name_runs
from himac.compare.plan import planned_runs, read_plan
from himac.compare.reading import find_folders, read_run
from himac.compare.statistics import interval, rate
from himac.compare.summary import summarise
from himac.compare.tables import markdown_of, sentence
from himac.compare.terms import Terms
from himac.config import Config, load_config, to_toml
from himac.errors import ConfigError, DataError
from himac.runs import CONFIG, EPISODES, METRICS, RunWriter

TASKS = 40


# --- intervals ---------------------------------------------------------------------------------------------------


def test_intervals_of_a_difference_cover_the_truth_with_three_seeds_and_tasks_of_unlike_difficulty() -> None:
    rng = np.random.default_rng(0)
    logistic = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731

    def outcomes(difficulty_T: np.ndarray, skill: float) -> np.ndarray:
        seeds_S = rng.normal(0, 0.3, 3)
        return (rng.random((3, 64)) < logistic(skill + seeds_S[:, None] + difficulty_T)).astype(float)

    many = rng.normal(0, np.hypot(1.5, 0.3), 400_000)
    truth = (logistic(0.6 + many) - logistic(0.3 + many)).mean()
    covered = 0
    for _ in range(300):
        difficulty_T = rng.normal(0, 1.5, 64)
        found = interval(outcomes(difficulty_T, 0.6) - outcomes(difficulty_T, 0.3))
        covered += found.low <= truth <= found.high
    assert covered / 300 >= 0.92


def test_one_seed_s_interval_is_that_of_its_tasks_mean() -> None:
    values_ST = np.array([[1.0] * 30 + [0.0] * 70])
    found = interval(values_ST)
    deviation = np.sqrt(0.3 * 0.7 / 100)
    assert found.mean == pytest.approx(0.3)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * deviation, rel=0.06)


def test_seeds_that_differ_widen_the_interval_more_than_as_many_tasks() -> None:
    alike, unlike = np.zeros((3, 90)), np.zeros((3, 90))
    alike[:, :45], unlike[:, :45] = 1, 1
    unlike[0], unlike[2] = 1, 0
    widths = [i.high - i.low for i in (interval(alike), interval(unlike))]
    assert widths[1] > 2 * widths[0]


def test_a_rate_stays_within_0_and_1_and_is_uncertain_where_all_outcomes_agree() -> None:
    none = rate(np.zeros((3, 20)))
    assert none.low == 0.0 and none.high == pytest.approx(0.060, abs=0.001)  # Wilson of 0 of 60


# --- runs on disk ------------------------------------------------------------------------------------------------


def write_run(
    folder: Path, words: list[str], curve: list[float], *, kept: bool = True, finals: tuple[float, float] | None = None,
    steps: int = 100,
) -> Path:  # fmt: skip
    """Write a run as training does: evaluations of given success every 5 iterations, each costing `steps`."""
    config = load_config(None, [*words, "eval.every=5", f"eval.tasks={TASKS}", "eval.final=test"])
    rng = random.Random(f"{folder.name} outcomes")
    writer = RunWriter(folder)
    (folder / CONFIG).write_text(to_toml(config), encoding="utf-8")
    first, last = finals or (curve[0], curve[-1])

    def evaluation(place: int, split: str, success: float) -> None:
        wins = round(success * TASKS)
        solved = [i < wins for i in range(TASKS)]
        rng.shuffle(solved)
        row: dict[str, Any] = {
            "iteration": 5 * place, "phase": "eval", "split": split, "episodes": TASKS, "success": wins / TASKS,
            "score": wins / TASKS, "env_steps": 7.0, "tokens": 30.0, "total_env_steps": place * steps,
            "total_tokens": place * steps * 10, "total_train_s": place * 6.0,
        }  # fmt: skip
        if kept:
            row["outcomes"] = {"index": list(range(TASKS)), "success": "".join(str(int(s)) for s in solved)}
        writer.metrics(row)
        for i, s in enumerate(solved):
            writer.episode(
                {
                    "iteration": 5 * place, "phase": "eval", "group": i, "chosen": False, "split": split,
                    "task": {"index": i, "kind": ""}, "success": s, "score": float(s),
                }
            )  # fmt: skip

    evaluation(0, "test", first)
    for place, success in enumerate(curve):
        if place:
            writer.metrics({"iteration": 5 * place, "phase": "micro", "success": success})
            writer.episode({"iteration": 5 * place, "phase": "micro", "group": 0, "chosen": False})
        evaluation(place, "val", success)
    evaluation(len(curve) - 1, "test", last)
    writer.close()
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two methods, three seeds: HiMAC at 80 % after 10 iterations, GRPO at 50 % for half the steps an iteration."""
    for seed in range(3):
        own = ["env=toy", f"run.seed={seed}", "model.name=start"]
        write_run(tmp_path / f"h-{seed}", own, [0.2, 0.6, 0.8], steps=200)
        write_run(tmp_path / f"g-{seed}", [*own, "method=flat"], [0.2, 0.3, 0.4, 0.45, 0.5])
    return tmp_path


def _judged(folder: Path, **terms: Any) -> dict[str, Any]:
    named = name_runs([read_run(path) for path in find_folders([folder])])
    return summarise(named, Terms(name="x", **terms))


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
    assert "HiMAC took, beside GRPO, 0.33 of its iterations, 0.67 of its environment steps" in markdown_of(
        _judged(runs, target=0.45)
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
    for place, words in enumerate((["optim.lr=1e-3"], ["optim.lr=1e-4"], ["env.doors=2"])):
        write_run(tmp_path / str(place), ["env=toy", *words], [0.2, 0.6])
    named = name_runs([read_run(path) for path in find_folders([tmp_path])])
    assert [(n.environment, n.method) for n in named] == [
        ("toy (env.doors=None)", "himac (optim.lr=0.001)"),
        ("toy (env.doors=None)", "himac (optim.lr=0.0001)"),
        ("toy (env.doors=2)", "himac"),
    ]
    write_run(tmp_path / "twin", ["env=toy", "optim.lr=1e-4"], [0.2, 0.6])
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
    assert "GRPO - HiMAC = -30.0 points" in (runs / "two" / "table.md").read_text()
    assert main(["compare", *some, "--reference", "gpro"]) == 2
    assert "did you mean 'grpo'?" in capsys.readouterr().err


# --- plans -------------------------------------------------------------------------------------------------------

PLAN = """
seeds = [0, 1]
[budget]
iterations = 3
env_steps = 5_000
[environments.toy]
recipe = "recipe.toml"
eval.final = "test"
env.doors = 2
[methods.himac]
[methods.grpo]
algo.method = "flat"
rollout.group_size = 16
"""


def _plan(tmp_path: Path, text: str = PLAN) -> Path:
    (tmp_path / "recipe.toml").write_text(
        '[env]\nname = "toy"\n[sft]\ndemonstrations = 5\n[eval]\nevery = 1\n'
    )
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return path


def test_a_plan_s_runs_differ_in_their_method_alone_and_share_start_and_budget(tmp_path: Path) -> None:
    starts, planned = planned_runs(read_plan(_plan(tmp_path)), tmp_path / "out")
    assert [start.config.run.seed for start in starts] == [0, 1]
    assert [(run.method, run.seed) for run in planned] == [
        ("himac", 0),
        ("grpo", 0),
        ("himac", 1),
        ("grpo", 1),
    ]
    himac, grpo = planned[0].config, planned[1].config
    assert himac.model.name == grpo.model.name == str(starts[0].model) and himac.sft.demonstrations == 0
    assert (himac.run.iterations, himac.run.max_env_steps, himac.env.settings) == (3, 5000, {"doors": 2})
    same = replace(
        grpo,
        algo=replace(grpo.algo, method="himac"),
        rollout=replace(grpo.rollout, group_size=himac.rollout.group_size),
        run=replace(grpo.run, name=himac.run.name),
    )
    assert same == himac


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "rollout.group_size = 16",
            "optim.learning_rate = 1",
            r"method 'grpo' in environment 'toy': unknown key",
        ),
        ("rollout.group_size = 16", "env.doors = 1", r"method 'grpo' sets \[env\]; allowed: agent, rollout"),
        ("rollout.group_size = 16", 'model.name = "x"', "method 'grpo' cannot set model.name"),
        ("env.doors = 2", "run.max_minutes = 1.0", "environment 'toy' cannot set run.max_minutes"),
        ('eval.final = "test"', 'eval.final = "val"', "eval.final must be a split of its own"),
        ("iterations = 3\n", "", "budget.env_steps needs budget.iterations or budget.tokens"),
        ("seeds = [0, 1]", "seeds = 3", "seeds must be a list of whole numbers, got 3"),
        (
            "seeds = [0, 1]",
            'refrence = "grpo"',
            "unknown key 'refrence' of the plan; .*did you mean 'reference'",
        ),
        ("seeds = [0, 1]", 'reference = "gpro"', "unknown reference 'gpro'; .*did you mean 'grpo'"),
        ("[methods.himac]", "[methods.'a/b']", "cannot name a folder"),
    ],
)
def test_a_plan_that_is_wrong_or_unfair_is_refused_before_anything_runs(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in PLAN
    with pytest.raises(ConfigError, match=message):
        read_plan(_plan(tmp_path, PLAN.replace(old, new)))


def test_the_default_config_is_the_paper_s_method() -> None:
    assert method_of(Config()) == "himac"
