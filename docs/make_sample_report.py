"""Train something small and write its report: the sample that the site shows.

    python docs/make_sample_report.py site/sample-report.html

A few iterations of the demo's recipe, shrunk until one core does it in about two minutes. It is a sample of a report, not a result: so small a run
proves nothing.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import himac
from himac.report.page import build_report

SHRUNK = (
    "sft.demonstrations=1200",
    "run.iterations=4",
    "run.save_every=4",
    "rollout.tasks=6",
    "eval.tasks=48",
    "eval.every=2",
    'eval.final=""',
)


def main() -> None:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as made:
        outcome = himac.train(himac.load_config("demo", SHRUNK), folder=Path(made) / "sample")
        build_report([outcome.folder], target)
    print(f"wrote {target}, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
