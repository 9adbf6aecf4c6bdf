"""Learning curves as PNG and SVG.

One run shows training success of both phases as thin lines and evaluations as points with their
intervals; several show a panel each for success, return and calls. Runs that differ in their seed alone are one line,
their mean, in a band from the lowest to the highest. The look is `himac.report.plot_style`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from himac.errors import DataError
from himac.report.families import group_seeds
from himac.report.plot_style import COLOURS, LINES, LOOK, pyplot, save
from himac.report.reading import read_metrics
from himac.runs.folder import CURVE
from himac.runs.rows import Broken
from himac.text import line
from himac.types import Row

_PHASES = {
    "planner": ("phase A: plan search (greedy executor)", "#1f5fa8", "-"),
    "executor": ("phase B: execution of z* (sampled)", "#c05f14", "--"),
    "joint": ("both levels together (sampled)", "#6a6a6a", "-."),
    "flat": ("flat agent (sampled)", "#6a6a6a", "-."),
}
_SPLITS = (("o", "-", "#1a1a1a"), ("s", ":", "#8a2d86"), ("^", "--", "#187a43"), ("D", "-.", "#7d7100"))
_LEGEND = 150  # characters that a line of the legend holds
_PANELS = (
    ("success", "success rate"),
    ("return", "return of an episode"),
    ("turns", "turns an episode"),
)


def plot_run(folder: Path, broken: Broken | None = None) -> Path:
    """Draw a run's learning curve into its folder; return the file. `broken` counts the lines that cannot be read.

    Raises:
        DataError: there is nothing to draw yet.
    """
    plt = pyplot()
    with plt.rc_context(LOOK):
        figure, axes = plt.subplots(figsize=(7.2, 4.2), dpi=150)
        _draw_run(axes, _rows(folder, broken))
        axes.set(title=line(folder.resolve().name))
        target = folder / CURVE
        save(plt, figure, [target])
    return target


def plot_runs(folders: Sequence[Path], stem: Path, broken: Broken | None = None) -> list[Path]:
    """Draw runs into STEM.png and STEM.svg: one alone with its phases, several over one another.

    Args:
        folders: run directories.
        stem: path without its ending.
        broken: counts the lines that cannot be read.

    Raises:
        DataError: a run has nothing to draw yet.
    """
    plt = pyplot()
    runs = [(line(folder.resolve().name), _rows(folder, broken)) for folder in folders]
    families = [[runs[place] for place in places] for places in group_seeds(folders)]
    with plt.rc_context(LOOK):
        figure, axes_row = plt.subplots(1, 3, figsize=(12, 3.9), dpi=150)
        for axes, (key, label) in zip(axes_row, _PANELS):
            if len(runs) == 1:
                _draw_run(axes, runs[0][1], key=key, label=label)
            else:
                _draw_runs(axes, families, key=key, label=label)
        handles, names = axes_row[0].get_legend_handles_labels()
        for axes in axes_row:
            if axes.get_legend() is not None:
                axes.get_legend().remove()
        columns = max(1, min(len(names), 3, _LEGEND // max(map(len, names), default=1)))
        figure.legend(handles, names, loc="upper center", ncols=columns, handlelength=5)
        figure.suptitle(" \n" * (1 + (len(names) - 1) // columns))  # room for the legend
        targets = [stem.with_name(stem.name + ending) for ending in (".png", ".svg")]
        save(plt, figure, targets)
    return targets


def _draw_run(axes: Any, rows: list[Row], *, key: str = "success", label: str = "success rate") -> None:
    for phase, (name, colour, dash) in _PHASES.items():
        points = [(r["iteration"], r[key]) for r in rows if r["phase"] == phase and key in r]
        if points:
            axes.plot(*zip(*points), linestyle=dash, color=colour, linewidth=1.2, alpha=0.85, label=name)
    splits = list(dict.fromkeys(r["split"] for r in rows if r["phase"] == "eval"))
    for split, (marker, dash, colour) in zip(splits, _SPLITS):
        own = [r for r in rows if r["phase"] == "eval" and r["split"] == split]
        dash = dash if len(own) > 2 else ""  # before and after: nothing is known in between
        _draw_evaluations(
            axes, own, key, marker=marker, colour=colour, label=f"evaluation on {line(split)}", dash=dash
        )
    _finish(axes, key, label)
    if key == "success":
        axes.legend(loc="best")


def _draw_runs(
    axes: Any, families: Sequence[Sequence[tuple[str, list[Row]]]], *, key: str, label: str
) -> None:
    """Draw the evaluations of each run on the split that most were made on; training of a run without any."""
    splits = [r["split"] for runs in families for _, rows in runs for r in rows if r["phase"] == "eval"]
    split = max(splits, key=splits.count, default="")
    for index, runs in enumerate(families):
        evaluated = [[r for r in rows if r["phase"] == "eval" and r["split"] == split] for _, rows in runs]
        where = split if any(evaluated) else "training"
        own = [
            told if any(evaluated) else [r for r in rows if r["phase"] == rows[-1]["phase"]]
            for told, (_, rows) in zip(evaluated, runs)
        ]
        dash, marker = LINES[index % len(LINES)]
        colour = COLOURS[index % len(COLOURS)]
        look = {"marker": marker, "colour": colour, "dash": dash}
        if len(runs) == 1:
            _draw_evaluations(axes, own[0], key, label=f"{runs[0][0]} ({line(where)})", **look)
        else:
            name = f"{len(runs)} seeds of {runs[0][0]} ({line(where)})"
            _draw_seeds(axes, own, key, label=f"{name}: mean, lowest to highest", **look)
    _finish(axes, key, label)


def _draw_seeds(
    axes: Any, runs: Sequence[list[Row]], key: str, *, marker: str, colour: str, label: str, dash: Any
) -> None:
    """Draw the mean over seeds, as far as all have come, in a band from the lowest to the highest."""
    at: dict[int, list[float]] = {}
    for row in (row for rows in runs for row in rows if isinstance(row.get(key), int | float)):
        at.setdefault(row["iteration"], []).append(float(row[key]))
    most = sum(bool(rows) for rows in runs)
    x = sorted(
        i for i, values in at.items() if len(values) == most
    )  # a mean of fewer moves with who is in it
    if not x:
        return
    low, mean, high = ([f(at[i]) for i in x] for f in (min, lambda values: sum(values) / len(values), max))
    axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    for edge in (low, high):  # in the line's dash: bands can be told apart without colour
        axes.plot(x, edge, linestyle=dash, color=colour, linewidth=0.5, alpha=0.8)
    every = max(1, len(x) // 8)
    axes.plot(
        x, mean, linestyle=dash, color=colour, linewidth=1.4, marker=marker, markersize=4, markevery=every, label=label
    )  # fmt: skip


def _finish(axes: Any, key: str, label: str) -> None:
    axes.set(xlabel="iteration", ylabel=label, **({"ylim": (0, 1)} if key == "success" else {}))
    axes.xaxis.get_major_locator().set_params(integer=True)


def _draw_evaluations(
    axes: Any,
    rows: list[Row],
    key: str,
    *,
    marker: str,
    colour: str,
    label: str,
    dash: Any = "",
) -> None:
    rows = [r for r in rows if isinstance(r.get(key), int | float)]
    x, y = [r["iteration"] for r in rows], [r[key] for r in rows]
    spans = None
    if key == "success":
        below = [max(0.0, r["success"] - r["success_low"]) for r in rows]
        above = [max(0.0, r["success_high"] - r["success"]) for r in rows]
        spans, label = [below, above], f"{label}, 95 % interval"
    axes.errorbar(
        x,
        y,
        yerr=spans,
        marker=marker,
        linestyle=dash,
        color=colour,
        markersize=4,
        capsize=2,
        linewidth=1,
        label=label,
    )


def _rows(folder: Path, broken: Broken | None) -> list[Row]:
    rows = read_metrics(folder, broken)
    if not rows:
        raise DataError(f"run {str(folder)!r} has written no metrics: nothing to draw yet")
    return rows
