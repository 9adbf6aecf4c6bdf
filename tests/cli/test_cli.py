"""The command line: results on stdout, one line and a hint for a mistake, exit status 2."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from himac.cli.main import app, main
from himac.config import load_config

ROOT = Path(__file__).resolve().parents[2]


def _fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("himac: ") and len(err.splitlines()) <= 2
    return err


def test_help_lists_the_verbs_and_loads_no_torch() -> None:
    code = "import sys; from himac.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in ("train", "sft", "eval", "play", "data", "config", "doctor"))


def _commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, (*path, name))


@pytest.mark.parametrize("path", list(_commands(app)), ids=lambda path: " ".join(path) or "himac")
def test_a_help_page_fits_a_terminal_and_nothing_on_it_is_cut(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*path, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    told = "\n".join(lines).partition("Commands:")[2]
    assert "..." not in told  # click's own for a summary that it had no room for


@pytest.mark.parametrize(
    "words",
    [
        "recipes",
        "runs RUNS",
        "show RUNS/run-of-0.1.0",
        "watch RUNS/run-of-0.1.0 --once",
        "config demo",
        "train demo --dry-run",
        "sft demo --dry-run",
        "compare compare-sokoban --dry-run",
        "check env=toy --tasks 1",
        "play env=toy",
        "play env=webshop",
    ],
)
def test_verbs_that_need_no_model_load_none(words: str) -> None:
    """Seconds of imports before a person's first board are seconds too many."""
    given = words.replace("RUNS", str(Path(__file__).parents[1] / "runs")).split()
    code = (
        f"import sys; from himac.cli.main import main; status = main({given})\n"
        "sys.exit(status or 'torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="quit\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_dry_run_prints_a_config_that_reads_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "env=toy", "optimizer.lr=1e-5", "--dry-run"]) == 0
    recipe = tmp_path / "resolved.toml"
    recipe.write_text(capsys.readouterr().out)
    assert load_config(recipe) == load_config(None, ["env=toy", "optimizer.lr=1e-5"])


def test_config_diff_names_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "optimizer.lr=1e-5", "--diff"]) == 0
    assert capsys.readouterr().out.strip() == "optimizer.lr = 1e-05  # default 1e-06"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "no-such-recipe.toml"], "no recipe at 'no-such-recipe.toml'"),
        (["train", "optimizer.lrr=1", "--dry-run"], "did you mean 'lr'?"),
        (["train", "--resume", "no-such-run"], "no run at 'no-such-run'"),
        (["play", "env=sokban"], "did you mean 'sokoban'?"),
        (["play", "env=sokoban", "env.boxs=2"], "did you mean 'boxes'?"),
        (["play", "env=sokoban", "--index", "1000000"], "--index must lie in 0.."),
        (["sft", "env=toy"], "sft.demonstrations must be at least 1"),
        (["data", "alfworld", "--generate", "3"], "--generate needs a folder"),
    ],
)
def test_a_mistake_is_one_line_with_a_hint(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert message in _fails(capsys, *words)


def test_a_wrong_model_name_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "cannot load the model" in _fails(capsys, "eval", str(tmp_path / "nothing"), "env=toy")


def test_a_wrong_level_file_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "levels.txt"
    bad.write_text("; 0\n#####\n#@?.#\n#####\n")
    assert "levels.txt" in _fails(capsys, "play", "env=sokoban", f"env.levels={bad}")


def test_a_person_plays_to_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from himac.envs.base import make_env, make_expert

    env = make_env("sokoban")
    demo = make_expert("sokoban", env).demonstrate(env.tasks("test")[0], seed=0, noise=0.0)
    assert demo is not None
    words = iter(["dance", *demo.actions])
    monkeypatch.setattr("builtins.input", lambda *_: next(words))
    assert main(["play", "env=sokoban", "--split", "test"]) == 0
    out = capsys.readouterr().out
    assert "not an admissible action" in out and "solved" in out


def test_generated_games_lie_where_they_were_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["data", "alfworld", "--generate", "2", "--folder", str(tmp_path)]) == 0
    assert len(list(tmp_path.rglob("game.tw-pddl"))) == 2
    assert "wrote 2 games" in capsys.readouterr().out


def test_doctor_reports_without_failing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "torch" in said and "torchrun --nproc-per-node N" in said and "ok  sharded weights" in said
    assert "Ray" in said and "parallel.collectors=N" in said
    assert max(map(len, said.splitlines())) <= 80
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    told = said.partition("extras:")[2].partition("folders")[0].splitlines()[1:]
    found = {line[6:].split()[0]: line[2:4] for line in told if line.strip()}
    assert set(found) == set(extras) and found["dev"] == "ok"


def test_doctor_sees_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "alembic" else find(name))
    assert main(["doctor"]) == 0
    assert "  -   mlflow       run.sinks = ['mlflow']" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("form", ["words", "grid", "image"])
def test_a_game_that_is_piped_reads_as_it_was_played(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Instructions once, a board at each step, the actions before they are needed, and no prompt for nobody."""
    monkeypatch.setattr("sys.stdin", io.StringIO("up\ndance\n"))
    assert main(["play", "env=sokoban", f"env.observation={form}"]) == 0
    out = capsys.readouterr().out
    lines = [line.rstrip() for line in out.split("\n")]
    assert out.count("You move on a board") == 1
    assert [line for line in lines if line.startswith(">")] == ["> up", "> dance"]
    assert out.count("actions: up, down, left, right") == 3
    assert out.count("●") + out.count("◉") - 2 == 3  # less the two of the legend
    assert lines.index("actions: up, down, left, right") < lines.index("> up")
    assert "# # #" not in out and ("you: row" in out) == (form == "words")
    assert max(map(len, lines)) <= 80


def test_a_model_plays_on_a_board_that_it_does_not_see(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from himac.models.tiny import TinyShape, build_tiny

    build_tiny(
        tmp_path / "model", ["go up down"], TinyShape(hidden=32, layers=1, heads=1, kv_heads=1), vocab=400
    )
    small = ["agent.max_steps=3", "agent.executor_tokens=8", "agent.planner_tokens=8", "agent.think=false"]
    words = ["env=sokoban", "env.observation=words", *small]
    assert main(["play", "--model", str(tmp_path / "model"), *words]) == 0
    out = capsys.readouterr().out
    assert "██" in out and "you: row" in out and out.count("You move on a board") == 1
