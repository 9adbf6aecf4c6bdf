"""Collectors on a real Ray of this machine: the same episodes, whoever dies; and one line where there is no room."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from collectors import WORDS, Learned, bitwise, learn

from begun_runs import new, numbers
from himac.config import Config, override, to_toml
from himac.errors import HimacError, RunError
from himac.remote.cluster import connected
from himac.rollout.evaluate import evaluate
from himac.runs.folder import CONFIG, EPISODES, METRICS, read_rows
from himac.train.components import Components, parts_of
from himac.train.run import train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray")]


@pytest.fixture(scope="module")
def two(config: Config) -> Config:
    """Two collectors on one core: they fit in beside whatever a test before has not let go of yet."""
    return override(config, parallel={"collectors": 2, "collector_size": [0.5, 0.0]})


@pytest.fixture(scope="module")
def undisturbed(ray: None, two: Config, start: Path) -> Learned:
    return learn(two, start)


def test_collectors_play_the_episodes_of_one_process(
    undisturbed: Learned, config: Config, start: Path
) -> None:
    alone = learn(config, start)
    assert undisturbed.ids == alone.ids
    for ours, theirs in zip(undisturbed.logps, alone.logps, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    apart = torch.cat([(undisturbed.weights[n] - p).abs().flatten() for n, p in alone.weights.items()])
    moved = torch.cat([(alone.weights[n] - p).abs().flatten() for n, p in _weights(start).items()])
    # the batches are others, and so the last bits; Adam makes a whole step of a gradient that is nothing but last bits
    assert apart.mean() < 1e-3 * moved.mean() and (apart > 1e-5).float().mean() < 0.01


def _weights(start: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(start / "model.safetensors")


def test_how_many_collectors_there_are_changes_no_bit(undisturbed: Learned, two: Config, start: Path) -> None:
    other = learn(override(two, parallel={"collectors": 1, "collector_episodes": 9}), start)
    assert bitwise(learn(override(two, parallel={"collectors": 1}), start), undisturbed)
    assert other.ids == undisturbed.ids and not bitwise(other, undisturbed)  # what is in a unit does


def test_collectors_killed_in_mid_call_change_no_bit(undisturbed: Learned, two: Config, start: Path) -> None:
    reports, killed, pids, killers = 0, [], [], []

    def disturb(parts: Components, count: int) -> None:
        nonlocal reports
        reports += 1
        if reports in (
            1,
            7,
        ):  # of six in each phase; in the second one the new collector needs the new weights, too
            pids.append(_pids(parts))
            killers.append(
                threading.Thread(target=lambda: killed.append(_kill_one_at_work(pids[-1])), daemon=True)
            )
            killers[-1].start()
        if reports in (6, 12):
            killers[-1].join()
            assert killed[-1] not in _pids(parts) and len(_pids(parts)) == 2  # Ray has started another

    assert bitwise(learn(two, start, meanwhile=disturb), undisturbed)
    assert len(killed) == 2 and reports == 12


def _pids(parts: Components) -> list[int]:
    """The processes of the collectors; those at work are waited for."""
    import ray

    crew = parts.collector.runner._crew  # type: ignore[attr-defined]
    return ray.get([actor.__ray_call__.remote(lambda self: os.getpid()) for actor in crew._actors])


def _kill_one_at_work(pids: list[int]) -> int:
    """Kill one that is in the middle of a unit: Ray shows in a process's title what it is at."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(OSError):
                if b"Worker.run" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    time.sleep(0.05)
                    os.kill(pid, signal.SIGKILL)
                    return pid
    raise AssertionError("no collector was at work")


def test_weights_are_put_into_the_store_once_a_version(
    monkeypatch: pytest.MonkeyPatch, two: Config, start: Path
) -> None:
    import ray

    puts = []
    put = ray.put

    def counted(state: Any) -> Any:
        puts.append({name: int(held.data.astype(np.int64).sum()) for name, held in state.items()})
        return put(state)

    monkeypatch.setattr(ray, "put", counted)
    parts = Components(two, start)
    learner = parts.learner()
    loop = parts.loop(learner, log=None, outside=None)  # type: ignore[arg-type]
    try:
        for version in range(3):
            for _ in range(2):
                parts.collector.collect(loop.phases[0], loop.tasks.at(0, 4), iteration=0)
                evaluate(parts.collector, parts.env.tasks("val")[:6], temperature=0.0)
                parts.collector.load_weights(None, version=version)  # as after an evaluation
            assert len(puts) == version + 1
            for p in learner.policy.trainable:
                p.data.add_(0.01)
            parts.collector.load_weights(None, version=version + 1)
    finally:
        parts.close()
    assert len({tuple(told.values()) for told in puts}) == 3  # each was another version


def test_an_evaluation_by_collectors_is_that_of_one_process(two: Config, config: Config, start: Path) -> None:
    told, kept = [], []
    for cfg in (config, two):
        parts = Components(cfg, start)
        try:
            tasks = parts.env.tasks("val")[:8]
            kept.append([])
            summary, episodes = evaluate(parts.collector, tasks, temperature=0.0, keep=kept[-1].append)
            told.append((
                {k: v for k, v in summary.items() if k != "seconds"},
                [[c.ids.tolist() for c in e.contexts] for e in episodes],
            ))  # fmt: skip
        finally:
            parts.close()
    assert told[0][1] == told[1][1] and len(kept[1]) == len(kept[0]) == 8
    assert told[0][0]["success"] == told[1][0]["success"] and told[0][0]["tokens"] == told[1][0]["tokens"]


