"""Runs to compare."""

from __future__ import annotations

from pathlib import Path

import pytest
from written import write_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two methods, three seeds: HiMAC at 80 % after 10 iterations, GRPO at 50 % for half the steps an iteration."""
    for seed in range(3):
        own = ["env=toy", f"run.seed={seed}", "model.name=start"]
        write_run(tmp_path / f"h-{seed}", own, [0.2, 0.6, 0.8], steps=200)
        write_run(tmp_path / f"g-{seed}", [*own, "method=flat"], [0.2, 0.3, 0.4, 0.45, 0.5])
    return tmp_path
