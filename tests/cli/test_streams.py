"""Consoles of any encoding, closed and full outputs, readers that leave early: no traceback and nothing hidden."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "runs" / "run-of-0.1.0"
ODD = [
    ("PYTHONIOENCODING=ascii PYTHONUTF8=0 LC_ALL=C", "show run", 0, ""),
    ("PYTHONIOENCODING=latin-1", "watch run --once", 0, ""),
    ("", "show run >/dev/full", 2, "himac: No space left on device"),
    ("", "config >/dev/full", 2, "himac: No space left on device"),
    ("", "show run --count 99 | head -1", 0, ""),
    ("", "show run >&-", 0, ""),
    ("", "play env=sokoban <&-", 0, ""),
    ("PYTHONIOENCODING=cp1252 PYTHONUTF8=0", "play env=sokoban --split test --index 2 </dev/null", 0, ""),
    ("", "compare run run | true", 0, ""),
    ("", "nosuch 2>/dev/full", 2, ""),
    ("", "watch run --once >&- 2>&-", 0, ""),
]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize(("odd", "words", "status", "told"), ODD)
def test_odd_consoles(tmp_path: Path, odd: str, words: str, status: int, told: str) -> None:
    shutil.copytree(RUN, tmp_path / "run")
    command = f"set -o pipefail; {odd} {sys.executable} -m himac {words}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said and "Exception ignored" not in said
    assert done.returncode == status and told in said


def test_a_name_with_escapes_reaches_the_terminal_harmless(tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"split":"val"', '"split":"\\u001b]0;PWN\\u0007\\u001b[2J"'))
    for words in (["watch", "run", "--once"], ["compare", "run", "run"], ["nosuch\x1b[2J"]):
        done = subprocess.run(
            [sys.executable, "-m", "himac", *words], cwd=tmp_path, capture_output=True, check=False
        )
        assert b"\x1b" not in done.stdout + done.stderr and b"\x07" not in done.stdout + done.stderr
