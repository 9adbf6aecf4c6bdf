"""Collections that begin beside an update: the same episodes and weights to the last bit, and nothing left behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from looping import Rows
from safetensors.torch import load_file

from himac.config import Config, override
from himac.engines.by_role import EngineByRole
from himac.errors import ConfigError, RunError
from himac.learner import checkpoint as ckpt
from himac.learner.checkpoint import TrainState
from himac.learner.learner import Learner
from himac.learner.policy import ROLES
from himac.rollout.beside import BesideRunner, Gate
from himac.runs.folder import EPISODES, METRICS, read_rows
from himac.runs.formats import load_saved
from himac.train.checks import check_trainable
from himac.train.components import Components
from himac.train.run import START, new_run, train
from himac.types import PhaseSpec

pytest.importorskip("peft")
_TIMES = {"collect_s", "generate_s", "env_s", "train_s", "learn_s", "seconds", "total_train_s", "total_processor_s"}  # fmt: skip
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "few-at-a-time": {"rollout": {"max_live": 2}},  # blueprints are asked for while others are carried out
    "rounds-and-judges": {"rollout": {"dynamic_sampling": 1, "judge": (2, 0.7)}, "algo": {"kl_coef": 0.1}},
    "critic": {"algo": {"estimator": "ppo", "epochs": (2, 2)}},
    "muon": {"optimizer": {"name": "muon"}, "algo": {"minibatches": (2, 2), "max_ratio": 2.0}},
}


@pytest.fixture(scope="module")
def config(toy_config: Config) -> Config:
    """Adapters that learn quickly; returns differ although nobody wins."""
    return override(
        toy_config,
        model={"lora_rank": 2, "lora_per_role": True},
        optimizer={"lr": 3e-2},
        agent={"invalid_penalty": (0.1, 0.2)},
        algo={"estimator": "gigpo_mean"},
        eval={"every": 3},
    )


def _overlapping(config: Config) -> Config:
    return override(config, parallel={"overlap": True})


def _new(folder: Path, config: Config, start: Path) -> Path:
    new_run(folder, config)
    shutil.copytree(start, folder / START)
    return folder


def _told(folder: Path) -> tuple[list[dict[str, Any]], bytes, dict[str, torch.Tensor]]:
    """Return a run's numbers, its episodes and its last adapters."""
    saved = ckpt.find(folder)
    assert saved
    weights = {
        f"{path.parent.name}.{name}": tensor
        for path in sorted(saved.rglob("adapter_model.safetensors"))
        for name, tensor in load_file(path).items()
    }
    rows = [{k: v for k, v in row.items() if k not in _TIMES} for row in read_rows(folder / METRICS)]
    return rows, (folder / EPISODES).read_bytes(), weights


def _assert_same(one: Path, other: Path) -> None:
    (rows, episodes, weights), (rows_2, episodes_2, weights_2) = _told(one), _told(other)
    assert rows == rows_2
    assert episodes == episodes_2
    assert weights.keys() == weights_2.keys() and len(weights) > 4
    assert all(torch.equal(weights[name], weights_2[name]) for name in weights)


