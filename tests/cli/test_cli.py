"""The command line: results on stdout, one line and a hint for a mistake, exit status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.config import load_config


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


def test_dry_run_prints_a_config_that_reads_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "env=toy", "optimizer.lr=1e-5", "--dry-run"]) == 0
    recipe = tmp_path / "resolved.toml"
    recipe.write_text(capsys.readouterr().out)
    assert load_config(recipe) == load_config(None, ["env=toy", "optimizer.lr=1e-5"])


def test_config_diff_names_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "optimizer.lr=1e-5", "--diff"]) == 0
    assert capsys.readouterr().out.strip() == "optimizer.lr = 1e-05  (default 1e-06)"


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
        (["data", "webshop"], "himac data webshop needs --folder"),
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
    assert "torch" in said and "torchrun --nproc-per-node N" in said
