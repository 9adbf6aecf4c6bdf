"""Tests against a real vLLM, on a processor: `make vllm-test` makes the environment that they need."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from himac.engines.vllm import is_installed
from himac.models.tiny import TinyShape, build_tiny

TEXTS = [
    "go to the door and open it",
    "take the red key <action>go</action>",
    "<think>so</think> the lamp is on",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what stands in this folder where there is no vLLM."""
    if not is_installed():
        for item in items:
            if item.path.parent == Path(__file__).parent:
                item.add_marker(
                    pytest.mark.skip(reason="needs vLLM in an environment of its own: make vllm-test")
                )


@pytest.fixture(scope="session")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose output head is its embedding."""
    folder = tmp_path_factory.mktemp("tied")
    build_tiny(folder, TEXTS * 5, TinyShape(max_length=1024), vocab=400)
    return folder


@pytest.fixture(scope="session")
def untied(tied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose output head has weights of its own."""
    folder = tmp_path_factory.mktemp("untied")
    config = AutoConfig.from_pretrained(tied)
    config.tie_word_embeddings = False
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tied).save_pretrained(folder)
    return folder
