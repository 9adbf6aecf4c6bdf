"""Damaged checkpoints, failed starts, two owners, killed warm starts: nothing is lost and each is one line."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from himac.cli.main import main
from himac.config import Config, override, to_toml
from himac.errors import RunError
from himac.files import owned, read_json
from himac.learner import checkpoint as ckpt
from himac.runs.folder import EPISODES, MACHINE, METRICS, START, read_rows
from himac.runs.formats import load_saved
from himac.train import start as starts
from himac.train.components import Components
from himac.train.run import new_run, train
from himac.train.start import starting_model

Damage = Callable[[Path], object]
NEWEST = "checkpoints/iteration-000002"
DAMAGES: dict[str, Damage] = {
    "optimizer cut": lambda run: os.truncate(run / NEWEST / "optimizer.pt", 5000),
    "optimizer empty": lambda run: os.truncate(run / NEWEST / "optimizer.pt", 0),
    "optimizer missing": lambda run: (run / NEWEST / "optimizer.pt").unlink(),
    "optimizer of something else": lambda run: torch.save({"a": 1}, run / NEWEST / "optimizer.pt"),
    "optimizer a pickle": lambda run: (run / NEWEST / "optimizer.pt").write_bytes(pickle.dumps({"a": 1})),
    "weights cut": lambda run: os.truncate(run / NEWEST / "model/model.safetensors", 4000),
    "weights: one bit": lambda run: _flip(run / NEWEST / "model/model.safetensors"),
    "weights missing": lambda run: (run / NEWEST / "model/model.safetensors").unlink(),
    "state of words": lambda run: (run / NEWEST / "state.json").write_text('{"iteration": "x"}'),
    "state of lists": lambda run: (run / NEWEST / "state.json").write_text('{"lengths": [1], "files": [2]}'),
    "state cut": lambda run: os.truncate(run / NEWEST / "state.json", 10),
}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def short(toy_config: Config, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two iterations."""
    folder = tmp_path_factory.mktemp("runs") / "short"
    config = override(toy_config, run={"iterations": 2}, eval={"every": 0})
    new_run(folder, config)
    shutil.copytree(start, folder / START)
    train(config, folder)
    return folder


