"""Learning curves of a comparison, with bands, as PNG and SVG.

It draws the dict of `summary.summarise`. Every method has its own dash and marker, and a band is edged in its
method's dash, so that each can be told from the others without colour. Up to three methods share panels, one a budget;
of more, the shared panels have no bands, and each method has a panel with the first method alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from himac.errors import DataError
from himac.report.plot_style import COLOURS, LINES, LOOK, pyplot, save
from himac.types import Json

_AXES = {
    "env_steps": "environment steps of training",
    "iteration": "iterations",
    "tokens": "tokens generated in training",
}
_COLUMNS = len(_AXES)
_MARKERS = 8  # about how many a curve carries
_TOGETHER = 3  # methods whose bands can be told apart in one panel

Panel = tuple[str, Sequence[str], bool]  # (axis, methods, whether bands are drawn)


def plot_comparison(told: Mapping[str, Json], stem: Path) -> list[Path]:
    """Draw a comparison into STEM.png and STEM.svg.

    Args:
        told: what `summarise` returned.
        stem: path without its ending.

    Raises:
        DataError: no run has a learning curve.
    """
    worlds = {name: world for name, world in told["environments"].items() if world["curves"]["env_steps"]}
    if not worlds:
        raise DataError(
            "no run was evaluated while it trained, so there is no curve to draw",
            hint="eval.every=5 evaluates every 5 iterations",
        )
    plt = pyplot()
    targets = [stem.with_name(stem.name + ending) for ending in (".png", ".svg")]
    methods = {m: None for world in worlds.values() for m in world["curves"]["env_steps"]}
    looks = {method: index for index, method in enumerate(methods)}
    rows = [
        (name, row) for name, world in worlds.items() for row in _rows(list(world["curves"]["env_steps"]))
    ]
    with plt.rc_context(LOOK):
        figure, grid = plt.subplots(
            len(rows), _COLUMNS, figsize=(12, 3.4 * len(rows) + 0.6), dpi=150, squeeze=False
        )
        for axes_row, (name, row) in zip(grid, rows):
            for axes in axes_row[len(row) :]:
                axes.axis("off")
            for axes, panel in zip(axes_row, row):
                _draw(axes, worlds[name], panel, looks)
            axes_row[0].set(ylabel=f"{name}: success on {worlds[name]['validation']}")
        drawn = {text: line for axes in grid.flat for line, text in zip(*axes.get_legend_handles_labels())}
        figure.legend(
            drawn.values(), drawn.keys(), loc="upper center", ncols=min(len(drawn), 6), handlelength=5
        )
        figure.suptitle(" \n" * (1 + (len(drawn) - 1) // 6))  # room for the legend
        save(plt, figure, targets)
    return targets


def _rows(methods: Sequence[str]) -> list[list[Panel]]:
    """Return an environment's panels, row by row.

    >>> [[(axis, len(names), bands) for axis, names, bands in row] for row in _rows(["a", "b", "c", "d"])][1]
    [('env_steps', 2, True), ('env_steps', 2, True), ('env_steps', 2, True)]
    """
    few = len(methods) <= _TOGETHER
    panels: list[Panel] = [(axis, methods, few) for axis in _AXES]
    panels += [] if few else [("env_steps", (methods[0], other), True) for other in methods[1:]]
    return [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]


def _draw(axes: Any, world: Mapping[str, Json], panel: Panel, looks: Mapping[str, int]) -> None:
    axis, methods, has_bands = panel
    for turn, method in enumerate(methods):
        curve = world["curves"][axis][method]
        dash, marker = LINES[looks[method] % len(LINES)]
        colour = COLOURS[looks[method] % len(COLOURS)]
        if has_bands:
            axes.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=0.10, linewidth=0)
            for edge in ("low", "high"):
                axes.plot(curve["x"], curve[edge], linestyle=dash, color=colour, linewidth=0.5, alpha=0.8)
        every = max(1, len(curve["x"]) // _MARKERS)
        beside = turn * every // len(methods)  # markers of one curve stand beside another's
        axes.plot(
            curve["x"], curve["mean"], linestyle=dash, color=colour, linewidth=1.5, marker=marker, markersize=4.5,
            markevery=(beside, every), label=world["methods"][method]["label"],
        )  # fmt: skip
    if world["target"]:
        axes.axhline(world["target"], color="#1a1a1a", linewidth=0.6, alpha=0.6)
    if len(methods) == 2:
        axes.set_title(" and ".join(world["methods"][method]["label"] for method in methods))
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel=_AXES[axis], xlim=(0, None), ylim=(0, 1))
