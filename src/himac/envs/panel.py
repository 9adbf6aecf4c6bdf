"""A panel: the whole splits of a world as plain files, for code that is not himac's.

    FOLDER/
      panel.json        world, settings, for each split how many tasks and the SHA-256 of its file
      test.txt          Sokoban: boards in XSB, one under "; 0", "; 1", ... as Boxoban's files have them
      valid_seen.jsonl  ALFWorld: the official games by their folder, with the SHA-256 of each game's file
      test.jsonl        WebShop: instruction, product, attributes, options and price limit of each goal, in order

Splits share no task: that is checked before anything is written, and worlds whose splits overlap are refused. The sealed split is
never written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from himac.envs.base import Env, provenance
from himac.errors import ConfigError
from himac.files import make_folder, write_text
from himac.types import Row, Task

PANEL = "panel.json"
_XSB = "# .*$@+"  # by the codes of `himac.envs.sokoban.text.cell_codes`


def export(env: Env, folder: Path, told: Row) -> Row:
    """Write a world's panel; return what panel.json says.

    Args:
        env: the world.
        folder: where it goes; made when absent.
        told: the world's settings, for the record.

    Raises:
        ConfigError: no panel of this world, not the official data, or splits that share a task.
    """
    if env.spec.name not in _WRITERS:
        raise ConfigError(f"no panel of {env.spec.name!r}; worlds that have one: {', '.join(_WRITERS)}")
    ending, write = _WRITERS[env.spec.name]
    lines = {split: [write(env, task) for task in env.tasks(split)] for split in env.spec.splits}
    _refuse_overlap(lines)
    make_folder(folder)
    splits = {}
    for split, written in lines.items():
        text = "\n".join(
            f"; {number}\n{line}\n" if ending == "txt" else line for number, line in enumerate(written)
        )
        data = text + ("" if text.endswith("\n") else "\n")
        write_text(folder / f"{split}.{ending}", data)
        digest = hashlib.sha256(data.encode()).hexdigest()
        splits[split] = {"file": f"{split}.{ending}", "tasks": len(written), "sha256": digest}
    row = {"world": env.spec.name, "settings": told, "max_steps": env.spec.max_steps, "splits": splits}
    row |= {"provenance": found} if (found := provenance(env)) else {}
    write_text(folder / PANEL, json.dumps(row, indent=1) + "\n")
    return row


def _refuse_overlap(lines: dict[str, list[str]]) -> None:
    of: dict[str, str] = {}
    for split, written in lines.items():
        for line in written:
            if of.setdefault(line, split) != split:
                raise ConfigError(
                    f"splits {of[line]!r} and {split!r} share a task, and a panel's may not: {line.splitlines()[0][:80]}",
                    hint='WebShop: protocol = "himac" has disjoint splits',
                )


def _board(env: Any, task: Task) -> str:
    from himac.envs.sokoban.text import cell_codes

    level = env.level(task)
    return "\n".join("".join(_XSB[code] for code in row) for row in cell_codes(level, level.start))


def _game(env: Any, task: Task) -> str:
    from himac.envs.alfworld.games import OFFICIAL_COUNTS, FileGames

    source = env.source
    counts = {split: len(source.kinds(split)) for split in source.splits}
    if not isinstance(source, FileGames) or counts != OFFICIAL_COUNTS:
        wanted = ", ".join(f"{split} {count}" for split, count in OFFICIAL_COUNTS.items())
        kind = (
            "generated games"
            if not isinstance(source, FileGames)
            else f"games at {str(source.catalog.root)!r}"
        )
        raise ConfigError(
            f"a panel of alfworld needs the official games ({wanted}), got {kind}: "
            f"{', '.join(f'{split} {count}' for split, count in counts.items())}",
            hint="himac data alfworld fetches them; env.path = FOLDER",
        )
    path = source.file(task.split, task.index)
    told = {"game": source.entry(task.split, task.index).path, "kind": task.kind}
    return json.dumps(told | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}, sort_keys=True)


def _goal(env: Any, task: Task) -> str:
    goal, _ = env.shop.goal(task)
    told = {
        "instruction": goal.instruction,
        "product": goal.product.asin,
        "attributes": list(goal.attributes),
        "options": goal.options if isinstance(goal.options, dict) else list(goal.options),
        "price_upper": goal.price_upper,
    }
    return json.dumps(told, sort_keys=True, ensure_ascii=False)


_WRITERS: dict[str, tuple[str, Callable[[Any, Task], str]]] = {
    "alfworld": ("jsonl", _game),
    "webshop": ("jsonl", _goal),
    "sokoban": ("txt", _board),
}
"""World -> (ending of its files, what writes a task)."""