def test_a_run_goes_on_with_collectors_and_without(two: Config, start: Path, tmp_path: Path) -> None:
    folder = new(tmp_path / "mixed", two, start)
    for iterations, collectors in ((1, 2), (2, 0), (3, 1)):
        cfg = override(two, run={"iterations": iterations}, parallel={"collectors": collectors})
        (folder / CONFIG).write_text(to_toml(cfg))
        train(cfg, folder)
    rows = [row for row in numbers(folder) if row["phase"] == "planner"]
    assert [row["iteration"] for row in rows] == [1, 2, 3]
    assert len([e for e in read_rows(folder / EPISODES) if e["phase"] != "eval"]) == 3 * 36
    spent = [r["total_processor_s"] for r in read_rows(folder / METRICS) if r["phase"] == "eval"]
    assert 0 == spent[0] < spent[1]


def test_a_run_on_a_ray_that_runs_on_is_killed_and_resumes_to_the_same_files_without_orphans(
    two: Config, start: Path, tmp_path: Path
) -> None:
    cfg = override(two, parallel={"ray": "auto"})
    whole, killed = (new(tmp_path / name, cfg, start) for name in ("whole", "killed"))
    train(cfg, whole)
    _wait_for(lambda: not _collectors())
    run = "import himac, sys; from himac.runs.formats import load_saved; f = sys.argv[1]; himac.train(load_saved(f + '/config.toml'), folder=f)"
    process = subprocess.Popen([sys.executable, "-c", run, str(killed)], cwd=tmp_path, env=_environment())
    _wait_for(lambda: (killed / EPISODES).is_file() and (killed / EPISODES).stat().st_size > 0)
    assert len(_collectors()) == 2
    process.kill()
    process.wait()
    _wait_for(lambda: not _collectors())
    train(cfg, killed)
    assert numbers(killed) == numbers(whole)
    assert (killed / EPISODES).read_bytes() == (whole / EPISODES).read_bytes()


def _collectors() -> list[int]:
    """The processes of all collectors on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "cmdline").read_text().startswith("ray::Worker"):
                found.append(int(path.name))
    return found


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def _wait_for(happens: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _himac(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "himac", *words],
        cwd=cwd,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_too_few_resources_are_one_line_before_anything_starts(tmp_path: Path) -> None:
    for words in (("parallel.collectors=400",), ("parallel.collectors=1", "parallel.collector_size=[1,99]")):
        done = _himac("train", *WORDS, "sft.demonstrations=100000", "run.name=r", *words, cwd=tmp_path)
        said = done.stderr.strip().splitlines()
        assert done.returncode == 2 and len(said) == 2 and not done.stdout
        assert said[0].startswith("himac: parallel.collectors = ") and "room for" in said[0]
        assert said[1].startswith("hint: ")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []  # no run folder


def test_no_ray_at_an_address_is_one_line(tmp_path: Path) -> None:
    for address in ("localhost:1", "ray://localhost:10001", "nobody"):
        done = _himac(
            "train", *WORDS, "run.name=r", "parallel.collectors=1", f'parallel.ray="{address}"', cwd=tmp_path
        )
        said = done.stderr.strip().splitlines()
        assert done.returncode == 2 and len(said) == 2, done.stderr
        assert said[0].startswith("himac: ") and "parallel.ray" in said[0]
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_places_that_others_hold_are_one_line(
    two: Config, monkeypatch: pytest.MonkeyPatch, start: Path
) -> None:
    import ray

    from himac.remote import cluster

    monkeypatch.setattr(cluster, "_PATIENCE_S", 1.0)

    @ray.remote(num_cpus=2)
    class Holder:
        def here(self) -> bool:
            return True

    holder: Any = Holder.remote()
    assert ray.get(holder.here.remote())
    with pytest.raises(RunError, match="others hold"), connected(two.parallel):
        pass
    ray.kill(holder)
    monkeypatch.setattr(cluster, "_PATIENCE_S", 60.0)
    with connected(two.parallel):
        pass


def test_what_a_collector_lacks_is_one_line(two: Config, start: Path, tmp_path: Path) -> None:
    parts = Components(two, start)
    runner: Any = parts.collector.runner
    runner._make = partial(parts_of, two, str(tmp_path / "gone"))
    loop = parts.loop(parts.learner(), log=None, outside=None)  # type: ignore[arg-type]
    try:
        with pytest.raises(HimacError, match="gone"):
            parts.collector.collect(loop.phases[0], loop.tasks.at(0, 2), iteration=0)
    finally:
        parts.close()


WORLD = """
from himac.envs.base import make_env
def make():
    return make_env('toy', doors=1)
"""


def test_a_world_beside_the_recipe_is_found_by_collectors_and_torchrun_drives_them(
    start: Path, tmp_path: Path
) -> None:
    (tmp_path / "my_world.py").write_text(WORLD)
    words = [
        *WORDS, "env=my_world:make", "sft.demonstrations=0", f"model={start}", "eval.every=0", "run.iterations=1",
        "parallel.collectors=1",
    ]  # fmt: skip
    words.remove("env.doors=1")
    one = _himac("train", *words, "run.name=one", cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "29533",
    ]
    for name, shard in (("ranks", "false"), ("parts", "true")):
        done = subprocess.run(
            [*launch, "-m", "himac", "train", *words, f"run.name={name}", f"parallel.shard={shard}"],
            cwd=tmp_path, env=_environment(), capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        ours, theirs = (list(read_rows(tmp_path / "runs" / n / EPISODES)) for n in (name, "one"))
        assert len(ours) == 2 * 18 and [e["contexts"] for e in ours] == [e["contexts"] for e in theirs]
