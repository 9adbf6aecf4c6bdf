"""A start that ranks learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rank_processes import CASES, WORDS, learned

from himac.config import Config, load_config
from himac.train.start import build_start


@pytest.fixture(scope="session")
def config() -> Config:
    return load_config(None, WORDS)


@pytest.fixture(scope="session")
def start(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parallel") / "start"
    build_start(config, folder)
    return folder


@pytest.fixture(scope="session")
def alone(
    start: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Any, dict[str, Any]]]:
    """What one process learns in a case; computed once, for all that compare with it."""
    folder, known = tmp_path_factory.mktemp("alone"), {}

    def learn(case: str) -> tuple[Any, dict[str, Any]]:
        if case not in known:
            known[case] = learned(1, start, CASES[case], folder / f"{case}.json")
        return known[case]

    return learn
