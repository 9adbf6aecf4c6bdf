"""Runs as one HTML file that opens from disk.

The file is data and a fixed program. Everything a run contains is untrusted text, so it travels as JSON
in a script element that is never executed (each `<` escaped), the program writes it with textContent alone,
and a content security policy names the one script and the one style sheet by their hashes: nothing else runs,
nothing is fetched. Pictures that an agent saw lie in the page itself, each once.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from himac import __version__
from himac.errors import DataError
from himac.files import write_text
from himac.images import data_url
from himac.report.boards import REPLAYS_S, Boards
from himac.report.families import group_seeds
from himac.report.packed import dumps
from himac.report.reading import (
    fates,
    read_evaluations,
    read_machine,
    read_metrics,
    read_settings,
    sample_episodes,
)
from himac.report.vocabulary import find_tokenizer, token_texts
from himac.runs.folder import START, read_images
from himac.runs.rows import Broken
from himac.types import Row

_SCRIPTS = (
    "dom.js", "charts.js", "worlds.js", "household.js", "shop.js", "axes.js", "curves.js", "run_page.js", "search.js",
    "episodes_page.js", "group_page.js", "beside.js", "task_page.js", "tokens.js", "stage.js", "episode_page.js", "live.js", "app.js",
)  # fmt: skip
_STYLES = ("page.css", "board.css")


def build_report(
    folders: Sequence[Path],
    target: Path,
    *,
    most: int = 5000,
    most_bytes: int = 8_000_000,
    broken: Broken | None = None,
    imports: bool = False,
) -> Path:
    """Write the report of some runs.

    Args:
        folders: run directories.
        target: the HTML file.
        most: episodes to show, shared by the runs.
        most_bytes: how large the episodes may make the file, shared by the runs.
        broken: counts the lines that cannot be read.
        imports: whether worlds that the runs name by import path may be imported, to draw them.

    Returns:
        `target`.
    """
    data = report_data(folders, most, most_bytes, broken or Broken(), imports=imports)
    write_text(target, render(data))
    return target


def report_data(
    folders: Sequence[Path], most: int, most_bytes: int, broken: Broken, *, imports: bool = False
) -> Row:
    """Return everything the page shows; arguments as `build_report` has them."""
    share = max(len(folders), 1)
    return {
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "himac": __version__,
        "families": group_seeds(folders),
        "runs": [
            run_data(
                folder,
                max(most // share, 1),
                most_bytes // share,
                broken,
                Boards(folder, imports=imports, most_s=REPLAYS_S / share),
            )
            for folder in folders
        ],
    }


def run_data(folder: Path, most: int, most_bytes: int, broken: Broken, boards: Boards | None = None) -> Row:
    """Return everything the page shows of one run; `boards` is closed after."""
    mine, boards = Broken(), boards or Boards(folder)
    with contextlib.closing(boards):
        sampled, packed = sample_episodes(folder, most, most_bytes, mine, boards)
        goal = boards.goal
    metrics = read_metrics(folder, mine)
    broken.lines += mine.lines
    ids = packed.pop("ids")
    images = kept_images(folder, packed.pop("pictures"), most_bytes // 4)
    return {
        "name": folder.resolve().name,
        "world": packed.pop("world"),
        "goal": goal,
        "settings": read_settings(folder),
        "machine": read_machine(folder),
        "warm": (folder / START).is_dir(),  # the run made its start, and no metrics tell of that time
        "metrics": [_summary(row) for row in metrics],
        "fates": fates(metrics),
        "evaluations": [_summary(row) for row in read_evaluations(folder)],
        "rule": " ".join(filter(None, [sampled.rule, _damage(mine)])),
        "total": sampled.total,
        "episodes": packed,
        "vocabulary": _vocabulary(folder, ids),
        "images": images,
    }


def _vocabulary(folder: Path, ids: set[int]) -> dict[int, str] | None:
    """Return the texts of token ids; None where the run has no tokenizer that can be read: ids are shown then."""
    tokenizer = find_tokenizer(folder)
    try:
        return None if tokenizer is None else token_texts(tokenizer, ids)
    except DataError:
        return None


def kept_images(folder: Path, names: Sequence[str], most_bytes: int) -> dict[str, str]:
    """Return {name: address that holds the picture} of the pictures that episodes name, each once, as far as they fit."""
    if not names:
        return {}
    album, found, size = read_images(folder), {}, 0
    for name in names:
        if name in album and size < most_bytes:
            found[name] = data_url(album.png(name))
            size += len(found[name])
    return found


def _damage(broken: Broken) -> str:
    told = broken.told()
    return f"{told[0].upper()}{told[1:]}." if told else ""


def _summary(row: Row) -> Row:
    """Return a row without the single tasks' outcomes, which the page does not show."""
    return {key: value for key, value in row.items() if key != "outcomes"}


def render(data: Row, *, live: bool = False) -> str:
    """Return the page for some data; one that is `live` may ask the server that it came from, and no other, for more."""
    here = files("himac.report") / "web"
    script = "\n".join((here / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    style = "\n".join((here / name).read_text(encoding="utf-8") for name in _STYLES)
    asks = "connect-src 'self'; " if live else ""
    parts = {
        "POLICY": f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        f"img-src data:; {asks}base-uri 'none'; form-action 'none'",
        "STYLE": style,
        "SCRIPT": script,
        "DATA": _inert(data | {"live": True} if live else data),
    }
    page = (here / "page.html").read_text(encoding="utf-8")
    head, *rest = page.split("{{")
    return head + "".join(parts[name] + text for name, text in (part.split("}}", 1) for part in rest))


def _inert(data: Any) -> str:
    """Return JSON that no HTML parser can take for markup; NaN and infinities become null."""
    text = dumps(data).encode("utf-8", "replace").decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
