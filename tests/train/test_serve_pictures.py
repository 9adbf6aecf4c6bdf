"""The endpoint client against `transformers serve` with a model that sees: pictures arrive, and the same words come back.

The processor that transformers builds for such a model wants torchvision, for videos. Here the folder brings one of its own
without videos; server, requests and the way of a picture into the model are transformers'.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import Server, said_by_task

from himac.config import Config, EndpointConfig, load_config, override
from himac.engines.openai import OpenAIEngine
from himac.evaluation.folder import evaluate_in_folder
from himac.images import TAG
from himac.rollout.evaluate import evaluate, subset
from himac.runs.console import Silent
from himac.runs.episodes import episode_row
from himac.runs.folder import EPISODES, IMAGES, read_rows
from himac.train.components import Components
from himac.train.start import build_start
from himac.types import Message, Request, Sampling

for package in ("openai", "fastapi", "uvicorn"):
    pytest.importorskip(package, reason="transformers serve needs pip install 'himac[dev]'")

TASKS = 3
PROCESSOR = """from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor


class WithoutVideos(Qwen3VLProcessor):
    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs):
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)
"""


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config("sokoban-vision-demo", [
        "agent.think=false", "agent.planner_tokens=64", "agent.executor_tokens=16", "env.max_steps=5", "env.test=3",
        "sft.describe=0", "sft.demonstrations=80", "sft.epochs=4", "sft.batch=12",
    ])  # fmt: skip


@pytest.fixture(scope="module")
def seeing(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that keeps to the form: what it writes is text that tokenises one way."""
    folder = tmp_path_factory.mktemp("seeing") / "model"
    build_start(config, folder, Silent())
    (folder / "without_videos.py").write_text(PROCESSOR)
    names = {
        "processor_class": "WithoutVideos",
        "auto_map": {"AutoProcessor": "without_videos.WithoutVideos"},
    }
    (folder / "processor_config.json").write_text(json.dumps(names))
    return folder


@pytest.fixture(scope="module")
def server(seeing: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(seeing, tmp_path_factory.mktemp("serve") / "log", "--trust-remote-code")
    yield running
    running.kill()


@pytest.mark.slow
def test_a_served_model_sees_what_it_sees_locally(
    server: Server, seeing: Path, config: Config, tmp_path: Path
) -> None:
    parts = Components(config, seeing)
    _, episodes = evaluate(parts.collector, subset(parts.env.tasks("val"), TASKS), temperature=0.0)
    roles = {"planner": server.address, "executor": server.address, "split": "val", "tasks": TASKS}
    asked = override(config, eval=roles, endpoint={"concurrency": 2})
    row, stopped = evaluate_in_folder(asked, tmp_path, Silent())
    assert stopped is None and row["complete"] and row["usage"]["estimated"] == 0
    served = list(read_rows(tmp_path / EPISODES))
    assert said_by_task(served) == said_by_task([episode_row(e) for e in episodes])
    named = {name for r in served for name in TAG.findall(str(r))}
    assert len(named) >= TASKS and named == {r["image"] for r in read_rows(tmp_path / IMAGES)}
    pictures = row["usage"]["requests"] * 36  # the server counts what it read: 36 tokens a picture, and words
    assert pictures < row["usage"]["prompt_tokens"]
    parts.close()


@pytest.mark.slow
def test_what_a_served_model_says_depends_on_the_picture(
    server: Server, seeing: Path, config: Config
) -> None:
    parts = Components(config, seeing)
    album, chat = parts.album, parts.chat
    rng = np.random.default_rng(0)
    tags = [album.tag(rng.integers(0, 255, (96, 96 + 16 * n, 3), np.uint8)) for n in range(6)]
    talks = [(Message(role="user", content=f"{tag}Where?"),) for tag in tags]
    sampling = Sampling(max_tokens=12, temperature=0.0)
    local = parts.engine.generate([Request(prompt=chat.open(talk), sampling=sampling) for talk in talks])
    engine = OpenAIEngine(server.address, EndpointConfig(retries=0, timeout_s=60.0), album=album)
    remote = engine.generate([Request(messages=talk, sampling=sampling) for talk in talks])
    engine.close()
    words = [parts.policy.tokenizer.decode(answer.ids, skip_special_tokens=True).strip() for answer in local]
    assert [answer.text.strip() for answer in remote] == words and len(set(words)) > 1
    parts.close()
