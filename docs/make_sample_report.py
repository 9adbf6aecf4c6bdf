"""Train something small and write its report: the sample that the site shows.

    python docs/make_sample_report.py site/sample-report.html

The recipe `taste`, two minutes of one core, evaluated once more on the way.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import himac
from himac.report.page import build_report

SETTINGS = ("run.save_every=8", "eval.every=4", "eval.tasks=64")


def main() -> None:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as made:
        outcome = himac.train(himac.load_config("taste", SETTINGS), folder=Path(made) / "sample")
        build_report([outcome.folder], target)
    print(f"wrote {target}, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
