"""What W&B, MLflow and trackio hold of a run is what metrics.jsonl holds: whatever was killed, each point once."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from himac.config import load_config
from himac.errors import ConfigError
from himac.runs.folder import METRICS, read_rows
from himac.runs.sinks import make_sinks, scalars
from himac.runs.trackers import MLflow, Wandb

Point = tuple[str, int, float]  # metric, place of its row in metrics.jsonl (MLflow: iteration), value
NAMES = ["wandb", "mlflow", "trackio"]
CONFIG = load_config(None, ["env=toy", "optimizer.lr=0.5"])
ROWS = [
    {
        "iteration": n // 2 + 1, "phase": ("planner", "executor")[n % 2], "success": n / 8, "return": 0.0, "turns": 1.0,
        "collect_s": 1.0, "learn_s": 1.0, "episodes": 1,
    }
    for n in range(8)
]  # fmt: skip
TOY = """
[run]
name = "r"
iterations = 6
save_every = 2
[env]
name = "toy"
doors = 1
val = 4
[model]
name = "tiny"
tiny = [32, 1, 400]
[agent]
planner_tokens = 8
executor_tokens = 8
max_steps = 2
think = false
[rollout]
tasks = 1
[sft]
demonstrations = 4
batch = 4
[eval]
every = 2
"""


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything stays in the test's folder."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read where the library is imported


def _wandb_records(folder: Path, kind: str) -> Iterator[Any]:
    """Read what `wandb sync` would send: records of protobuf in blocks of 32 kB, as LevelDB's log has them."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, at, whole = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            _, length, part = struct.unpack("<IHB", data[at : at + 7])
            if 2**15 - at % 2**15 < 7 or not part:
                at += 2**15 - at % 2**15
                continue
            whole += data[at + 7 : at + 7 + length]
            at += 7 + length
            if part in (1, 4):  # a whole record, or the last part of one
                record = pb.Record.FromString(whole)
                whole = b""
                if record.WhichOneof("record_type") == kind:
                    yield getattr(record, kind)


def _in_wandb(folder: Path) -> list[Point]:
    return [
        ("/".join(item.nested_key), history.step.num, float(item.value_json))
        for history in _wandb_records(folder, "history")
        for item in history.item
        if "/" in item.nested_key[0]
    ]


def _mlflow_run() -> tuple[Any, Any]:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    (run,) = client.search_runs([client.get_experiment_by_name("himac").experiment_id])
    return client, run


def _in_mlflow(folder: Path) -> list[Point]:
    client, run = _mlflow_run()
    names = [name for name in run.data.metrics if name != "himac/rows"]
    return [
        (name, point.step, point.value)
        for name in names
        for point in client.get_metric_history(run.info.run_id, name)
    ]


def _in_trackio(folder: Path) -> list[Point]:
    """Ask in a process of its own: the folder is read when the library is imported."""
    code = """
import json
from trackio.sqlite_storage import SQLiteStorage
(run,) = SQLiteStorage.get_run_records("himac")
print(json.dumps(SQLiteStorage.get_logs("himac", run=run["name"], run_id=run["id"])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [
        (name, row["step"], value)
        for row in json.loads(done.stdout.splitlines()[-1])
        for name, value in row.items()
        if "/" in name
    ]


READERS: dict[str, Callable[[Path], list[Point]]] = {
    "wandb": _in_wandb,
    "mlflow": _in_mlflow,
    "trackio": _in_trackio,
}


def _wanted(name: str, rows: list[dict[str, Any]]) -> Counter[tuple[str, int]]:
    steps = [row["iteration"] if name == "mlflow" else n for n, row in enumerate(rows)]
    return Counter((metric, step) for step, row in zip(steps, rows) for metric, _ in scalars(row))


def _need(name: str) -> None:
    pytest.importorskip(name, reason=f"pip install 'himac[{name}]'")
    if name == "mlflow":
        pytest.importorskip("sqlalchemy", reason="pip install 'himac[mlflow]'")


WRITE = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_trackers import CONFIG, ROWS
from himac.runs.sinks import make_sinks
name, first, last, after, kill = sys.argv[1:]
(sink,) = make_sinks([name], Path("run"), config=CONFIG, after=int(after) or None)
for row in ROWS[int(first):int(last)]:
    sink.write(row)
if kill == "kill":
    time.sleep(1)
    os.kill(os.getpid(), 9)
sink.close()
"""


def _write(name: str, first: int, last: int, *, after: int = 0, kill: bool = False) -> None:
    words = [name, str(first), str(last), str(after), "kill" if kill else ""]
    done = subprocess.run([sys.executable, "-c", WRITE, *words], capture_output=True, text=True)
    assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr


def _keep(rows: int) -> None:
    """Cut metrics.jsonl back, as a resumed run does."""
    path = Path("run", METRICS)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS[:rows]))
    assert len(list(read_rows(path))) == rows


@pytest.mark.parametrize("name", NAMES)
def test_rows_arrive(name: str) -> None:
    _need(name)
    Path("run").mkdir()
    _write(name, 0, 8)
    assert Counter(p[:2] for p in READERS[name](Path("run"))) == _wanted(name, ROWS)
    values = {(metric, step): value for metric, step, value in READERS[name](Path("run"))}
    assert values["planner/success", 4 if name == "mlflow" else 6] == 0.75