@pytest.fixture(scope="module")
def without(config: Config, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which nothing overlaps."""
    folder = _new(tmp_path_factory.mktemp("runs") / "without", config, start)
    train(config, folder)
    return folder


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.rare) if case in ("critic", "muon") else case for case in CASES],
)
def test_a_run_is_the_same_to_the_last_bit(case: str, config: Config, start: Path, tmp_path: Path) -> None:
    plain = override(config, **CASES[case])
    one = _new(tmp_path / "one", plain, start)
    train(plain, one)
    other = _new(tmp_path / "other", _overlapping(plain), start)
    train(_overlapping(plain), other)
    _assert_same(one, other)
    assert {row["phase"] for row in read_rows(one / METRICS) if row.get("samples")} == set(ROLES)
    assert not _threads()


def test_with_an_executor_of_before_its_update_the_episodes_would_be_others(
    config: Config, start: Path, without: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits at the gate, and an update begins when the next phase has been collected to its end."""
    began: list[Any] = []
    begin, update = BesideRunner.begin, Learner.update

    def beginning(self: BesideRunner, *args: Any, **more: Any) -> None:
        begin(self, *args, **more)
        began.append(self._begun)

    def updating(self: Learner, *args: Any, **more: Any) -> dict[str, float]:
        if began:
            began[-1].thread.join()
        return update(self, *args, **more)

    monkeypatch.setattr(Gate, "shut", lambda self, moving: Gate.open(self))
    monkeypatch.setattr(BesideRunner, "begin", beginning)
    monkeypatch.setattr(Learner, "update", updating)
    unsaved = override(_overlapping(config), run={"save_every": 100})
    folder = _new(tmp_path / "stale", unsaved, start)
    train(unsaved, folder)
    assert _told(folder)[1] != _told(without)[1]
    monkeypatch.undo()
    # and that is what being behind means: the same, with copies instead of a wait
    behind = override(unsaved, parallel={"behind": True})
    copied = _new(tmp_path / "behind", behind, start)
    train(behind, copied)
    rows, episodes, weights = _told(copied)
    stale = [
        (row["iteration"], row["phase"], row.pop("stale_steps")) for row in rows if row["phase"] != "eval"
    ]
    assert stale == [
        (i, phase, float(phase == "planner" and i in (2, 3))) for i in range(1, 5) for phase in ROLES
    ]  # the first has nothing before it, and before the last comes an evaluation
    assert (rows, episodes) == _told(folder)[:2]
    assert all(torch.equal(weights[name], w) for name, w in _told(folder)[2].items())
    assert all(row["gap_max"] < 1e-3 for row in rows if row.get("samples"))  # what is trained is of today


def test_phase_b_is_collected_and_blueprints_are_written_while_the_other_adapter_learns(
    config: Config, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Components(_overlapping(override(config, eval={"every": 0})), start)
    learner, engine, runner = parts.learner(), parts.engine, parts.collector.runner
    assert isinstance(engine, EngineByRole) and isinstance(runner, BesideRunner)
    stats: Any = {role: engine.engines[role] for role in ROLES}
    update, seen = learner.update, []

    def updating(samples: Any, phase: PhaseSpec, **more: Any) -> dict[str, float]:
        begun = runner._begun
        assert begun is not None
        if phase.name == "planner":  # phase B asks the executor alone, and comes to its end
            begun.thread.join(60)
            seen.append(begun.episodes.done())
        else:  # the blueprints of the next phase A are there, and no executor has begun
            before = stats["executor"].stats.sampled_tokens
            deadline = time.monotonic() + 60
            while not (engine._tickets and all(role == "executor" for role, _ in engine._tickets)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.05)
            seen.append(stats["executor"].stats.sampled_tokens == before and not begun.episodes.done())
        return update(samples, phase, **more)

    monkeypatch.setattr(learner, "update", updating)
    log = Rows()
    state = parts.loop(learner, log=log, outside=log).iterate(TrainState())
    assert seen == [True, True] and state.iteration == 1
    waiting = runner._begun
    assert waiting is not None and waiting.thread.is_alive()
    parts.close()
    assert not _threads()


def test_a_phase_is_told_its_own_time_and_none_that_it_waited_for_weights(
    config: Config, start: Path
) -> None:
    parts = Components(_overlapping(override(config, eval={"every": 0})), start)
    log, learner = Rows(), parts.learner()
    loop = parts.loop(learner, log=log, outside=log)
    run, took = parts.collector.runner._runner.run, []  # type: ignore[union-attr]

    def running(*args: Any, **more: Any) -> Any:
        began = time.perf_counter()
        found = run(*args, **more)
        took.append(time.perf_counter() - began)
        return found

    parts.collector.runner._runner.run = running  # type: ignore[union-attr, method-assign]
    state = loop.iterate(TrainState())
    time.sleep(3.0)
    loop.iterate(state)
    parts.close()
    assert [row["phase"] for row in log.rows] == ["planner", "executor"] * 2
    for row, seconds in zip(log.rows, took, strict=False):
        assert 0 < row["generate_s"] <= row["collect_s"] <= seconds
    assert log.rows[2]["collect_s"] <= took[2] - 1.0 and log.rows[1]["collect_s"] > 0.9 * took[1]


@pytest.mark.parametrize("side", ["collecting", "learning"])
def test_an_error_on_either_side_ends_the_run_in_one_line_and_leaves_nothing_running(
    side: str, config: Config, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, update = EngineByRole.step, Learner.update

    def stepping(self: EngineByRole) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise RunError("the engine is gone")
        return step(self)

    def updating(self: Learner, samples: Any, phase: PhaseSpec, **more: Any) -> dict[str, float]:
        if phase.name == "executor":
            raise RunError("the learner is gone")
        return update(self, samples, phase, **more)

    if side == "collecting":
        monkeypatch.setattr(EngineByRole, "step", stepping)
    else:
        monkeypatch.setattr(Learner, "update", updating)
    folder = _new(tmp_path / "run", _overlapping(config), start)
    with pytest.raises(RunError, match=r"^the (engine|learner) is gone$"):
        train(_overlapping(config), folder)
    assert not _threads()


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "himac-collects"]


def test_stopped_and_resumed_it_is_the_run_that_nothing_overlaps_in(
    config: Config, start: Path, without: Path, tmp_path: Path
) -> None:
    folder = _new(tmp_path / "twice", _overlapping(config), start)
    train(override(_overlapping(config), run={"iterations": 2}), folder)
    train(_overlapping(config), folder)
    _assert_same(without, folder)


@pytest.mark.parametrize(
    "words",
    [
        {},
        {
            "model": {"lora_rank": 0, "lora_per_role": False},
            "algo": {"max_ratio": 2.0},
            "optimizer": {"lr": 3e-3},
        },
        {"model": {"lora_per_role": False}, "algo": {"max_ratio": 2.0, "method": "flat"}},
    ],
    ids=["judges", "all-weights", "one-adapter-flat"],
)
def test_what_is_one_update_behind_says_so_and_resumes_exactly(
    words: dict[str, dict[str, Any]], config: Config, start: Path, tmp_path: Path
) -> None:
    late = override(
        _overlapping(config),
        parallel={"behind": True},
        run={"iterations": 6, "save_every": 3},
        eval={"every": 0},
        **words,
    )
    once, twice = (_new(tmp_path / name, late, start) for name in ("once", "twice"))
    train(late, once)
    train(override(late, run={"iterations": 3}), twice)
    train(late, twice)
    (rows, episodes, _), (rows_2, episodes_2, _) = _told(once), _told(twice)
    assert rows == rows_2 and episodes == episodes_2
    learned = [row for row in rows if row.get("samples")]
    trained_stale = [row for row in learned if row["gap_max"] > 1e-3]
    assert all(row["stale_steps"] > 0 for row in trained_stale)
    first = {row["iteration"]: row["stale_steps"] for row in reversed(rows)}
    assert [first[i] > 0 for i in range(1, 7)] == [False, True, True] * 2  # none across a checkpoint
    assert bool(trained_stale) == bool(words) and ("capped" in learned[0]) == bool(words)
    assert not _threads()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_it_resumes_to_the_same_run(
    config: Config, start: Path, without: Path, tmp_path: Path, seed: int
) -> None:
    folder = _new(tmp_path / "killed", _overlapping(config), start)
    rng, kills = random.Random(seed), 0
    for _ in range(20):
        iterations = len(list(read_rows(folder / METRICS))) if (folder / METRICS).is_file() else 0
        process = subprocess.Popen(
            [sys.executable, "-m", "himac", "train", "--resume", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + 240
        # until a row more is there, and then for a part of a phase
        while kills < 3 and process.poll() is None and time.monotonic() < deadline:
            if (folder / METRICS).is_file() and len(list(read_rows(folder / METRICS))) > iterations:
                time.sleep(rng.uniform(0.0, 0.6))
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        _, said = process.communicate(timeout=240)
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0, said.decode()
            break
    assert kills
    assert load_saved(folder / "config.toml").parallel.overlap
    _assert_same(without, folder)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": {"lora_per_role": False}}, "needs an adapter for each role"),
        ({"model": {"lora_rank": 0, "lora_per_role": False}}, "needs an adapter for each role"),
        ({"algo": {"coevolution": False}}, "needs two phases"),
        ({"algo": {"method": "flat"}}, "needs two phases"),
        ({"parallel": {"shard": True}}, "is not there with parallel.shard = true"),
        ({"parallel": {"collectors": 2}}, "collectors wait for the newest weights"),
        ({"parallel": {"overlap": False, "behind": True}}, "needs parallel.overlap = true"),
        ({"parallel": {"behind": True}, "model": {"lora_per_role": False}}, "needs algo.max_ratio above 0"),
        ({"parallel": {"behind": True}, "algo": {"coevolution": False}}, "needs algo.max_ratio above 0"),
    ],
)
def test_what_would_be_stale_is_refused(
    changed: dict[str, dict[str, Any]], said: str, config: Config
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        check_trainable(override(_overlapping(config), **changed))
    assert "\n" not in str(caught.value) and caught.value.hint


def test_an_engine_with_weights_of_its_own_is_refused(config: Config, start: Path) -> None:
    with pytest.raises(ConfigError, match=r"is for himac's own engine, got engine\.name = 'vllm'"):
        Components(override(_overlapping(config), engine={"name": "vllm"}), start)


def test_modules_aside_share_memory_and_nothing_else(config: Config, start: Path) -> None:
    policy = Components(config, start).policy
    other = policy.aside()
    pairs = list(zip(policy.model.named_parameters(), other.model.named_parameters(), strict=True))
    assert all(a[0] == b[0] and a[1] is not b[1] and a[1].data_ptr() == b[1].data_ptr() for a, b in pairs)
    policy.play("planner")
    other.play("executor")
    assert policy.model.active_adapter == "planner" and other.model.active_adapter == "executor"
    learns = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert learns and all(".planner." in name for name in learns)
    with torch.no_grad():  # a step of the learner's is a step of both
        for name, p in policy.model.named_parameters():
            if ".executor." in name:
                p.add_(0.1)
    ids = torch.tensor([[5, 6, 7]])
    policy.play("executor")
    assert torch.equal(policy.model(ids).logits, other.model(ids).logits)


def test_what_is_given_up_ends_at_its_next_step() -> None:
    gate, said = Gate(), []

    def ask() -> None:
        try:
            gate.wait("executor")
        except Exception as error:
            said.append(type(error).__name__)

    gate.shut(("executor",))
    thread = threading.Thread(target=ask)
    thread.start()
    gate.wait("planner")  # is at rest
    thread.join(0.05)
    assert thread.is_alive() and not said
    gate.open(give_up=True)
    thread.join(10)
    assert said == ["GivenUp"]
