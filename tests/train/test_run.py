"""A run: resumes to the numbers it would have had, whenever it was killed; full disks leave nothing half-written."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from himac.config import Config, override, to_toml
from himac.errors import ModelError, RunError
from himac.learner import checkpoint as ckpt
from himac.runs.episodes import read_episode
from himac.runs.folder import EPISODES, METRICS, read_rows
from himac.runs.formats import load_saved
from himac.train.run import START, new_run, train
from himac.train.start import starting_model

_TIMES = {
    "collect_s",
    "generate_s",
    "env_s",
    "train_s",
    "learn_s",
    "seconds",
    "total_train_s",
    "total_processor_s",
}


def _numbers(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in _TIMES} for row in read_rows(folder / METRICS)]


def _new(folder: Path, config: Config, start: Path) -> Path:
    new_run(folder, config)
    shutil.copytree(start, folder / START)
    return folder


@pytest.fixture(scope="module")
def whole(toy_config: Config, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = _new(
        tmp_path_factory.mktemp("runs") / "whole", override(toy_config, eval={"final": "val"}), start
    )
    train(load_saved(folder / "config.toml"), folder)
    return folder


def test_a_run_leaves_everything_that_its_readers_need(whole: Path) -> None:
    rows = _numbers(whole)
    assert [r["phase"] for r in rows if r["iteration"] == 1] == ["planner", "executor"]
    assert [(r["iteration"], r["split"]) for r in rows if r["phase"] == "eval"] == [
        (0, "val"), (0, "val"), (2, "val"), (4, "val"), (4, "val"),
    ]  # fmt: skip
    assert all(r["gap_max"] < 1e-3 for r in rows if r.get("samples"))
    episodes = [row for row in read_rows(whole / EPISODES) if row["phase"] in ("planner", "executor")]
    assert len(episodes) == 4 * (9 + 9)
    for row in episodes[:20]:
        episode = read_episode(row)
        assert len(row["advantages"]) == len(episode.turns)
        trained = [a for a, t in zip(row["advantages"], episode.turns, strict=True) if a is not None]
        assert len(trained) == sum(t.role == row["phase"] for t in episode.turns)
    assert sum(row["chosen"] for row in episodes if row["phase"] == "planner") == 4 * 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_killed_run_resumes_to_the_same_numbers(
    whole: Path, start: Path, tmp_path: Path, seed: int
) -> None:
    folder = _new(tmp_path / "killed", load_saved(whole / "config.toml"), start)
    rng = random.Random(seed)
    began = time.monotonic()
    for attempt in range(20):
        command = [sys.executable, "-m", "himac", "train", "--resume", str(folder)]
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            patience = rng.uniform(3, 12) if attempt < 3 else 300
            status = process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            continue
        assert status == 0, process.stderr.read().decode() if process.stderr else ""
        break
    assert time.monotonic() - began < 600
    assert _numbers(folder) == _numbers(whole)
    ours, theirs = ((f / EPISODES).read_text() for f in (folder, whole))
    assert ours == theirs


@pytest.mark.parametrize(
    "words",
    [
        {"algo": {"estimator": "ppo", "method": "flat"}, "rollout": {"group_size": 1, "tasks": 6}},
        {"algo": {"estimator": "ppo", "coevolution": False}},
        {"model": {"lora_rank": 2, "lora_per_role": True}, "optimizer": {"lr": 1e-2}},
    ],
    ids=["ppo", "ppo-joint", "lora-per-role"],
)
def test_what_else_learns_resumes_too(
    toy_config: Config, start: Path, tmp_path: Path, words: dict[str, dict[str, Any]]
) -> None:
    """A value head, and adapters: stopped after two iterations and resumed, or never stopped."""
    if "model" in words:
        pytest.importorskip("peft")
    config = override(toy_config, **words)
    once, twice = (_new(tmp_path / name, config, start) for name in ("once", "twice"))
    train(config, once)
    train(override(config, run={"iterations": 2}), twice)
    train(config, twice)
    assert _numbers(once) == _numbers(twice)
    assert (once / EPISODES).read_text() == (twice / EPISODES).read_text()
    trained = [row for row in _numbers(once) if row.get("samples")]
    assert trained and all(row["gap_max"] < 1e-3 for row in trained)


def test_a_folder_that_holds_a_run_is_not_overwritten(whole: Path, toy_config: Config) -> None:
    with pytest.raises(RunError, match="already holds a run") as caught:
        new_run(whole, toy_config)
    assert "--resume" in caught.value.hint


def test_the_saved_config_is_the_run_s(whole: Path, toy_config: Config) -> None:
    assert load_saved(whole / "config.toml") == override(toy_config, eval={"final": "val"})
    assert to_toml(load_saved(whole / "config.toml")) == (whole / "config.toml").read_text()


def test_checkpoints_keep_the_last_and_the_best(whole: Path) -> None:
    kept = sorted(p.name for p in (whole / "checkpoints").glob("iteration-*"))
    best = (whole / "checkpoints" / "best").read_text() if (whole / "checkpoints" / "best").exists() else ""
    assert kept[-2:] == ["iteration-000003", "iteration-000004"]
    assert set(kept) <= {"iteration-000003", "iteration-000004", best}
    last = ckpt.find(whole)
    assert last is not None and ckpt.read_state(last).iteration == 4
    assert not list((whole / "checkpoints").glob(".part-*"))


def test_a_folder_that_cannot_be_written_is_one_clear_line_and_leaves_the_old_checkpoints(
    whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "checkpoints" / ".part-iteration-000009").mkdir()
    blocked = run / "checkpoints" / "iteration-000009"
    blocked.write_text("a file where a folder should go")
    parts = _loaded(run)
    with pytest.raises(RunError, match=r"cannot write .*iteration-000009") as caught:
        ckpt.save(
            run,
            replace(ckpt.TrainState(), iteration=9),
            parts.learner(),
            is_best=False,
        )
    assert "\n" not in str(caught.value)
    last = ckpt.find(run)
    assert last is not None and last.name == "iteration-000004"
    assert not list((run / "checkpoints").glob(".part-*"))


def _loaded(run: Path) -> Any:
    from himac.train.components import Components

    return Components(load_saved(run / "config.toml"), run / START)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_one_clear_line() -> None:
    from himac.runs.folder import RunWriter

    writer = RunWriter.__new__(RunWriter)
    writer.folder = Path("/dev")
    with contextlib.suppress(OSError), open("/dev/full", "ab", buffering=0) as file:
        writer._files = {METRICS: file}
        with pytest.raises(RunError, match="No space left on device") as caught:
            writer.metrics({"iteration": 1})
    assert "--resume" in caught.value.hint


def test_growing_files_are_cut_back_to_whole_lines_and_never_padded(tmp_path: Path) -> None:
    from himac.runs.folder import METRICS, RunWriter

    path = tmp_path / METRICS
    path.write_bytes(b'{"a": 1}\n{"b": 2}\n{"c"')
    RunWriter(tmp_path, lengths={METRICS: 18}).close()
    assert path.read_bytes() == b'{"a": 1}\n{"b": 2}\n'
    path.write_bytes(b'{"a": 1}\n{"b"')  # shorter than the checkpoint remembers: a copy of a run under way
    RunWriter(tmp_path, lengths={METRICS: 18}).close()
    assert path.read_bytes() == b'{"a": 1}\n'


def test_a_run_whose_model_was_named_from_here_goes_on_from_anywhere(
    toy_config: Config, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    (elsewhere / "base").mkdir(parents=True)  # another one of that name, and it is none
    shutil.copytree(start, here / "base")
    monkeypatch.chdir(here)
    config = override(
        toy_config,
        model={"name": "base"},
        sft={"demonstrations": 0},
        run={"iterations": 1},
        eval={"every": 0},
    )
    new_run(Path("runs/a"), config)
    train(config, Path("runs/a"))
    monkeypatch.chdir(elsewhere)
    assert train(override(config, run={"iterations": 2}), here / "runs" / "a").state.iteration == 2
    (here / "base").rename(here / "gone")
    (elsewhere / "base").rename(elsewhere / "gone")
    with pytest.raises(ModelError, match=r"starts from the model in '.*here.base', and there is none"):
        train(override(config, run={"iterations": 3}), here / "runs" / "a")


def test_a_run_and_the_start_beside_it_may_be_moved_together(
    toy_config: Config, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(start, "runs/here/starts/a/start")
    config = override(
        toy_config,
        model={"name": "runs/here/starts/a/start"},
        sft={"demonstrations": 0},
        run={"iterations": 1},
        eval={"every": 0},
    )
    new_run(Path("runs/here/b"), config)
    train(config, Path("runs/here/b"))
    Path("runs/here").rename("there")
    assert train(override(config, run={"iterations": 2}), Path("there/b")).state.iteration == 2
    other = override(config, model={"name": "no/such/a/model"})
    assert starting_model(other, Path("there/b")) == "no/such/a/model"  # and is then refused by its name