@pytest.mark.parametrize("name", NAMES)
def test_after_a_kill_and_a_resume_each_point_is_there_once(name: str) -> None:
    """Six rows were told, four were kept by the checkpoint, and four more are written again or anew."""
    _need(name)
    Path("run").mkdir()
    _write(name, 0, 6, kill=True)
    _keep(4)
    _write(name, 4, 8, after=2)
    assert Counter(point[:2] for point in READERS[name](Path("run"))) == _wanted(name, ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_is_killed_and_resumed_is_one_run_there(name: str, tmp_path: Path) -> None:
    _need(name)
    Path("r.toml").write_text(TOY)
    command = [sys.executable, "-m", "himac", "train"]
    first = subprocess.Popen([*command, "r.toml", f'run.sinks=["{name}"]'], stderr=subprocess.PIPE)
    metrics = tmp_path / "runs/r" / METRICS
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and first.poll() is None:
        if metrics.is_file() and sum(row["iteration"] == 3 for row in read_rows(metrics)) == 2:
            break  # an iteration after the last checkpoint
        time.sleep(0.02)
    first.kill()
    _, said = first.communicate()
    assert first.returncode == -signal.SIGKILL, said.decode()
    done = subprocess.run([*command, "--resume", "r"], capture_output=True, text=True)
    assert (
        done.returncode == 0 and "resuming r after iteration" in done.stderr and "WARNING" not in done.stderr
    )
    rows = list(read_rows(metrics))
    assert max(row["iteration"] for row in rows) == 6
    assert Counter(p[:2] for p in READERS[name](tmp_path / "runs/r")) == _wanted(name, rows)


def test_wandb_knows_project_group_tags_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    _need("wandb")
    given = {"PROJECT": "mine", "RUN_GROUP": "seeds", "TAGS": "a,b"}
    for key, value in given.items():
        monkeypatch.setenv(f"WANDB_{key}", value)
    Path("run").mkdir()
    _write("wandb", 0, 1)  # W&B writes the last of it while its process ends
    run = next(iter(_wandb_records(Path("run"), "run")))
    assert (run.project, run.run_group, run.display_name) == ("mine", "seeds", "run")
    assert {"toy", "himac", "a", "b"} <= set(run.tags)
    assert '"lr":0.5' in {item.key: item.value_json for item in run.config.update}["optimizer"]


def test_wandb_says_at_once_that_nobody_is_logged_in(tmp_path: Path) -> None:
    _need("wandb")
    environment = {**os.environ, "HOME": str(tmp_path), "WANDB_MODE": "online"}
    code = "from himac.runs.trackers import Wandb; Wandb.require()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert ConfigError.__name__ in done.stderr and "nobody is logged in" in done.stderr
    Wandb.require()  # offline: nobody needs to be


def test_what_was_synced_is_not_told_again(tmp_path: Path) -> None:
    _need("wandb")
    Path("run").mkdir()
    _write("wandb", 0, 4)
    (record,) = Path("run").glob("wandb/offline-run-*/*.wandb")
    Path(f"{record}.synced").touch()  # wandb sync leaves it
    _keep(4)
    _write("wandb", 4, 8, after=2)
    told = Counter(point[:2] for point in _in_wandb(Path("run")))
    assert told == _wanted("wandb", ROWS)


def test_mlflow_has_settings_as_parameters_and_says_how_a_run_ended(tmp_path: Path) -> None:
    _need("mlflow")
    (sink,) = make_sinks(["mlflow"], tmp_path, config=CONFIG)
    client, run = _mlflow_run()
    assert run.data.params["optimizer.lr"] == "0.5" and run.data.tags["env"] == "toy"
    assert run.info.run_name == tmp_path.name and run.info.status == "RUNNING"
    with pytest.raises(ZeroDivisionError):
        try:
            raise ZeroDivisionError
        finally:
            sink.close()
    assert client.get_run(run.info.run_id).info.status == "FAILED"
    longer = load_config(None, ["env=toy", "optimizer.lr=0.5", "run.iterations=7"])
    (sink,) = make_sinks(["mlflow"], tmp_path, config=longer, after=2)
    sink.close()
    run = client.get_run(run.info.run_id)
    assert run.info.status == "FINISHED" and run.data.tags["resumed.run.iterations"] == "7"


def test_mlflow_without_its_server_costs_a_run_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _need("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    said: list[str] = []
    (sink,) = make_sinks(["mlflow"], tmp_path, config=CONFIG, say=said.append)
    for row in ROWS:
        sink.write(row)
    assert len(said) == 1 and "WARNING sink 'mlflow'" in said[0] and "the run goes on" in said[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    sink.close()  # the last try finds a store
    assert len(said) == 2 and "well again" in said[1]
    assert Counter(p[:2] for p in _in_mlflow(tmp_path)) == _wanted("mlflow", ROWS)


def test_mlflow_skinny_alone_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    _need("mlflow")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)  # Python's own way to make an import fail
    with pytest.raises(ImportError, match="without a server needs the package 'sqlalchemy'"):
        MLflow.require()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    MLflow.require()
