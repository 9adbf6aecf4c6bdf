"""Plans: what would be wrong or unfair is refused before anything runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from himac.compare.comparison import planned_runs, read_comparison
from himac.errors import ConfigError
from himac.recipes import find
from himac.train.checks import check_trainable

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
        '[env]\nname = "toy"\n[agent]\nthink = false\n[sft]\ndemonstrations = 5\n[eval]\nevery = 1\n'
    )
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return path


def test_a_plan_s_runs_differ_in_their_method_alone_and_share_start_and_budget(tmp_path: Path) -> None:
    shared = PLAN.replace("env.doors = 2", 'env.doors = 2\nsft.style = "both"')
    starts, planned = planned_runs(read_comparison(_plan(tmp_path, shared)), tmp_path / "out")
    assert [start.config.run.seed for start in starts] == [0, 1]
    assert [(run.method, run.seed) for run in planned] == [
        ("himac", 0),
        ("grpo", 0),
        ("himac", 1),
        ("grpo", 1),
    ]
    himac, grpo = planned[0].config, planned[1].config
    assert himac.model.name == grpo.model.name == str(starts[0].model) and himac.sft.demonstrations == 0
    assert starts[0].folder.name == "toy-0"
    assert (himac.run.iterations, himac.budget.env_steps, himac.env.settings) == (3, 5000, {"doors": 2})
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
            "optimizer.learning_rate = 1",
            r"method 'grpo' in environment 'toy': unknown key",
        ),
        ("rollout.group_size = 16", "env.doors = 1", r"method 'grpo' sets \[env\]; allowed: agent, rollout"),
        ("rollout.group_size = 16", 'model.name = "x"', "method 'grpo' cannot set model.name"),
        ('algo.method = "flat"', 'algo.method = "react"', "method 'grpo' in environment 'toy': "),
        ("env.doors = 2", "budget.minutes = 1.0", "environment 'toy' cannot set budget.minutes"),
        (
            "rollout.group_size = 16",
            "sft.epochs = 2.0",
            "method 'grpo' in environment 'toy' has a warm start with sft.epochs = 2.0, method 'himac' one with 1.0",
        ),
        (
            "rollout.group_size = 16",
            "sft.demonstrations = 6",
            "sft.demonstrations = 6, method 'himac' one with 5",
        ),
        ('eval.final = "test"', 'eval.final = "val"', "eval.final must be a split of its own"),
        ("iterations = 3\n", "", "budget.env_steps needs another limit beside it"),
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
        read_comparison(_plan(tmp_path, PLAN.replace(old, new)), check=check_trainable)


KINDS = """
[methods.rloo]
algo.method = "flat"
algo.estimator = "rloo"
[methods.joint]
algo.coevolution = false
[methods.no_sub_done]
agent.explicit_done = false
[methods.full_context]
agent.context = "full"
"""


def test_each_method_starts_from_demonstrations_in_the_format_that_it_reads(tmp_path: Path) -> None:
    plan = read_comparison(_plan(tmp_path, PLAN.replace("[0, 1]", "[0]") + KINDS))
    starts, planned = planned_runs(plan, tmp_path / "out")
    assert {run.method: run.needs for run in planned} == {
        "himac": "toy-himac-0",
        "grpo": "toy-grpo-0",
        "rloo": "toy-grpo-0",
        "joint": "toy-himac-0",
        "no_sub_done": "toy-no_sub_done-0",
        "full_context": "toy-full_context-0",
    }
    by_name = {start.name: start.config for start in starts}
    assert len(starts) == 4 == len(by_name)
    assert {name: (c.sft.style, c.agent.explicit_done, c.agent.context) for name, c in by_name.items()} == {
        "toy-himac-0": ("himac", True, "segment"),
        "toy-grpo-0": ("flat", True, "segment"),
        "toy-no_sub_done-0": ("himac", False, "segment"),
        "toy-full_context-0": ("himac", True, "full"),
    }
    assert len({(c.sft.demonstrations, c.sft.steps, c.model.name) for c in by_name.values()}) == 1


def test_environments_may_begin_from_another_one_s_warm_starts(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        '[env]\nname = "toy"\n[agent]\nthink = false\n[model]\nname = "tiny"\n[sft]\ndemonstrations = 8\n[eval]\nfinal = "test"\n'
    )
    plan = (
        'seeds = [0, 1]\n[budget]\niterations = 1\n[environments.short]\nrecipe = "r.toml"\nenv.doors = 1\n'
        '[environments.long]\nrecipe = "r.toml"\nstarts_from = "short"\nenv.doors = 3\n[methods.himac]\n'
    )  # fmt: skip
    (tmp_path / "plan.toml").write_text(plan)
    starts, runs = planned_runs(read_comparison(tmp_path / "plan.toml"), tmp_path / "out")
    assert [start.name for start in starts] == ["short-0", "short-1"]
    assert all(start.config.env.settings["doors"] == 1 for start in starts)
    assert [(run.needs, run.config.env.settings["doors"]) for run in runs] == [
        ("short-0", 1), ("short-0", 3), ("short-1", 1), ("short-1", 3),
    ]  # fmt: skip
    for wrong in ('starts_from = "shrot"', 'starts_from = "long"'):
        (tmp_path / "plan.toml").write_text(plan.replace('starts_from = "short"', wrong))
        with pytest.raises(ConfigError, match="environments with warm starts of their own: short"):
            read_comparison(tmp_path / "plan.toml")


def test_the_arms_of_the_shipped_plans_are_what_their_names_say() -> None:
    starts, runs = planned_runs(
        read_comparison(find("compare-alfworld-arms", plan=True), check=check_trainable), Path("x")
    )
    of = {run.method: run for run in runs if run.seed == 0}
    assert (
        len({s.config.sft.steps for s in starts}) == len({s.config.sft.demonstrations for s in starts}) == 1
    )
    shared = {of[name].needs for name in ("himac", "no_coevolution", "frozen_planner", "critics")}
    assert len(shared) == 1 and of["one_stream"].needs not in shared | {of["grpo"].needs}
    assert {of[name].needs for name in ("grpo", "gigpo_mean", "rloo", "ppo")} == {of["grpo"].needs}
    style = {start.name: start.config.sft.style for start in starts}
    assert (style[of["one_stream"].needs], style[of["grpo"].needs]) == ("stream", "flat")
    assert of["frozen_planner"].config.algo.epochs == (0, 1)
    assert (of["critics"].config.algo.method, of["critics"].config.algo.estimator) == ("himac", "ppo")
    starts, runs = planned_runs(
        read_comparison(find("compare-horizon", plan=True), check=check_trainable), Path("x")
    )
    assert {(s.config.env.settings["least_doors"], s.config.env.settings["doors"]) for s in starts} == {
        (1, 2)
    }
    assert {r.config.env.settings["doors"] for r in runs} == {2, 3, 4} and len(runs) == 3 * 7 * 5