def _numbers(folder: Path) -> list[tuple[object, ...]]:
    keys = ("iteration", "phase", "success", "return", "kl", "grad")
    return [tuple(row.get(key) for key in keys) for row in read_rows(folder / METRICS)]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_goes_on(
    short: Path, tmp_path: Path, damage: Damage, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "short"
    shutil.copytree(short, run)
    damage(run)
    assert main(["train", "--resume", str(run)]) == 0
    told = capfd.readouterr().err
    assert "iteration-000002 is damaged (" in told and "set aside as damaged-iteration-000002" in told
    assert "resuming short after iteration 1" in told
    assert (run / "checkpoints/damaged-iteration-000002").is_dir()
    assert _numbers(run) == _numbers(short)
    assert (run / EPISODES).read_bytes() == (short / EPISODES).read_bytes()


def test_where_no_checkpoint_is_whole_the_run_is_left_as_it_is(short: Path, tmp_path: Path) -> None:
    run = tmp_path / "short"
    shutil.copytree(short, run)
    for path in run.glob("checkpoints/iteration-*/state.json"):
        path.write_text("{")
    (run / "checkpoints/last").write_bytes(b"\xff\xfe../../elsewhere")
    for _ in range(2):  # not the second time either
        with pytest.raises(RunError, match=r"no checkpoint of .* is whole any more; damaged ones: damaged-"):
            train(load_saved(run / "config.toml"), run)
    assert (run / EPISODES).read_bytes() == (short / EPISODES).read_bytes()


def test_a_run_has_one_owner(short: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "short"
    shutil.copytree(short, run)
    with owned(run, "himac train"):
        assert main(["train", "--resume", str(run)]) == 2
    assert "is in use by 'himac train' (process" in capfd.readouterr().err
    assert (run / METRICS).read_bytes() == (short / METRICS).read_bytes()


def test_weights_that_are_no_numbers_stop_the_run_at_its_last_checkpoint(
    toy_config: Config, start: Path, tmp_path: Path
) -> None:
    run, config = tmp_path / "run", override(toy_config, optimizer={"lr": 1e39}, eval={"every": 0})
    new_run(run, config)
    shutil.copytree(start, run / START)
    with pytest.raises(RunError, match=r"weights are not finite after optimizer step \d+") as caught:
        train(config, run)
    assert "the last checkpoint is whole" in caught.value.hint
    saved = ckpt.find(run)
    assert saved is not None and not ckpt.damage(saved)
    parts = Components(config, ckpt.model_folder(saved))
    assert all(bool(p.isfinite().all()) for p in parts.policy.model.parameters())


_BAD_STARTS = {
    "eval.split=nosuch": "eval.split is 'nosuch'; the splits of toy are train, val",
    "eval.final=vall": "did you mean 'val'?",
    "model=./nosuch sft.demonstrations=0": "cannot load the model './nosuch'",
    "model=./nosuch": "cannot load the model './nosuch'",
    "model.dtype=int8": "model.dtype must be one of",
    "run.device=cuda:9": "run.device is 'cuda:9'",
    "run.device=toaster": "run.device must be auto",
    'run.sinks=["nosuch"]': "unknown sink 'nosuch'",
    'sft.kinds=["x"]': "sft.kinds has 'x'",
    "env=frozen": "unknown env 'frozen'",
    "run.name=../x": "run.name names a folder in run.dir",
    "run.dir=. run.name=../x": "run.name names a folder in run.dir",
    "run.name=.": "run.name names a folder in run.dir",
    "run.name=/tmp/x": "run.name names a folder in run.dir",
    "run.name=a\0b": "run.name names a folder in run.dir",
    f"run.name={'x' * 300}": "File name too long",
}


@pytest.mark.parametrize("verb", ["train", "sft"])
@pytest.mark.parametrize("words", _BAD_STARTS)
def test_a_failed_start_is_one_line_and_leaves_no_folder(
    toy_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: str, verb: str
) -> None:  # fmt: skip
    if verb == "sft" and words.startswith(("eval", "model=./nosuch sft")):
        pytest.skip("a warm start does not evaluate")
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text(to_toml(toy_config))
    assert main([verb, "recipe.toml", "run.name=one", *words.split(" ")]) == 2
    told = capfd.readouterr().err.splitlines()
    assert _BAD_STARTS[words] in told[0] and len(told) <= 2
    assert not any(path.name not in ("recipe.toml", "runs") for path in tmp_path.iterdir())
    assert not list(tmp_path.glob("runs/*"))


def test_what_fails_later_but_before_anything_is_kept_leaves_no_folder_either(
    toy_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **settings: object) -> None:
        raise RunError("the expert solved nothing")

    monkeypatch.setattr(starts, "demonstrations", broken)
    run = tmp_path / "runs" / "one"
    new_run(run, toy_config)
    with pytest.raises(RunError, match="solved nothing"):
        train(toy_config, run)
    assert not run.exists()


def test_a_warm_start_goes_on_to_the_weights_that_it_would_have_had(
    toy_config: Config, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "_SAVE_EVERY_S", 0.0)
    told: list[int] = []

    class Killed(BaseException):
        pass

    def die(step: int) -> None:
        told.append(step)
        if step == 4:
            raise Killed

    real = starts._Kept._save

    def save(self: starts._Kept, root: Path) -> None:
        real(self, root)
        self._pause_s = 0.0
        die(sum(self.done.values()))

    monkeypatch.setattr(starts._Kept, "_save", save)
    run = tmp_path / "run"
    new_run(run, toy_config, verb="himac sft")
    with pytest.raises(Killed):
        starting_model(toy_config, run)
    first_s = read_json(run / MACHINE)["warm_start_s"]
    assert not (run / START).exists() and [p.name for p in run.glob(".part-start/steps/*")] == [
        "step-00000004"
    ]
    made = Path(starting_model(toy_config, run))
    assert told == [1, 2, 3, 4, 5, 6]  # the first four were not taken again
    assert (made / "model.safetensors").read_bytes() == (start / "model.safetensors").read_bytes()
    assert not list(run.glob(".part*"))
    assert 0 < first_s < read_json(run / MACHINE)["warm_start_s"]  # the time of both


@pytest.mark.slow
def test_a_killed_sft_goes_on_by_its_own_verb_alone(
    toy_config: Config, start: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.toml").write_text(to_toml(toy_config))
    run = tmp_path / "made"
    words = [f"run.dir={tmp_path}", "run.name=made"]
    command = [sys.executable, "-m", "himac", "sft", str(tmp_path / "recipe.toml"), *words]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (run / "config.toml").is_file():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(["sft", str(tmp_path / "recipe.toml"), *words]) == 2
    assert f"himac sft --resume {run}" in capfd.readouterr().err
    assert main(["train", "--resume", str(run)]) == 2
    assert "was made by himac sft" in capfd.readouterr().err
    assert main(["sft", "--resume", str(run)]) == 0
    assert (run / START / "model.safetensors").read_bytes() == (start / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_is_asked_to_end_says_how_to_go_on(short: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "short"
    shutil.copytree(short, run)
    (run / "config.toml").write_text(
        to_toml(override(load_saved(run / "config.toml"), run={"iterations": 500}))
    )
    command = [sys.executable, "-m", "himac", "train", "--resume", str(run)]

    def heeds() -> None:  # what runs in the background (nohup, a job of CI) may ignore it, and hands that on
        signal.signal(number, signal.SIG_DFL)

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heeds) as process:
        assert process.stderr is not None
        while "step 3/500" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        told = process.stderr.read()
    assert process.returncode == 128 + number and "Traceback" not in told
    assert "himac: interrupted; himac train --resume RUN goes on from the last checkpoint" in told
    assert (run / ".lock").read_text() == ""
