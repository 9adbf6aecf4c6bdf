"""Kills and full disks: whatever was killed is started again and must end byte for byte as if nothing had been."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from campaign.sections import Section
from himac.runs.folder import EPISODES, METRICS, read_rows

RECIPE = """
[run]
iterations = 3
save_every = 1
[env]
name = "toy"
doors = 1
val = 40
test = 40
[model]
name = "tiny"
tiny = [32, 2, 400]
[agent]
planner_tokens = 48
executor_tokens = 12
max_steps = 6
think = false
[rollout]
tasks = 2
group_size = 3
executor_group_size = 3
[optimizer]
lr = 1e-3
[sft]
demonstrations = 24
epochs = 2.0
batch = 8
[eval]
every = 2
tasks = 4
final = "test"
"""
_TIMES = frozenset([
    "collect_s", "generate_s", "env_s", "train_s", "learn_s", "seconds", "total_train_s", "total_processor_s",
    "processor_s",
])  # fmt: skip
_UNLIKE = frozenset([METRICS, "state.json", "usage.json", "evaluation.json", "curve.png", ".lock", "machine.json", "models.json", "config.toml"])  # fmt: skip
_ENOUGH = 40  # starts of one trial: more is a program that does not get on


def run(words: list[str], *, deadly: int = 0, counted: Path, most_bytes: int = 0) -> tuple[int, str]:
    """Run himac in a process of its own; return (status, stderr)."""

    def limited() -> None:
        if most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    done = subprocess.run(
        [sys.executable, "-m", "campaign.victim", str(deadly), str(counted), "--", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, preexec_fn=limited,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.returncode, done.stderr


def look(folder: Path) -> dict[str, Any]:
    """Return {file: what must be the same} of a run's folder."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        name = str(path.relative_to(folder))
        found[name] = None if path.name in _UNLIKE else path.read_bytes()
    # an evaluation's episodes stand as they ended, and a resumed one has others beside it
    if (folder / "evaluation.json").is_file():
        keys = ("task", "success", "stop", "env_return", "env_steps", "calls", "blueprint")
        rows = ({key: row[key] for key in keys} for row in read_rows(folder / EPISODES))
        found[EPISODES] = sorted(json.dumps(row) for row in rows)
    if (folder / METRICS).is_file():
        rows = [{k: v for k, v in row.items() if k not in _TIMES} for row in read_rows(folder / METRICS)]
        found["rows"] = [{k: v for k, v in row.items() if k != "usage"} for row in rows]
    return found


def unlike(folder: Path, whole: dict[str, Any]) -> str:
    """Return the first way in which a folder is not as the undisturbed one."""
    found = look(folder)
    if found.keys() != whole.keys():
        return f"other files: {sorted(found.keys() ^ whole.keys())[:4]}"
    return next((f"{name} differs" for name, held in found.items() if held != whole[name]), "")


def killed(
    what: str,
    folder: Path,
    begin: list[str],
    go_on: Callable[[Path], list[str]],
    *,
    trials: int,
    prepare: Callable[[Path], object] = lambda home: None,
    inner: Sequence[str] = (".",),
) -> Section:
    """Kill one command at operations on files, one to three times; go on; compare.

    Args:
        what: is killed.
        folder: everything lies in it.
        begin: the command that begins, without where; [] where `prepare` begins.
        go_on: the command that goes on in a folder.
        trials: how many.
        prepare: makes a folder in which the command goes on.
        inner: the folders within it that are compared.
    """
    section = Section(f"kills of {what}: ended as if there had been none")
    rng, whole, counted = random.Random(what), folder / "whole", folder / "count"
    prepare(whole)
    status, told = run(begin_in(whole, begin) if begin else go_on(whole), counted=counted)
    if status:
        section.add(f"the undisturbed one failed: {told.strip()[-200:]}")
        return section
    operations, wanted = int(counted.read_text()), [look(whole / name) for name in inner]
    for trial in range(trials):
        home = folder / f"trial-{trial}"
        prepare(home)
        kills, fault, start = rng.choice((1, 1, 2, 3)), f"not done after {_ENOUGH} starts", 0
        while start < _ENOUGH:
            is_begun = (home / "config.toml").is_file() or not begin
            words = go_on(home) if is_begun else begin_in(home, begin)
            status, told = run(
                words, deadly=rng.randint(1, operations) if start < kills else 0, counted=counted
            )
            # by what a killed comparison left behind: it ends by itself
            if status == 2 and "is in use" in told:
                time.sleep(1.0)
                continue
            start += 1
            if status == 0:
                fault = next((f"trial {trial}: {how}" for name, held in zip(inner, wanted, strict=True) if (how := unlike(home / name, held))), "")  # fmt: skip
                break
            if status != -signal.SIGKILL:
                fault = f"trial {trial}: status {status}: {told.strip()[-200:]}"
                break
        section.add(fault)
        shutil.rmtree(home, ignore_errors=True)
    return section


def begin_in(home: Path, begin: list[str]) -> list[str]:
    """Return the command that begins in a folder."""
    return [*begin, f"run.dir={home.parent}", f"run.name={home.name}"]


