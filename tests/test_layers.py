"""The architecture, checked: imports run downwards, and what must stay light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import himac

ROOT = Path(himac.__file__).parent

LAYERS = {
    "errors": 0, "types": 0,
    "config": 1, "typed_toml": 1, "chat": 1, "runs": 1, "seeds": 1,
    "envs": 2, "engines": 2, "agent": 2, "algo": 2, "models": 2,
    "rollout": 3, "train.policy": 3, "train.critic": 3, "train.optimiser": 3, "train.learner": 3, "train.checkpoint": 3,
    "evaluate": 4, "resumable": 4, "train.bench": 4, "train.coevolve": 4, "train.sft": 4, "train.run": 4,
    "report": 5, "play": 5, "doctor": 5, "data": 5,
    "compare": 6, "testing": 6, "cli": 6, "__main__": 6,
}  # fmt: skip
SIBLINGS = ("envs", "engines", "agent", "algo")


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def _room(module: str) -> str | None:
    """Return the longest key of LAYERS that the module lies under."""
    parts = module.split(".")
    for size in range(len(parts), 0, -1):
        if ".".join(parts[:size]) in LAYERS:
            return ".".join(parts[:size])
    return None


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("himac"):
            found.append((node.module or "").removeprefix("himac").lstrip("."))
        elif isinstance(node, ast.Import):
            found += [a.name.removeprefix("himac.") for a in node.names if a.name.startswith("himac.")]
    return [name for name in found if name]


def test_every_module_has_a_layer() -> None:
    homeless = [_module(p) for p in ROOT.rglob("*.py") if _module(p) and not _room(_module(p))]
    assert [m for m in homeless if m != "train"] == []


def test_imports_run_downwards() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        room = _room(_module(path))
        for target in _imports(path) if room else []:
            other = _room(target)
            if other and LAYERS[other] > LAYERS[room]:
                wrong.append(
                    f"{_module(path)} (layer {LAYERS[room]}) imports {target} (layer {LAYERS[other]})"
                )
    assert wrong == []


def test_layer_two_rooms_know_nothing_of_each_other() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        room = _room(_module(path))
        wrong += [
            f"{_module(path)} imports {target}"
            for target in _imports(path)
            if room in SIBLINGS and _room(target) in SIBLINGS and _room(target) != room
        ]
    assert wrong == []


def test_nothing_imports_the_command_line() -> None:
    importers = [_module(p) for p in ROOT.rglob("*.py") if "cli" in _imports(p)]
    assert importers == ["__main__"]


def test_help_config_and_envs_load_no_torch() -> None:
    code = (
        "import sys, himac, himac.config, himac.cli, himac.runs, himac.report.tables\n"
        "import himac.compare.runner, himac.compare.summary, himac.compare.tables, himac.compare.verb\n"
        "himac.make_env('sokoban'); himac.make_env('toy')\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
