"""What a person sees: lines that fit, what it means that nothing was learned, and how long it will take."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from himac.config import load_config
from himac.report.run_status import duration
from himac.runs.console import Silent, Terminal, fitted
from himac.runs.folder import METRICS, RunWriter
from himac.runs.log import RunLog, far_lines, no_signal_lines, phase_line
from himac.train.run import time_left

ROW = {
    "iteration": 3, "phase": "planner", "success": 0.5, "return": 1.25, "turns": 9.0, "samples": 4, "kl": 0.01,
    "collect_s": 2.0, "generate_s": 1.5, "train_s": 1.0, "clip": 0.0, "grad": 0.2, "distinct_blueprints": 3.0,
}  # fmt: skip


def test_a_line_keeps_what_matters_most_where_there_is_little_room() -> None:
    line = phase_line(ROW, 40)
    shown = fitted(line, 80)
    assert len(shown) <= 80 < len(line) and line.startswith(shown)
    assert "success 0.50" in shown and "3.0 s" in shown
    assert fitted(line, 0) == line


def test_a_warning_stands_before_the_numbers() -> None:
    assert "WARNING only 2%" in fitted(phase_line({**ROW, "moved": 0.02}, 40), 80)
    assert "no group had signal" in fitted(phase_line({**ROW, "samples": 0}, 40), 80)


def test_what_to_try_depends_on_what_happened() -> None:
    said = {success: "\n".join(no_signal_lines({**ROW, "success": success})) for success in (0.0, 0.5, 1.0)}
    assert "warm start" in said[0.0] and "too easy" in said[1.0]
    assert "rollout.planner_temperature" in said[0.5]
    assert "rollout.temperature" in "\n".join(no_signal_lines({**ROW, "phase": "executor"}))
    assert max(len(line) for text in said.values() for line in text.splitlines()) <= 80


def test_a_terminal_of_80_columns_gets_lines_of_80_and_a_file_gets_all() -> None:
    program = (
        "from himac.runs.console import Terminal; from himac.runs.log import phase_line;"
        f"Terminal().say(phase_line({ROW!r}, 40))"
    )
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    ours, theirs = pty.openpty()
    env = plain | {"COLUMNS": "80", "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", program], stderr=theirs, env=env, check=True)
    os.close(theirs)
    seen = os.read(ours, 10_000).decode().replace("\r", "").rstrip("\n")
    os.close(ours)
    assert len(seen) <= 80 and seen.startswith("step 3/40 | planner | success 0.50")
    kept = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True
    )
    assert kept.stderr.rstrip("\n") == phase_line(ROW, 40)


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(s) for s in (40, 840, 9000)] == ["40 s", "14 min", "2.5 h"]


def test_what_a_run_will_still_take_counts_down_and_is_silent_where_a_bar_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(None, ["run.iterations=2", "eval.every=0", "eval.final=test"])
    (tmp_path / METRICS).touch()
    now = [1000.0]
    monkeypatch.setattr("himac.train.run.time.monotonic", lambda: now[0])
    ahead = time_left(tmp_path, config)
    evaluated = {"phase": "eval", "split": "test", "iteration": 0, "seconds": 30.0}
    assert ahead(evaluated)() == ""  # nothing is known of an iteration yet
    ahead({"phase": "planner", "iteration": 1, "collect_s": 20.0, "learn_s": 0.0})
    told = ahead({"phase": "executor", "iteration": 1, "collect_s": 20.0, "learn_s": 0.0})
    assert told() == "run: about 70 s left"
    now[0] += 25
    assert told() == "run: about 45 s left"
    now[0] += 60
    assert told() == ""  # it takes longer than was thought, and nobody knows how much
    last = ahead({"phase": "executor", "iteration": 2, "collect_s": 20.0, "learn_s": 0.0})
    assert last() == ""  # the final evaluation alone, which has a bar of its own


def test_a_bar_asks_its_note_again(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("himac.runs.console._BAR_AFTER_S", -1.0)
    monkeypatch.setattr(
        "himac.runs.console.Lasting", lambda: Console(stderr=True, force_terminal=True, width=100)
    )
    notes = iter(f"run: about {n} s left" for n in range(99, 0, -1))
    terminal = Terminal()
    terminal.note(lambda: next(notes))
    advance = terminal.collecting("planner", 10)
    advance(1)
    time.sleep(0.5)
    terminal.close()
    said = capfd.readouterr().err
    assert "run: about 99 s left" in said and "run: about 98 s left" in said


class _Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("trouble", "told"),
    [({"kl": 1.6}, "algo.kl_coef"), ({"moved": 0.02}, "optimizer.lr"), ({"samples": 0}, "rollout.tasks")],
)
def test_what_goes_wrong_three_times_in_a_row_is_explained_once(
    tmp_path: Path, trouble: dict[str, float], told: str
) -> None:
    heard, bad = _Heard(), {**ROW, **trouble}
    log = RunLog(RunWriter(tmp_path), heard, iterations=40)
    for row in (bad, bad, ROW, bad, bad, {**bad, "phase": "executor"}):
        log.phase(row, [], {})
    assert len(heard.lines) == 6 and not any(told in line for line in heard.lines)
    for _ in range(4):
        log.phase(bad, [], {})
    log.close()
    explained = [line for line in heard.lines if not line.startswith("step ")]
    assert sum(told in line for line in explained) == 1
    assert max(map(len, explained)) <= 80
    if "kl" in trouble:
        assert max(map(len, far_lines({"kl": 99.0}))) <= 80
        assert "kl 1.60 nats a token" in explained[0] and "some 5 times as likely as there" in explained[1]


def test_a_process_that_does_not_write_says_and_writes_nothing(tmp_path: Path) -> None:
    heard = _Heard()
    log = RunLog(None, heard, iterations=40)
    log.phase(ROW, [], {})
    log.evaluation({"phase": "eval"}, [])
    log.collecting("planner", 3)(3)
    log.close()
    assert not heard.lines and not list(tmp_path.iterdir())
