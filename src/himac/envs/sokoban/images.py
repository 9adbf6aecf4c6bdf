"""Boards as pictures: tiles drawn here in letters, 16 pixels wide or scaled from that.

A picture is a table look-up, tile by cell code. The tiles are this package's own; they follow the
published prompts' words (a green figure with antennae, a yellow crate with an orange X, a dark target with a
red diamond), so that those prompts fit the pictures.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from himac.envs.sokoban.rules import Level, State
from himac.envs.sokoban.text import cell_codes

TILE = 16  # pixels, both ways

_COLOURS = {
    "b": (150, 72, 50),  # brick
    "m": (88, 44, 34),  # mortar
    "f": (46, 46, 52),  # floor
    "d": (38, 38, 44),  # floor's grain
    "r": (214, 48, 49),  # red of the target
    "y": (236, 190, 72),  # crate
    "w": (166, 116, 40),  # crate's frame
    "o": (226, 104, 28),  # crate's X
    "g": (92, 200, 86),  # figure
    "k": (12, 12, 12),  # eyes, mouth
    "t": (176, 64, 52),  # crate's frame on a target
}

_WALL = (
    "bbbbbbbmbbbbbbbm",
    "bbbbbbbmbbbbbbbm",
    "bbbbbbbmbbbbbbbm",
    "mmmmmmmmmmmmmmmm",
    "bbbmbbbbbbbmbbbb",
    "bbbmbbbbbbbmbbbb",
    "bbbmbbbbbbbmbbbb",
    "mmmmmmmmmmmmmmmm",
) * 2
_FLOOR = ("dfffffffffffffff", *["f" * TILE] * 7, "ffffffffdfffffff", *["f" * TILE] * 7)
_TARGET = (
    "rrrrrrrrrrrrrrrr",
    "r..............r",
    "r..............r",
    "r..............r",
    "r......rr......r",
    "r.....rrrr.....r",
    "r....rrrrrr....r",
    "r...rrrrrrrr...r",
    "r...rrrrrrrr...r",
    "r....rrrrrr....r",
    "r.....rrrr.....r",
    "r......rr......r",
    "r..............r",
    "r..............r",
    "r..............r",
    "rrrrrrrrrrrrrrrr",
)
_BOX = (
    "................",
    ".wwwwwwwwwwwwww.",
    ".wwwwwwwwwwwwww.",
    ".wwooyyyyyyooww.",
    ".wwoooyyyyoooww.",
    ".wwyoooyyoooyww.",
    ".wwyyooooooyyww.",
    ".wwyyyooooyyyww.",
    ".wwyyyooooyyyww.",
    ".wwyyooooooyyww.",
    ".wwyoooyyoooyww.",
    ".wwoooyyyyoooww.",
    ".wwooyyyyyyooww.",
    ".wwwwwwwwwwwwww.",
    ".wwwwwwwwwwwwww.",
    "................",
)
_PLAYER = (
    "................",
    "....gg....gg....",
    "....gg....gg....",
    ".....g....g.....",
    ".....gggggg.....",
    "....gggggggg....",
    "...gkkggggkkg...",
    "...gkkggggkkg...",
    "...gggggggggg...",
    "...gggkkkkggg...",
    "....gggggggg....",
    "..gggggggggggg..",
    "..gg.gggggg.gg..",
    ".....gggggg.....",
    ".....gg..gg.....",
    "....ggg..ggg....",
)


def draw(level: Level, state: State, cell_pixels: int = TILE) -> np.ndarray:
    """Return a board as an image, (height * cell_pixels, width * cell_pixels, 3) uint8."""
    return draw_codes(np.array(cell_codes(level, state), dtype=np.uint8), cell_pixels)


def draw_codes(codes: np.ndarray, cell_pixels: int = TILE) -> np.ndarray:
    """Return boards of cell codes, (..., H, W), as images, (..., H * cell_pixels, W * cell_pixels, 3) uint8."""
    *batch, height, width = codes.shape
    tiles = _scaled_tiles(cell_pixels)[codes]  # (..., H, W, cell_pixels, cell_pixels, 3)
    drawn: np.ndarray = np.moveaxis(tiles, -3, -4).reshape(
        *batch, height * cell_pixels, width * cell_pixels, 3
    )
    return drawn


@lru_cache(maxsize=8)
def _scaled_tiles(cell_pixels: int) -> np.ndarray:
    """Return the tiles at another size, every pixel the nearest one's."""
    nearest = (np.arange(cell_pixels) * TILE) // cell_pixels
    return _tiles()[:, nearest[:, None], nearest]


@lru_cache(maxsize=1)
def _tiles() -> np.ndarray:
    """Return the tiles by cell code, (7, 16, 16, 3) uint8."""
    crate_home = tuple(row.replace("w", "t") for row in _BOX)
    stacks = (
        (_WALL,),
        (_FLOOR,),
        (_FLOOR, _TARGET),
        (_FLOOR, _TARGET, crate_home),
        (_FLOOR, _BOX),
        (_FLOOR, _PLAYER),
        (_FLOOR, _TARGET, _PLAYER),
    )
    tiles = np.zeros((len(stacks), TILE, TILE, 3), dtype=np.uint8)
    for tile, layers in zip(tiles, stacks):
        for layer in layers:
            for y, row in enumerate(layer):
                for x, letter in enumerate(row):
                    if letter != ".":
                        tile[y, x] = _COLOURS[letter]
    return tiles
