"""The notebook is the script cut into cells, and it runs."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKER = runpy.run_path(str(ROOT / "docs" / "make_notebook.py"), run_name="docs")
HELD = json.loads((ROOT / "examples" / "minimal.ipynb").read_text(encoding="utf-8"))


def test_the_notebook_s_cells_are_the_script_s() -> None:
    assert MAKER["sources"](HELD) == MAKER["sources"](MAKER["notebook"](MAKER["cells"]())), (
        "run docs/make_notebook.py"
    )


def test_every_definition_of_the_script_is_in_a_cell() -> None:
    script = (ROOT / "examples" / "minimal.py").read_text(encoding="utf-8")
    code = "\n".join(text for kind, text in MAKER["sources"](HELD) if kind == "code")
    for line in re.findall(r"^(?:def|class) .*$", script, re.MULTILINE):
        assert line in code


@pytest.mark.slow
@pytest.mark.learning
def test_the_notebook_runs_and_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    told = MAKER["executed"](MAKER["notebook"](MAKER["cells"]()))
    printed = [o["text"] for cell in told["cells"] for o in cell.get("outputs", []) if "text" in o]
    successes = [float(x) for x in re.findall(r"held out (\d\.\d\d)", "".join("".join(t) for t in printed))]
    assert len(successes) == 16
    assert successes[0] <= 0.25
    assert successes[-1] >= 0.9
    drawn = [o for cell in told["cells"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(drawn) == 1
