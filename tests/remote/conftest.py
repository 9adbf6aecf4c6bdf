"""A start that collectors run episodes with, and a Ray of two cores; `make ray-test` makes the environment that has one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from collectors import WORDS

from himac.config import Config, load_config
from himac.remote.cluster import is_installed
from himac.train.start import build_start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what starts Ray where there is none."""
    if not is_installed():
        for item in items:
            if item.path == Path(__file__).with_name("test_ray.py"):
                item.add_marker(pytest.mark.skip(reason="needs Ray: make ray-test"))


@pytest.fixture(scope="session")
def config() -> Config:
    return load_config(None, WORDS)


@pytest.fixture(scope="session")
def start(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote") / "start"
    build_start(config, folder)
    return folder


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """A Ray that runs on: what connects later uses it, and leaves it as it is."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
