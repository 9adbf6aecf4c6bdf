"""Draw the two phases of an iteration: docs/img/two-phases.svg.

    python docs/make_drawing.py            write the picture
    python docs/make_drawing.py --check    exit 1 when the picture on disk is not what would be drawn

The episodes are those of docs/concepts.md and the advantages are the code's. The picture has a ground of its own, so it can be read
on any page. Where the reader's system is dark it is dark, and what is below zero is hollow, so it needs no colour.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np

from himac.algo.advantages import group_relative

PICTURE = Path(__file__).with_name("img") / "two-phases.svg"
WIDTH, ROW, TOP = 700, 25, 112

GOOD, OTHER = "red key, red door, treasure", "blue key, red key, treasure"
PLANS = [
    GOOD,
    "kitchen, red key, treasure",
    OTHER,
    GOOD,
    "blue key, treasure",
    OTHER,
    "(cannot be read)",
    GOOD,
]
PHASE_A = [10, 10, 0, 10, 0, 0, -0.5, 10]
PHASE_B = [10, 9.9, 10, 0, 10, 0, 10, 10]

STYLE = """
  text { font: 15px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink) }
  .head { font-size: 19px; font-weight: 700 } .soft { fill: var(--soft) } .right { text-anchor: end } .strong { font-weight: 700 }
  svg { --paper: #fff; --ink: #1c2430; --soft: #56606f; --line: #c9d0da; --plan: #1f5fbf; --act: #a34a00; --mark: #eaf1fc }
  .paper { fill: var(--paper); stroke: var(--line) } .mark { fill: var(--mark) } .rule { stroke: var(--line) }
  .plan { fill: var(--plan); stroke: var(--plan) } .act { fill: var(--act); stroke: var(--act) }
  text.plan, text.act { stroke: none } .hollow { fill: none } .way { fill: none; stroke-width: 1.6 }
  .rule { stroke: var(--soft) }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #171b22; --ink: #e8ecf2; --soft: #a8b2c1; --line: #3b4452; --plan: #7fb0ff; --act: #ffad66; --mark: #22304a }
  }
