"""The recipes and plans that come with himac, found by name: `himac train demo`, `himac compare compare-sokoban`.

They are TOML files beside this module. A path of the user's own always comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from himac.errors import MissingFileError, closest

HOME = Path(__file__).parent
_PLAN = "compare-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A shipped file."""

    name: str
    path: Path
    about: str  # its first line: what it is for, and what it takes

    @property
    def is_plan(self) -> bool:
        """Whether it is for `himac compare`, not for `himac train`."""
        return self.name.startswith(_PLAN)


def shipped() -> list[Recipe]:
    """Return what comes with himac, by name."""
    return [Recipe(name=path.stem, path=path, about=_title(path)) for path in _files()]


def find(given: str | Path, *, plan: bool = False) -> Path:
    """Return the file that a user named: one of his own, or one that comes with himac.

    Args:
        given: "my.toml", "demo".
        plan: a plan for `himac compare` is asked for, not a recipe.

    Raises:
        MissingFileError: there is neither.
    """
    if Path(given).is_file():
        return Path(given)
    known = names(plan=plan)
    if str(given) in known:
        return HOME / f"{given}.toml"
    what, verb, name = "plan" if plan else "recipe", "compare" if plan else "train", Path(given).stem
    hint = f"himac {verb} {name}" if name in known else "himac recipes lists those that come with himac"
    raise MissingFileError(f"no {what} at {str(given)!r}{closest(name, known)}", hint=hint)


def names(*, plan: bool = False) -> Sequence[str]:
    """Return the names of shipped recipes, or of shipped plans."""
    return [path.stem for path in _files() if path.stem.startswith(_PLAN) == plan]


def _files() -> list[Path]:
    return sorted(HOME.glob("*.toml"))


def _title(path: Path) -> str:
    with open(path, encoding="utf-8") as file:
        return file.readline().lstrip("# ").rstrip()
