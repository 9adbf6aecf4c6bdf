"""`python -m campaign [--short] [--only NAME ...]`: one table, saved as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from campaign import big, fuzz, inputs, kills, pages, signals
from campaign.sections import Section
from himac.files import write_text
from himac.report.tables import markdown
from himac.runs.machine import describe_machine

LIMITS = (
    1,
    500,
    3000,
    8000,
    20_000,
    40_000,
    60_000,
    90_000,
    120_000,
    160_000,
    200_000,
    250_000,
    300_000,
    400_000,
    500_000,
)
"""Bytes that no file may have more of; the largest files of these runs are a little larger."""
SECTIONS: dict[str, Callable[[Path, bool], Section]] = {
    "train": lambda home, short: kills.train(home, trials=2 if short else 120),
    "sft": lambda home, short: kills.sft(home, trials=1 if short else 30),
    "eval": lambda home, short: kills.evaluate(home, trials=1 if short else 20),
    "endpoint": lambda home, short: kills.endpoint(home, trials=1 if short else 20),
    "compare": lambda home, short: kills.compare(home, trials=1 if short else 10),
    "signals": lambda home, short: signals.endings(home, every=23 if short else 1),
    "disk": lambda home, short: kills.full_disk(home, limits=LIMITS[::7] if short else LIMITS),
    "memory": lambda home, short: kills.memory(home, iterations=40 if short else 200),
    "big": lambda home, short: big.reading(home, gigabytes=0.2 if short else 5),
    "pages": lambda home, short: pages.hostile(home, every=12 if short else 1),
    "settings": lambda home, short: inputs.settings(home, every=20 if short else 1),
    "recipes": lambda home, short: inputs.recipes(home),
    "models": lambda home, short: inputs.models(home),
    "worlds": lambda home, short: inputs.worlds(home),
    "readers": lambda home, short: inputs.readers(home, every=6 if short else 1),
    "endpoints": lambda home, short: inputs.endpoints(home),
    "streams": lambda home, short: inputs.streams(home, every=9 if short else 1),
    "words": lambda home, short: fuzz.words(count=2_000 if short else 100_000),
    "tokens": lambda home, short: fuzz.tokens(home, episodes=100 if short else 2_000),
    "reading": lambda home, short: fuzz.reading(),
}


def main() -> int:
    """Run sections, print the table; return 1 where there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few trials of each: what CI runs")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument(
        "--out", type=Path, help="save the table as JSON here; sections that are there are kept"
    )
    args = parser.parse_args()
    held = json.loads(args.out.read_text(encoding="utf-8")) if args.out and args.out.is_file() else {}
    told: dict[str, object] = held.get("sections", {})
    rows: list[list[str]] = []
    faults = 0
    for name in args.only:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="himac-campaign-") as folder:
            try:
                section = SECTIONS[name](Path(folder), args.short)
            except (
                Exception
            ) as error:  # the campaign's own fault is one as well, and the other sections go on
                section = Section(name)
                section.add(f"{type(error).__name__}: {error}")
        took = time.monotonic() - began
        faults += len(section.faults)
        rows.append([section.name, str(section.trials), str(section.good), f"{took:.0f} s"])
        told[name] = {"what": section.name, "trials": section.trials, "good": section.good, "faults": section.faults, "took_s": round(took, 1)}  # fmt: skip
        print(f"{name}: {section.good} of {section.trials}, {took:.0f} s", file=sys.stderr, flush=True)
        if args.out:
            machine = describe_machine() | {"date": time.strftime("%Y-%m-%d")}
            write_text(args.out, json.dumps({"machine": machine, "sections": told}, indent=1) + "\n")
    print(markdown(["what", "trials", "good", "time"], rows))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