"""


def drawing() -> str:
    """Return the whole picture."""
    height_a = TOP + 8 * ROW + 14
    parts = [
        f'<rect class="paper" x="1" y="1" width="{WIDTH - 2}" height="{2 * height_a + 116}" rx="10"/>',
        *_phase_a(),
        *_handing_on(height_a),
        f'<g transform="translate(0 {height_a + 58})">',
        *_phase_b(),
        "</g>",
        _text(24, 2 * height_a + 84, "Then phase A again. Planner and executor are one model, and each phase trains"),
        _text(24, 2 * height_a + 104, "the words of one role. What is hollow becomes less likely, what is full more likely."),
    ]  # fmt: skip
    said = "Phase A compares blueprints under one greedy executor, phase B executions of the best blueprint."
    size = f'viewBox="0 0 {WIDTH} {2 * height_a + 118}" width="{WIDTH}" height="{2 * height_a + 118}"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{said}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'


def _phase_a() -> Iterator[str]:
    yield from _heads(
        "Phase A: which plan is better?",
        "One task, N blueprints. The executor is greedy and frozen. Trains the plan.",
        "plan",
        ("blueprint", 24),
    )
    yield f'<rect class="mark" x="14" y="{TOP - 18}" width="{WIDTH - 28}" height="{ROW}" rx="5"/>'
    for row, (plan, value, advantage) in enumerate(zip(PLANS, PHASE_A, _advantages(PHASE_A))):
        y = TOP + ROW * row
        yield _text(24, y, plan, "strong" if row == 0 else "")
        if row == 0:
            yield _text(284, y, "z*", "plan strong right")
        yield _way(y, row, won=value > 5, wild=0.0, kind="plan")
        yield from _result(y, value, advantage, "plan")


def _handing_on(y: float) -> Iterator[str]:
    """Draw the way of z* from one phase to the next."""
    x = 40
    yield f'<path class="way plan" d="M{x} {y + 2} V{y + 40}"/>'
    yield f'<path class="plan" d="M{x - 6} {y + 34} L{x + 6} {y + 34} L{x} {y + 46} Z"/>'
    yield _text(x + 18, y + 28, "z*, the best of them: the highest return, then the fewest steps")


def _phase_b() -> Iterator[str]:
    yield from _heads(
        "Phase B: who carries it out better?",
        "One blueprint, M executions. The executor samples. Trains the actions.",
        "act",
        ("the one blueprint", 24),
    )
    height = 3 * ROW + 20
    yield f'<rect class="mark" x="14" y="{TOP - 18}" width="252" height="{height}" rx="5"/>'
    for row, line in enumerate(("1. get the red key", "2. open the red door", "3. take the treasure")):
        yield _text(26, TOP + 10 + ROW * row, line, "strong")
    yield _text(24, TOP + height + 14, "After each sub-goal the", "soft")
    yield _text(24, TOP + height + 34, "executor says <sub_done>.", "soft")
    for row, (value, advantage) in enumerate(zip(PHASE_B, _advantages(PHASE_B))):
        y = TOP + ROW * row
        yield _way(y, row + 20, won=value > 5, wild=5.0, kind="act")
        yield from _result(y, value, advantage, "act")


def _heads(title: str, says: str, kind: str, first: tuple[str, int]) -> Iterator[str]:
    yield _text(24, 34, title, f"head {kind}")
    yield _text(24, 56, says)
    y = 88
    yield _text(first[1], y - 1, first[0], "soft")
    yield _text(296, y - 1, "execution", "soft")
    yield _text(488, y - 1, "return", "soft right")
    yield _text(512, y - 1, "advantage", "soft")


def _result(y: float, value: float, advantage: float, kind: str) -> Iterator[str]:
    """Draw a return and its advantage: full to the right of zero, hollow to the left."""
    zero, length = 640, 38 * abs(advantage)
    yield _text(488, y, f"{value:g}".replace("-", "\N{MINUS SIGN}"), "right")
    yield _text(560, y, f"{advantage:+.2f}".replace("-", "\N{MINUS SIGN}"), "right")
    left = zero if advantage > 0 else zero - length
    hollow = "" if advantage > 0 else " hollow"
    yield f'<rect class="{kind}{hollow}" x="{left:.1f}" y="{y - 12}" width="{length:.1f}" height="12" stroke-width="1.4"/>'
    yield f'<path class="rule" d="M{zero} {y - 16} V{y + 4}"/>'


def _way(y: float, seed: int, *, won: bool, wild: float, kind: str) -> str:
    """Draw an execution: a line of steps that ends in a dot when the task was solved, in a cross when not."""
    rng, x, points = random.Random(seed), 300.0, []
    steps = (5 if seed != 1 else 6) if won else 7
    for _ in range(steps):
        points.append((x, y - 6 + rng.uniform(-wild, wild)))
        x += 22
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    dots = "".join(f'<circle class="{kind}" cx="{px:.1f}" cy="{py:.1f}" r="1.8"/>' for px, py in points[:-1])
    ex, ey = points[-1]
    end = (
        f'<circle class="{kind}" cx="{ex:.1f}" cy="{ey:.1f}" r="5"/>'
        if won
        else f'<path class="way {kind}" d="M{ex - 4:.1f} {ey - 4:.1f} l8 8 m0 -8 l-8 8"/>'
    )
    return f'<polyline class="way {kind}" points="{line}"/>{dots}{end}'


def _advantages(returns: list[float]) -> list[float]:
    return [float(a) for a in group_relative(np.array(returns))]


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(words)}</text>'


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        fresh = PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == drawing()
        print(
            f"{PICTURE.name} is up to date" if fresh else f"{PICTURE.name} is stale: run docs/make_drawing.py"
        )
        sys.exit(not fresh)
    PICTURE.write_text(drawing(), encoding="utf-8")
    print(f"wrote {PICTURE}")
