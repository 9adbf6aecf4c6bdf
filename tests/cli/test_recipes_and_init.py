"""What comes with the package: recipes by name, and a folder to start a world in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.config import load_config
from himac.errors import ConfigError, MissingFileError
from himac.plugins import resolve
from himac.recipes import HOME, find, names, shipped


def test_a_recipe_is_found_by_its_name_wherever_one_is(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("demo") == load_config(HOME / "demo.toml")


def test_a_file_of_ones_own_comes_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text("[run]\niterations = 3\n")
    assert load_config("demo").run.iterations == 3


@pytest.mark.parametrize(
    ("given", "hint"), [("dmo", "himac recipes"), ("configs/demo.toml", "himac train demo")]
)
def test_an_unknown_one_names_the_closest(given: str, hint: str) -> None:
    with pytest.raises(MissingFileError, match="did you mean 'demo'") as caught:
        find(given)
    assert hint in caught.value.hint


def test_plans_and_recipes_are_kept_apart() -> None:
    assert not set(names()) & set(names(plan=True))
    with pytest.raises(MissingFileError):
        find("compare-sokoban")


def test_every_shipped_file_begins_with_a_line_that_says_what_it_is() -> None:
    for recipe in shipped():
        assert 20 < len(recipe.about) < 95, recipe.name


def test_the_list_fits_a_terminal_and_one_is_printed_whole(capsys) -> None:
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(recipe.name in listed for recipe in shipped())
    assert main(["recipes", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} == {r.name for r in shipped()}
    assert main(["recipes", "demo"]) == 0
    assert capsys.readouterr().out == (HOME / "demo.toml").read_text(encoding="utf-8")


def test_a_new_folder_holds_a_world_that_passes_its_own_tests(tmp_path: Path, capsys, monkeypatch) -> None:
    folder = tmp_path / "mine"
    assert main(["init", str(folder)]) == 0
    assert "train recipe.toml" in capsys.readouterr().out
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        tests, cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""}
    )
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr
    monkeypatch.chdir(folder)
    assert main(["train", "recipe.toml", "--dry-run"]) == 0
    assert 'name = "world:Courier"' in capsys.readouterr().out


def test_nothing_is_written_over(tmp_path: Path, capsys) -> None:
    (tmp_path / "recipe.toml").write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert "there already" in capsys.readouterr().err
    assert (tmp_path / "recipe.toml").read_text() == "mine" and not (tmp_path / "world.py").exists()


@pytest.mark.slow
def test_a_run_by_name_keeps_the_recipe_it_came_from(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    small = (
        "sft.demonstrations=16 run.iterations=1 rollout.tasks=1 rollout.group_size=2 rollout.executor_group_size=2 "
        'eval.every=0 eval.final="" run.name=a model.tiny=[64,1,300] env.size=[5,5]'
    )
    assert main(["train", "demo", *small.split()]) == 0
    assert Path("runs/a/recipe.toml").read_text() == (HOME / "demo.toml").read_text(encoding="utf-8")
    told = capsys.readouterr().out
    assert "report a" in told and "play --model a" in told
    assert main(["runs"]) == 0
    assert "done 1/1" in capsys.readouterr().out


def test_a_world_that_is_tested_on_what_it_was_trained_on_is_told(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    source = (HOME.parent / "scaffold" / "world.py").read_text(encoding="utf-8")
    Path("overlapping.py").write_text(
        source.replace("[numbers.pop() for _ in range(most)]", "numbers[:most]")
    )
    Path("apart.py").write_text(source)
    assert main(["check", "env=overlapping:Courier", "env.rooms=4", "env.parcels=1"]) == 0
    told = capsys.readouterr().out
    assert "splits     4 of 4 beginnings of 'test' are those of tasks in 'train'. If the tasks are" in told
    assert main(["check", "env=apart:Courier", "env.rooms=4", "env.parcels=1"]) == 0
    assert "splits" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def broken(:\n    pass\n", "SyntaxError: invalid syntax"),
        ("x = 1\nraise ValueError('no licence')\n", "ValueError: {name}.py, line 2: no licence"),
    ],
)
def test_a_slip_in_a_module_of_ones_own_is_one_line(
    tmp_path: Path, monkeypatch, source: str, told: str
) -> None:
    name = f"slip{abs(hash(source))}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path(f"{name}.py").write_text(source)
    with pytest.raises(ConfigError) as caught:
        resolve("envs", f"{name}:World")
    assert told.format(name=name) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_printed_is_refused_as_the_run_would_refuse_it(capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    for words in (["config", "demo"], ["train", "demo", "--dry-run"]):
        assert main([*words, 'run.sinks=["tensorboard"]']) == 2
        assert "himac[tensorboard]" in capsys.readouterr().err
