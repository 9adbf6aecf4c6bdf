"""Which runs are one experiment with several seeds: their settings agree but for name, folder and seed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from himac.report.reading import read_toml
from himac.runs.folder import CONFIG, START
from himac.types import Row

_OF_RUN = ("run.name", "run.dir", "run.seed")


def group_seeds(folders: Sequence[Path]) -> list[list[int]]:
    """Return the runs' places, those that differ in their seed alone together, in the order of their first ones.

    A second run with a seed that is there already is no further seed, and stands apart.
    """
    found: dict[tuple[str, int], list[int]] = {}
    twins: Counter[tuple[str, str]] = Counter()
    for place, folder in enumerate(folders):
        settings = read_toml(folder / CONFIG)
        key = repr(sorted(_plain(settings).items())) if settings else f"unreadable {place}"
        with_seed = (key, str(settings.get("run.seed", 0)))
        found.setdefault((key, twins[with_seed]), []).append(place)
        twins[with_seed] += 1
    return list(found.values())


def _plain(settings: Row) -> Row:
    """Return what does not belong to the single run; in the path of a start of its own, the seed's number neither."""
    plain = {key: value for key, value in settings.items() if key not in _OF_RUN}
    name = str(plain.get("model.name", ""))
    if Path(name).name == START:
        seed = re.escape(str(settings.get("run.seed", 0)))
        plain["model.name"] = re.sub(rf"(?<!\d){seed}(?!\d)", "#", name)
    return plain
