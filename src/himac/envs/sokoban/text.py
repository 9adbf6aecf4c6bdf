"""Boards as text and text as boards.

An observation always shows the whole board, so a plan can be made, and resumed, from any one of
them. Forms: "grid" (symbols apart by spaces), "coord" (positions in words), "grid_coord" (both), "near" (both,
shorter, and everything as seen from the player: a model that is too small to subtract coordinates reads the
difference) and "published" (the cells exactly as the published agents print them: ` # ` and a tab, rows by
newlines). One form shows less: "words" has no board, only what lies beside the player and the boxes and how far
things are apart.
"""

from __future__ import annotations

from collections.abc import Callable

from himac.envs.sokoban.rules import Level, State, cells, offsets
from himac.errors import DataError

SYMBOLS = ("#", "_", "O", "√", "X", "P", "S")
"""By cell code: wall, floor, target, box on target, box, player, player on target (gym-sokoban's codes)."""

_XSB = {"#": "#", " ": "_", "-": "_", "_": "_", ".": "O", "$": "X", "*": "√", "@": "P", "+": "S"}
_SYMBOLS = frozenset([*SYMBOLS, *_XSB])
MAX_SIDE = 64
"""Rows and columns of a level; larger ones take minutes to read and no model reads them."""


def cell_codes(level: Level, state: State) -> list[list[int]]:
    """Return the board as rows of cell codes 0 to 6, see `SYMBOLS`."""
    codes = [0] * (level.height * level.width)
    for cell in cells(level.floor):
        target = level.targets >> cell & 1
        if state.boxes >> cell & 1:
            codes[cell] = 3 if target else 4
        elif cell == state.player:
            codes[cell] = 6 if target else 5
        else:
            codes[cell] = 2 if target else 1
    return [codes[start : start + level.width] for start in range(0, len(codes), level.width)]


def rows(level: Level, state: State) -> str:
    """Return the board as symbols, nothing between cells and a line for each row."""
    return "\n".join("".join(SYMBOLS[code] for code in row) for row in cell_codes(level, state))


def grid(level: Level, state: State) -> str:
    """Return the board as symbols, a space between cells and a line for each row."""
    return "\n".join(" ".join(SYMBOLS[code] for code in row) for row in cell_codes(level, state))


def published(level: Level, state: State) -> str:
    """Return the board as the published agents print it."""
    rows = cell_codes(level, state)
    return "\n".join("".join(f" {SYMBOLS[code]} \t" for code in row) for row in rows)


def coord(level: Level, state: State) -> str:
    """Return the board as positions; rows and columns are counted from 1 at the top left."""
    lines = [f"player: {level.name_of(state.player)}"]
    lines += [f"{name}: {_names(level, mask)}" for name, mask in _things(level, state)]
    rows: dict[int, list[str]] = {}
    for cell in cells(level.floor):
        row, column = level.row_column(cell)
        rows.setdefault(row, []).append(str(column))
    lines += [f"open row {row}: columns {' '.join(columns)}" for row, columns in rows.items()]
    return "\n".join(lines)


def grid_coord(level: Level, state: State) -> str:
    """Return the board as symbols, followed by the positions of player, boxes and targets."""
    lines = [grid(level, state), f"player: {level.name_of(state.player)}"]
    lines += [f"{name}: {_names(level, mask)}" for name, mask in _things(level, state)]
    return "\n".join(lines)


def near(level: Level, state: State) -> str:
    """Return the board in few symbols, and in words where things are, also as seen from the player."""
    lines = [rows(level, state)]
    beside = [f"{way} {_what_is(level, state, state.player + o)}" for way, o in offsets(level.width).items()]
    lines.append(f"player: {level.name_of(state.player)}, {', '.join(beside)}")
    things = dict(_things(level, state))
    for name, mask in things.items():
        lines.append(f"{name}: {'; '.join(_seen_from(level, state.player, cell) for cell in cells(mask))}")
    if things.get("boxes", 0).bit_count() == 1:
        lines.append(f"from box to target: {_way(level, *cells(things['boxes']), *cells(things['targets']))}")
    return "\n".join(lines)


def words(level: Level, state: State) -> str:
    """Return what lies beside the player and each box, and how far things are apart."""
    done = state.boxes & level.targets
    boxes, targets = list(cells(state.boxes & ~done)), list(cells(level.targets & ~done))
    lines = [f"you: {level.name_of(state.player)}, {_beside(level, state, state.player)}"]
    for box in boxes:
        lines.append(f"box: {level.name_of(box)}, {_beside(level, state, box)}")
        lines.append(f"you to box: {_way(level, state.player, box)}")
    if len(boxes) == 1:
        lines.append(f"box to target: {_way(level, boxes[0], targets[0])}")
    else:
        lines += [f"target: {level.name_of(target)}" for target in targets]
    lines += [f"box on target: {level.name_of(box)}" for box in cells(done)]
    return "\n".join(lines)


