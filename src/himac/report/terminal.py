"""Boards in a terminal: Sokoban's in signs two columns wide, any other world's as its own rows.

What a world says of itself is text from outside: it is cleaned, and cut at the terminal's width.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from himac.text import clean

_SIGNS = {
    "#": ("█", "bright_black"),
    "_": ("·", "bright_black"),
    "O": ("○", "red"),
    "X": ("■", "yellow"),
    "√": ("▣", "bold green"),
    "P": ("●", "bold blue"),
    "S": ("◉", "bold blue"),
}
LEGEND = "● you  ■ box  ○ target  ▣ box on a target  ◉ you on a target"


def draw_board(board: str, out: Console, *, indent: int = 0) -> None:
    """Print a board."""
    rows = clean(board).expandtabs().split("\n")
    is_sokoban = _is_sokoban(rows)
    for row in rows:
        text = _row(row, wide=2 * len(row) + indent <= out.width) if is_sokoban else Text(row)
        line = Text(" " * indent).append_text(text)
        line.truncate(out.width, overflow="crop")
        out.print(line, no_wrap=True)


def legend_of(board: str) -> str:
    """Return what the signs of a board mean; "" for one that is shown as it is."""
    return LEGEND if _is_sokoban(board.split("\n")) else ""


def says_more(text: str, board: str) -> bool:
    r"""Whether a text says more than the board beside it: not the same signs, spaced as they may be.

    >>> says_more("# P #", "#P#"), says_more("# P #\\nplayer: row 1", "#P#")
    (False, True)
    """
    return "".join(text.split()) not in ("", "".join(board.split()))


def _is_sokoban(rows: list[str]) -> bool:
    signs = set("".join(rows))
    return (
        len(rows) > 2 and len({*map(len, rows)}) == 1 and signs <= _SIGNS.keys() and bool(signs & set("PS"))
    )


def _row(row: str, *, wide: bool) -> Text:
    text = Text()
    for sign in row:
        drawn, style = _SIGNS[sign]
        text.append(drawn * 2 if wide and sign == "#" else f"{drawn} " if wide else drawn, style)
    return text
