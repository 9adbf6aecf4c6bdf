"""A start that ranks learn from."""

from __future__ import annotations

from pathlib import Path

import pytest
from rank_processes import WORDS

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
