"""Signals and readers that leave: one line, the status that says which, and a run that goes on to the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign.kills import begin_in, look, made, recipe_in, run, says, server, unlike, write_plan
from campaign.sections import Section

_HEEDED = ("SIGINT", "SIGTERM", "SIGHUP")
_ENDINGS = ("SIGTERM", "SIGHUP", "SIGINT", "SIGINT twice")  # each ends a command in order
_LEAVINGS = (
    "SIGPIPE",
    "stderr closed",
    "stdout closed",
)  # none of them ends one: what was paid for is on file
_TWICE_S = 0.02  # between two of Ctrl-C: a hand that shakes
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class _Moment:
    """When a signal comes: at the Nth operation on a file with a word in its path, or a while after a line of stderr."""

    name: str
    path: str = ""
    operation: int = 1
    line: str = ""
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Command:
    """What is sent signals."""

    name: str
    begin: Callable[[Path], list[str]]
    go_on: Callable[[Path], list[str]]
    moments: Sequence[_Moment]
    inner: Sequence[str] = (".",)  # the folders that are compared


def endings(folder: Path, *, every: int) -> Section:
    """Every signal at every moment of every command that takes long, and outputs whose readers leave."""
    section = Section("signals and lost outputs: one line, the status, and the same bytes in the end")
    recipe, begun = recipe_in(folder), made(folder)
    with server(lambda body: says("<action>go east</action>")) as url:
        trials = [
            (command, moment, event)
            for command in _commands(folder, recipe, begun, url)
            for moment in command.moments
            for event in (*_ENDINGS, *(_LEAVINGS if moment is command.moments[0] else ()))
        ][::every]
        wanted: dict[str, list[dict[str, object]]] = {}
        for number, (command, moment, event) in enumerate(trials):
            if command.name not in wanted:
                whole = folder / f"whole-{command.name}"
                status, told = run(command.begin(whole), counted=folder / "count")
                if status:
                    section.add(f"{command.name}, undisturbed: status {status}: {told.strip()[-200:]}")
                    return section
                wanted[command.name] = [look(whole / name) for name in command.inner]
            home = folder / f"trial-{number}"
            fault = _tried(command, moment, event, home) or _differs(
                command, home, wanted[command.name], folder
            )
            section.add(f"{command.name}, {moment.name}, {event}: {fault}" if fault else "")
            shutil.rmtree(home, ignore_errors=True)
    return section


def _commands(folder: Path, recipe: Path, begun: Path, url: str) -> list[_Command]:
    local = ["eval", str(begun), "split=val", "eval.tasks=8"]
    remote = ["eval", f"{url}#m", "env=toy", "split=val", "eval.tasks=8", "agent.max_steps=3", "endpoint.concurrency=1"]  # fmt: skip
    plan = write_plan(folder)
    return [
        _Command("train", lambda home: begin_in(home, ["train", str(recipe)]), lambda home: ["train", "--resume", str(home)], [
            _Moment("warm start", path=".part-start", operation=5), _Moment("first evaluation", line="warm start 6/6", after_s=0.5),
            _Moment("training", line="step 1/3 | executor", after_s=0.3), _Moment("saving", path=".part-iteration", operation=3),
            _Moment("last evaluation", line="step 3/3 | executor", after_s=0.3),
        ]),
        _Command("sft", lambda home: begin_in(home, ["sft", str(recipe)]), lambda home: ["sft", "--resume", str(home)], [
            _Moment("training", line="warm start 1/6"), _Moment("saving", path=".part-start", operation=7),
        ]),
        _Command("eval", lambda home: begin_in(home, local), lambda home: begin_in(home, local), [_Moment("episodes", path="episodes.jsonl")]),
        _Command("endpoint", lambda home: begin_in(home, remote), lambda home: begin_in(home, remote), [_Moment("a request", path="usage.json", operation=9)]),
        _Command("compare", lambda home: ["compare", str(plan), "--out", str(home)], lambda home: ["compare", str(plan), "--out", str(home)], [
            _Moment("warm start", line="warm start: himac sft", after_s=3.0), _Moment("run", line="run: himac train", after_s=3.0),
        ], inner=("toy-himac-0", "toy-grpo-0")),
    ]  # fmt: skip


def _tried(command: _Command, moment: _Moment, event: str, home: Path) -> str:
    """Run a command and let it happen; return what is wrong with how it ended."""
    name = event.split()[0] if event.startswith("SIG") else "0"
    number = getattr(signal, name) if name != "0" else 0
    at = f"{int(number)}:{moment.operation}:{moment.path}:{_TWICE_S if 'twice' in event else 0}" if moment.path and number else "0"  # fmt: skip
    words = [
        sys.executable,
        "-m",
        "campaign.victim",
        at,
        str(home.parent / "count"),
        "--",
        *command.begin(home),
    ]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400"},
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        told: list[str] = []
        reading = threading.Thread(target=_read_until, args=(process, moment, event, number, told))
        reading.start()
        if event == "stdout closed":
            process.stdout.close()
        else:
            process.stdout.read()
        reading.join(_PATIENCE_S)
        try:
            status = process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"not ended after {_PATIENCE_S:.0f} s"
    return _wrong(process.pid, status, "".join(told), event, number, home)


def _read_until(
    process: subprocess.Popen[str], moment: _Moment, event: str, number: int, told: list[str]
) -> None:
    """Read stderr; at the moment's line, do what is to be done."""
    assert process.stderr is not None
    for line in process.stderr:
        told.append(line)
        if event == "stderr closed" and (not moment.line or moment.line in line):
            process.stderr.close()
            return
        if number and moment.line and moment.line in line:
            time.sleep(moment.after_s)
            process.send_signal(number)
            if "twice" in event:
                time.sleep(_TWICE_S)
                process.send_signal(number)
            moment = _Moment("over")


def _wrong(pid: int, status: int, told: str, event: str, number: int, home: Path) -> str:
    expected = 128 + number if event in _ENDINGS else 0
    if status != expected:
        return f"status {status}, not {expected}: {told.strip()[-200:]}"
    odd = next((word for word in ("Traceback", "Exception ignored", "Error:") if word in told), "")
    lines = [line for line in told.splitlines() if line.startswith("himac:")]
    if odd or len(lines) != (1 if event in _ENDINGS else 0):
        return f"{odd or f'{len(lines)} lines'}: {told.strip()[-300:]}"
    # what goes on under another number is no part left over: a warm start's steps, and parts of files, stand there
    parts = [str(p.relative_to(home)) for p in home.rglob(".part-*") if not p.name.startswith(".part-start")]
    if parts:
        return f"left over: {parts[:4]}"
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return ""
    return "left a process behind"


def _differs(command: _Command, home: Path, wanted: list[dict[str, object]], folder: Path) -> str:
    """Go on, and return how the end differs from the undisturbed one's."""
    is_begun = (home / "config.toml").is_file() or command.name == "compare"
    status, said = run(command.go_on(home) if is_begun else command.begin(home), counted=folder / "count")
    if status:
        return f"does not go on: status {status}: {said.strip()[-200:]}"
    return next(
        (how for name, held in zip(command.inner, wanted, strict=True) if (how := unlike(home / name, held))),
        "",
    )


def _heed() -> None:
    """Be sent signals: what runs in the background (nohup, a job of CI) may ignore them, and hands that on."""
    for name in _HEEDED:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