def told(level: Level, state: State, *, brief: bool = False) -> str:
    """Return what a picture shows, in words, targets first; brief: what the next step needs, without targets."""
    lines = [line for line in words(level, state).split("\n") if not line.startswith("target")]
    if brief:
        return "\n".join(line for line in lines if not line.startswith("box to target"))
    targets = [f"target: {level.name_of(target)}" for target in cells(level.targets & ~state.boxes)]
    return "\n".join([*targets, *lines])


FORMS: dict[str, Callable[[Level, State], str]] = {
    "grid": grid,
    "coord": coord,
    "grid_coord": grid_coord,
    "near": near,
    "words": words,
    "published": published,
    "image": lambda level, state: "",
}
"""Name of `observation` -> what writes it."""


def is_of_symbols(line: str) -> bool:
    """Whether a line holds nothing but a board's symbols.

    >>> is_of_symbols("#@$ .#"), is_of_symbols("Level #1")
    (True, False)
    """
    return set(line.rstrip()) <= _SYMBOLS


def parse_level(lines: list[str]) -> Level:
    """Read a board in XSB (`#$.@*+`) or in this package's symbols without spaces between them.

    Space outside the walls becomes wall, short lines are filled up.

    Raises:
        DataError: an unknown symbol, no or two players, a board that is not closed, ...
    """
    height, width = len(lines), max((len(line) for line in lines), default=0)
    if max(height, width) > MAX_SIDE:
        raise DataError(f"a level has at most {MAX_SIDE} rows and columns, got {height} x {width}")
    masks = dict.fromkeys("#_OX√PS", 0)
    for r, line in enumerate(lines):
        for c, symbol in enumerate(line.ljust(width)):
            name = symbol if symbol in masks else _XSB.get(symbol)
            if name is None:
                raise DataError(f"unknown symbol {symbol!r} at row {r + 1} column {c + 1}; known: {_known()}")
            masks[name] |= 1 << r * width + c
    players = list(cells(masks["P"] | masks["S"]))
    if len(players) != 1:
        raise DataError(f"a level needs exactly one player, got {len(players)}")
    return Level(
        height=height,
        width=width,
        floor=_inside(masks, height, width),
        targets=masks["O"] | masks["√"] | masks["S"],
        boxes=masks["X"] | masks["√"],
        player=players[0],
    )


def _things(level: Level, state: State) -> list[tuple[str, int]]:
    done = state.boxes & level.targets
    named = [("boxes", state.boxes & ~done), ("targets", level.targets & ~done), ("boxes on target", done)]
    return [(name, mask) for name, mask in named if mask]


def _names(level: Level, mask: int) -> str:
    return ", ".join(level.name_of(cell) for cell in cells(mask))


def _seen_from(level: Level, player: int, cell: int) -> str:
    """Return a cell in words, its way from the player included: "row 2 column 3, 1 up 2 left"."""
    return f"{level.name_of(cell)}, {_way(level, player, cell) or 'under you'}"


def _way(level: Level, start: int, end: int) -> str:
    """Return the way from one cell to another in words: "1 up 2 left"."""
    (from_row, from_column), (row, column) = level.row_column(start), level.row_column(end)
    down, right = row - from_row, column - from_column
    ways = [f"{abs(down)} {'down' if down > 0 else 'up'}"] if down else []
    ways += [f"{abs(right)} {'right' if right > 0 else 'left'}"] if right else []
    return " ".join(ways)


def _beside(level: Level, state: State, cell: int) -> str:
    """Return the four neighbours of a cell in words: "up free down wall left box right you"."""
    steps = offsets(level.width).items()
    return " ".join(f"{way} {_what_is(level, state, cell + step)}" for way, step in steps)


def _what_is(level: Level, state: State, cell: int) -> str:
    if cell == state.player:
        return "you"
    if state.boxes >> cell & 1:
        return "box"
    return "free" if level.floor >> cell & 1 else "wall"


def _known() -> str:
    return " ".join(repr(symbol) for symbol in _XSB)


def _inside(masks: dict[str, int], height: int, width: int) -> int:
    """Return the mask of open cells that are not connected to the outside through plain floor."""
    outside: set[int] = set()
    edge = [
        r * width + c
        for r in range(height)
        for c in range(width)
        if (r in (0, height - 1) or c in (0, width - 1)) and masks["_"] >> r * width + c & 1
    ]
    while edge:
        cell = edge.pop()
        if cell in outside:
            continue
        outside.add(cell)
        r, c = divmod(cell, width)
        for r2, c2 in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            if 0 <= r2 < height and 0 <= c2 < width and masks["_"] >> r2 * width + c2 & 1:
                edge.append(r2 * width + c2)
    open_cells = sum(mask for name, mask in masks.items() if name != "#")
    return open_cells & ~sum(1 << cell for cell in outside)
