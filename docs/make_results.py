"""Write docs/results.md from the JSON that scripts wrote, so that no number in it was typed.

    python docs/make_results.py            write the page
    python docs/make_results.py --check    exit 1 when the page on disk is not what would be written

A result is a file under benchmarks/results/ and the page is a function of those files. A comparison gets there
by `cp runs/NAME/table.json benchmarks/results/compare_NAME.json` (and curves.png likewise); what was understood about a result is written by hand
into a file of the same name that ends in .md, and stands below it.
"""

from __future__ import annotations

import ast
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from himac.compare.summary import KIND
from himac.compare.tables import cost_sentence, markdown_of, quotients, sentence
from himac.compare.verdicts import NOT_SHOWN
from himac.report.tables import markdown

_WORDS = runpy.run_path(str(Path(__file__).with_name("results_words.py")))
_QUOTED = runpy.run_path(str(Path(__file__).with_name("results_headlines.py")))
_HEADLINES, _short = _QUOTED["HEADLINES"], _QUOTED["short"]

PAGE = Path(__file__).with_name("results.md")
PUBLISHED = Path(__file__).with_name("published.json")
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
RESULTS = BENCHMARKS / "results"

Json = dict[str, Any]


def page() -> str:
    """Return the whole page."""
    found = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    }
    compared = {name: told for name, told in found.items() if told.get("kind") == KIND}
    rest = {name: told for name, told in found.items() if name not in compared}
    against = "\n".join(f"- {line}." for line in _not_ahead(compared))
    head = _WORDS["HEAD"].format(
        verdict=_WORDS["verdict"](compared), against=f"{_WORDS['AGAINST']}\n\n{against}\n" if against else ""
    )
    parts = [head, *_claims(compared), "## HiMAC beside other methods, here\n"]
    parts += [
        f"{_warned(name, markdown_of(told, level=3))}{_understood(name)}" for name, told in compared.items()
    ]
    parts += [] if compared else [_WORDS["NOTHING"]]
    parts += [_published(), _machinery(rest)]
    return "\n".join(parts)


def _claims(compared: dict[str, Json]) -> list[str]:
    """Return every claim with its verdict as a table, where a comparison was judged with verdicts (after 0.1.0)."""
    rows = [
        [
            v["claim"],
            f"**{v['verdict']}**",
            f"{100 * v['mean']:+.1f} [{100 * v['low']:.1f}, {100 * v['high']:.1f}]",
            str(len(v["seeds"])),
            f"{told['name']} ({environment}, `{world['split']}`)",
        ]
        for told in compared.values()
        for environment, world in told["environments"].items()
        for v in world.get("verdicts", ())
    ]
    if not rows:
        return []
    head = ["claim", "verdict", "points, 95 % interval", "seeds", "where"]
    return [f"## What is shown, and what is not\n\n{markdown(head, rows)}\n"]


def _not_ahead(compared: dict[str, Json]) -> Iterator[str]:
    """Yield every verdict in which HiMAC is not ahead, and every target that cost it more than another method."""
    for told in compared.values():
        for environment, world in told["environments"].items():
            where = f"{told['name']} ({environment})"
            for v in world.get("verdicts", ()):
                lead = v["mean"] if v["of"] == "himac" else -v["mean"]
                if "himac" in (v["of"], v["to"]) and (v["verdict"] == NOT_SHOWN or lead < 0):
                    yield f"{where}: {v['sentence'].removesuffix('.')}"
            for d in world["differences"] if "verdicts" not in world else ():
                lead = d["mean"] if d["of"] == "himac" else -d["mean"]
                if "himac" in (d["of"], d["to"]) and not (d["is_clear"] and lead > 0):
                    yield f"{where}: {sentence(d)}"
            costs = world["to_target"]
            for name in costs if "himac" in costs else ():
                shares = quotients(costs["himac"], costs[name])
                if name != "himac" and max(shares.values(), default=0.0) > 1:
                    yield f"{where}, to {100 * world['target']:g} %: {cost_sentence('himac', name, shares)}"


def _published() -> str:
    told = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    parts = [_WORDS["PUBLISHED_HEAD"].format(models=told["models"], source=told["source"])]
    for key, words in (
        ("success", "Success in %:"),
        ("iterations", "Iterations to a target:"),
        ("ablations", "Ablations:"),
    ):
        parts.append(f"{words}\n\n{markdown(told[key]['columns'], told[key]['rows'])}\n")
    return "\n".join([*parts, told["since"] + "\n"])


def _machinery(found: dict[str, Json]) -> str:
    """Return what was measured about the machinery: speeds, and agreement with the originals."""
    parts = ["## The machinery, here: speed, agreement with the originals, coverage of intervals\n"]
    for name, told in found.items():
        lines = "\n".join(f"- {line}" for line in _quoted(name, told))
        parts.append(f"### {name}\n\n{_summary_of(name)}\n\n{lines}\n\n{_where(told)}\n{_understood(name)}")
    return "\n".join(parts)


def _quoted(name: str, told: Json) -> list[str]:
    """Return what is quoted of a result; every number of one whose form nobody has chosen from."""
    try:
        return list(_HEADLINES.get(name, _scalars)(told))
    except (KeyError, TypeError):
        return list(_scalars(told))


def _where(told: Json) -> str:
    """Return machine, date, load and duration; a duration that nobody recorded is said to be missing."""
    m = told.get("machine", {})
    load = f", load {m['load_average'][0]:g}" if m.get("load_average") else ""
    versions = ", ".join(f"{key} {m[key]}" for key in ("python", "torch", "transformers") if m.get(key))
    took = f"took {m['took_s'] / 60:.1f} minutes" if "took_s" in m else "duration not recorded"
    gpu = f", {m['gpu']}" if m.get("gpu") else ""
    return (
        f"*{m.get('processor', 'machine not recorded')}, {m.get('cores', '?')} cores, {m.get('memory_gib', '?')} GiB{gpu}; "
        f"{versions}; {m.get('date', 'date not recorded')}{load}; {took}.*"
    )


def _summary_of(name: str) -> str:
    """Return the first sentence of the script that wrote a result."""
    script = BENCHMARKS / f"{name}.py"
    if not script.is_file():
        return ""
    doc = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.split("\n\n")[0].split())


def _warned(name: str, table: str) -> str:
    """Return a comparison with what is unfair in it below its heading."""
    heading, _, rest = table.partition("\n")
    return (
        f"{heading}\n\n> **Unfair** ([why](#what-is-unfair-in-the-comparisons-of-010)): {_WORDS['UNFAIR'][name]}.\n{rest}"
        if name in _WORDS["UNFAIR"]
        else table
    )


def _understood(name: str) -> str:
    """Return a result's picture and what was written by hand about it, where there are such files."""
    notes, picture = RESULTS / f"{name}.md", RESULTS / f"{name}.png"
    drawn = f"\n![{name}](../benchmarks/results/{picture.name})\n" if picture.is_file() else ""
    return drawn + (f"\n{notes.read_text(encoding='utf-8').strip()}\n" if notes.is_file() else "")


def _scalars(told: Json, prefix: str = "") -> Iterator[str]:
    """Yield every number of a result that nobody has chosen from."""
    for key, value in told.items():
        if isinstance(value, dict) and key != "machine":
            yield from _scalars(value, f"{prefix}{key}: ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key.replace('_', ' ')} {_QUOTED['short'](value)}"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        print(
            "docs/results.md is up to date" if fresh else "docs/results.md is stale: run docs/make_results.py"
        )
        sys.exit(not fresh)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