def recipe_in(folder: Path) -> Path:
    """Write the recipe that all of this trains; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


def made(folder: Path) -> Path:
    """Return a run of `himac sft`."""
    run(["sft", str(recipe_in(folder)), f"run.dir={folder}", "run.name=made"], counted=folder / "count")
    return folder / "made"


def train(folder: Path, *, trials: int) -> Section:
    """`himac train`, from a start that is there, and killed in its warm start."""
    from himac.config import load_config
    from himac.train.run import new_run

    warm, recipe = made(folder), load_config(folder / "recipe.toml")

    def started(home: Path) -> None:
        new_run(home, recipe)
        if not home.name.endswith(("1", "4", "7")):
            shutil.copytree(warm / "start", home / "start")

    return killed(
        "himac train",
        folder,
        [],
        lambda home: ["train", "--resume", str(home)],
        trials=trials,
        prepare=started,
    )


def sft(folder: Path, *, trials: int) -> Section:
    """`himac sft`."""
    begin = ["sft", str(recipe_in(folder))]
    return killed("himac sft", folder, begin, lambda home: ["sft", "--resume", str(home)], trials=trials)


def evaluate(folder: Path, *, trials: int) -> Section:
    """`himac eval` of a local model."""
    begin = ["eval", str(made(folder)), "split=val", "eval.tasks=8"]
    return killed("himac eval", folder, begin, lambda home: begin_in(home, begin), trials=trials)


def endpoint(folder: Path, *, trials: int) -> Section:
    """`himac eval` of an endpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    with server(lambda body: says("<action>go east</action>")) as url:
        begin = [
            "eval",
            f"{url}#m",
            "env=toy",
            "split=val",
            "eval.tasks=8",
            "agent.max_steps=3",
            "endpoint.concurrency=1",
        ]
        return killed(
            "himac eval on an endpoint", folder, begin, lambda home: begin_in(home, begin), trials=trials
        )


def write_plan(folder: Path) -> Path:
    """Write a plan of two methods; return its file."""
    recipe_in(folder)
    plan = folder / "compare-toy.toml"
    plan.write_text(
        'seeds = [0]\n[budget]\niterations = 2\n[environments.toy]\nrecipe = "recipe.toml"\n'
        '[methods.himac]\n[methods.grpo]\nalgo.method = "flat"\n'
    )
    return plan


def compare(folder: Path, *, trials: int) -> Section:
    """`himac compare`, whose parent alone is killed: the run that it leaves behind goes on."""
    plan = write_plan(folder)
    return killed(
        "himac compare", folder, [], lambda home: ["compare", str(plan), "--out", str(home)], trials=trials,
        inner=["toy-himac-0", "toy-grpo-0"],
    )  # fmt: skip


def full_disk(folder: Path, *, limits: Sequence[int]) -> Section:
    """No file may grow beyond a limit: one line, and with room again the run ends as it would have."""
    section = Section("full disk: one line, and the run goes on exactly")
    recipe, counted = recipe_in(folder), folder / "count"
    run(["train", str(recipe), f"run.dir={folder}", "run.name=whole"], counted=counted)
    wanted = look(folder / "whole")
    for limit in limits:
        home = folder / f"limit-{limit}"
        words = ["train", str(recipe), f"run.dir={folder}", f"run.name={home.name}"]
        status, told = run(words, counted=counted, most_bytes=limit)
        lines = [line for line in told.splitlines() if line.startswith(("himac:", "Traceback"))]
        fault = "" if status == 2 and len(lines) == 1 and lines[0].startswith("himac:") else f"status {status}: {told.strip()[-200:]}"  # fmt: skip
        parts = [p.name for p in home.rglob(".part-iteration*")]
        fault = fault or (f"left over: {parts}" if parts else "")
        if not fault:
            again = ["train", "--resume", str(home)] if (home / "config.toml").is_file() else words
            status, told = run(again, counted=counted)
            fault = told.strip()[-200:] if status else unlike(home, wanted)
        section.add(f"{limit} bytes: {fault}" if fault else "")
        shutil.rmtree(home, ignore_errors=True)
    return section


def says(text: Any, **more: Any) -> tuple[int, dict[str, str], bytes]:
    """A chat completion, as an endpoint words it."""
    message = {"role": "assistant", "content": text, **more}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }
    return 200, {"content-type": "application/json"}, json.dumps(body).encode()


class server:
    """An endpoint on a port of its own, while the block lasts; its value is the address."""

    def __init__(self, answer: Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["content-length"]))
                if not sent:  # whoever asked was killed while he did
                    return
                body = json.loads(sent)
                status, headers, said = answer(body)
                time.sleep(0.005)
                self.send_response(status)
                for key, value in {**headers, "content-length": str(len(said))}.items():
                    self.send_header(key, value)
                with contextlib.suppress(OSError):
                    self.end_headers()
                    self.wfile.write(said)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def memory(folder: Path, *, iterations: int) -> Section:
    """A long run's memory and open files: what it holds at its end is what it held at its beginning."""
    section = Section(f"{iterations} iterations: memory and open files do not grow")
    words = ["train", str(recipe_in(folder)), f"run.dir={folder}", "run.name=long", f"run.iterations={iterations}", "run.save_every=5", "eval.every=0", "eval.final="]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    found: dict[int, tuple[float, int]] = {}
    with subprocess.Popen([sys.executable, "-m", "himac", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env) as process:  # fmt: skip
        while process.poll() is None:
            time.sleep(0.2)
            rows = (
                (folder / "long" / METRICS).read_bytes().count(b"\n") // 2
                if (folder / "long" / METRICS).is_file()
                else 0
            )
            with contextlib.suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                files = len(os.listdir(f"/proc/{process.pid}/fd"))
                found[rows] = (pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files)
    early = [held for at, held in found.items() if iterations // 10 <= at <= iterations // 5]
    late = [held for at, held in found.items() if at >= iterations * 9 // 10]
    if process.returncode or not early or not late:
        section.add(f"status {process.returncode}, {len(found)} looks")
        return section
    grown = max(mib for mib, _ in late) - max(mib for mib, _ in early)
    section.add("" if grown < 0.15 * iterations else f"memory grew by {grown:.0f} MiB")
    section.add("" if max(n for _, n in late) <= max(n for _, n in early) + 2 else "open files grew")
    return section
