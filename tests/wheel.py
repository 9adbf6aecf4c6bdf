"""Is what people install whole? `make wheel` runs this: the wheel trains outside the checkout, the sdist has all of it.

python tests/wheel.py ENVIRONMENT DIST
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

IN_SDIST = (
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "docs/concepts.md",
    "examples/minimal.py",
    "tests/conftest.py",
)
SMALL = [
    "sft.demonstrations=32",
    "run.iterations=1",
    "rollout.tasks=2",
    "eval.every=0",
    "eval.tasks=8",
    "run.name=small",
    "model.tiny=[64,1,300]",
]


def main(environment: Path, dist: Path) -> None:
    """Check both, and say so; raises where something is missing."""
    (sdist,) = dist.glob("himac-*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    missing = [name for name in IN_SDIST if name not in held]
    assert not missing, f"{sdist.name} lacks {missing}"

    himac = str(environment.resolve() / "bin" / "himac")
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with tempfile.TemporaryDirectory() as outside:

        def run(*words: str, cwd: str = outside) -> str:
            done = subprocess.run([himac, *words], cwd=cwd, env=clean, capture_output=True, text=True)
            assert done.returncode == 0, f"himac {' '.join(words)}: {done.stderr}"
            return done.stdout

        where = subprocess.run(
            [Path(himac).parent / "python", "-c", "import himac; print(himac.__file__)"],
            cwd=outside, env=clean, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert str(environment.resolve()) in where, f"not the wheel that is tried: {where}"
        assert "demo" in run("recipes")
        run("train", "demo", *SMALL, 'eval.final=""')
        assert "done 1/1" in run("runs")
        assert "report.html" in run("report", "small")
        run("eval", "small", "split=test", "eval.tasks=4")
        run("init", "mine")
        run("check", "env=world:Courier", cwd=str(Path(outside, "mine")))
    print("the wheel trains, evaluates and reports outside the checkout; the sdist is whole")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
