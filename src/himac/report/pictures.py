"""Pictures in a terminal: coloured half blocks, or the picture itself where the terminal takes it.

A character is two pixels, one above the other. Kitty's graphics protocol and iTerm2's inline images are used where the
environment names such a terminal; what is piped or recorded gets blocks, or the picture's name where there is no colour.
"""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Mapping

import numpy as np
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from himac.images import Album, parts

_COLUMNS = 24  # of a picture in blocks
_ROWS = 12  # of one that the terminal draws itself


def print_told(text: str, album: Album, out: Console, *, style: str = "", indent: int = 0) -> None:
    """Print a text in which pictures are words: each on lines of its own. The text's markup is off."""
    for words, name in parts(text):
        if words.strip():
            out.print(Text(" " * indent + words.strip("\n"), style=style))
        if name:
            show_picture(name, album, out, indent=indent)


def show_picture(name: str, album: Album, out: Console, *, indent: int = 0) -> None:
    """Print one picture."""
    if name not in album or not out.color_system:
        out.print(Text(" " * indent + f"(picture {name[:8]})", style="dim"))
        return
    drawn = inline(album.png(name), os.environ) if out.is_terminal else ""
    if drawn:
        out.print(" " * indent, end="")
        out.file.write(drawn + "\n")
        return
    for line in blocks(album.array(name), min(_COLUMNS, max(out.width - indent, 8))):
        out.print(Text(" " * indent).append_text(line))


def blocks(image: np.ndarray, columns: int) -> list[Text]:
    """Return a picture, (H, W, 3) uint8, as lines of half blocks, each pixel the mean of those it stands for.

    >>> [line.plain for line in blocks(np.zeros((4, 4, 3), np.uint8), 4)]
    ['▀▀▀▀', '▀▀▀▀']
    """
    height, width = image.shape[:2]
    columns = min(columns, width)
    rows = max(2, round(height * columns / width / 2) * 2)
    small = _shrunk(_shrunk(image.astype(np.float64), rows).swapaxes(0, 1), columns).swapaxes(0, 1)
    pixels = small.round().astype(int)
    lines = []
    for above, below in zip(pixels[::2], pixels[1::2]):
        line = Text()
        for top, bottom in zip(above.tolist(), below.tolist()):
            line.append("▀", Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom)))
        lines.append(line)
    return lines


def inline(png: bytes, environment: Mapping[str, str]) -> str:
    """Return what makes a terminal draw a picture; "" where none is known to."""
    data = base64.b64encode(png).decode("ascii")
    if environment.get("KITTY_WINDOW_ID") or environment.get("TERM") == "xterm-kitty":
        pieces = [data[first : first + 4096] for first in range(0, len(data), 4096)]
        last = len(pieces) - 1
        return "".join(
            f"\x1b_G{f'f=100,a=T,r={_ROWS},' if n == 0 else ''}m={int(n < last)};{piece}\x1b\\"
            for n, piece in enumerate(pieces)
        )
    if environment.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm"):
        return f"\x1b]1337;File=inline=1;height={_ROWS};size={len(png)}:{data}\x07"
    return ""


def _shrunk(values: np.ndarray, count: int) -> np.ndarray:
    """Average along the first axis to so many parts, or repeat where there are fewer values."""
    edges = np.linspace(0, len(values), count + 1)
    found = [
        values[int(a) : max(int(np.ceil(b)), int(a) + 1)].mean(axis=0) for a, b in itertools.pairwise(edges)
    ]
    return np.stack(found)
