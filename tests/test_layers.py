"""The architecture, checked: a folder is a floor, imports run downwards, and what must stay light stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import himac

ROOT = Path(himac.__file__).parent

FLOORS = [  # rooms of one floor do not know one another
    "errors < text < files < types < seeds < toml < renamed < recipes < layout < config < parallel < images < chat < plugins",  # "<": may also import what stands before it
    "envs agents models runs",
    "engines algo",
    "rollout learner",
    "remote",
    "report < compare",  # readers of runs/, never of train/
    "train",
    "evaluation",
    "cli < scaffold",  # what `himac init` copies; nothing imports it
]
PUBLIC = {"testing": "train", "__init__": "cli", "__main__": "cli"}
"""What else lies at the root, and the room whose floor it stands on: the front doors."""


def _height(room: str) -> tuple[int, int]:
    """Return (floor, rank on it) of a room; KeyError for a room that is on no floor."""
    for floor, rooms in enumerate(FLOORS):
        names = rooms.replace("<", "").split()
        if room in names:
            return floor, names.index(room) if "<" in rooms else 0
    raise KeyError(room)


def _room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return PUBLIC.get(first, first)


def _imports(path: Path) -> list[str]:
    """Return the rooms that a module imports from."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "himac":
            module = (node.module or "").removeprefix("himac").lstrip(".")
            found += [module] if module else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [a.name.removeprefix("himac.") for a in node.names if a.name.startswith("himac.")]
    return [name.split(".")[0] for name in found]


def test_every_room_stands_on_a_floor() -> None:
    rooms = {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in ROOT.rglob("*.py")} - set(PUBLIC)
    assert rooms == {name for floor in FLOORS for name in floor.replace("<", "").split()}


def test_imports_run_downwards_and_neighbours_are_blind() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        room = _room(path)
        for other in _imports(path):
            is_other = other != room and other not in PUBLIC and not other.startswith("__")
            if is_other and _height(other) >= _height(room):
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert wrong == []


def test_ray_is_known_in_one_room() -> None:
    importers = {
        _room(path)
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "ray" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray")
    }
    assert importers == {"remote"}


def test_no_file_has_grown_past_its_idea() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in ROOT.rglob("*.py")}
    assert [str(path) for path, length in lengths.items() if length > 400] == []


def test_nothing_imports_the_command_line() -> None:
    importers = {_room(p) for p in ROOT.rglob("*.py") if "cli" in _imports(p)}
    assert importers == {"cli"}


def test_help_config_and_envs_load_no_torch() -> None:
    code = (
        "import sys, himac, himac.config, himac.cli.main, himac.runs.folder, himac.report.tables\n"
        "import himac.compare.runner, himac.compare.summary, himac.compare.tables, himac.cli.compare\n"
        "himac.make_env('sokoban'); himac.make_env('toy')\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_two_test_modules_have_one_name() -> None:
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}  # pytest would refuse to collect the second


def test_the_pages_draw_the_floors_as_they_are() -> None:
    home = Path(__file__).resolve().parents[1]
    rooms = [floor.replace("<", " ").split() for floor in FLOORS]
    drawn = re.findall(
        r"^  \d  ((?:[a-z]+(?: <|  ?)? ?)+)(?:  |$)", (home / "docs" / "design.md").read_text("utf-8"), re.M
    )
    assert [line.replace("<", " ").split() for line in drawn] == rooms
    assert " | ".join(map(" ".join, rooms)) in (home / "AGENTS.md").read_text("utf-8")
