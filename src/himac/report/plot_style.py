"""How every figure looks, and where matplotlib is loaded.

One look that survives a black and white printer: lines differ by dash and marker, not by colour alone.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himac.files import write_with

LINES: tuple[tuple[Any, str], ...] = (
    ("-", "o"),
    ("--", "s"),
    ("-.", "^"),
    (":", "D"),
    ((0, (5, 1, 1, 1, 1, 1)), "v"),
    ((0, (1, 3)), "P"),
    ((0, (8, 2)), "X"),
    ((0, (3, 1, 1, 1)), "<"),
    ((0, (1, 1)), "*"),
    ((0, (6, 3, 1, 3)), ">"),
)
"""(dash, marker) of the first, second, ... line."""

COLOURS = (
    "#1f5fa8", "#c05f14", "#187a43", "#8a2d86", "#7d7100", "#4a4a4a", "#a3243b", "#0f7f8c", "#5b4bb5", "#8c5a3c",
)  # fmt: skip
"""Colour of the first, second, ... line; as many as LINES, and dark enough for a printer."""

LOOK = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
}
"""matplotlib settings, for `plt.rc_context`."""


def pyplot() -> Any:
    """Return matplotlib.pyplot, drawing to files only."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save(plt: Any, figure: Any, targets: Sequence[Path]) -> None:
    """Write a figure to each target and close it."""
    figure.tight_layout()
    try:
        for target in targets:
            write_with(target, functools.partial(figure.savefig, format=target.suffix[1:]))
    finally:
        plt.close(figure)
