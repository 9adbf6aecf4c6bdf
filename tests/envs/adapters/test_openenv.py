"""himac's worlds as an OpenEnv server, and OpenEnv's in himac: over real servers on this machine."""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

openenv = pytest.importorskip("openenv", reason="openenv is not installed: make adapters-test")

import uvicorn  # noqa: E402

from himac.envs.adapters.to_openenv import HimacEnvironment, TextAction, create_app  # noqa: E402
from himac.envs.base import make_env, make_expert  # noqa: E402
from himac.envs.check import check_env  # noqa: E402
from himac.errors import ConfigError, EnvError  # noqa: E402

SAID: dict[str, Any] = {"rules": "Find the treasure.", "example_subgoals": ["take the key"], "max_steps": 20}


class Served:
    """An application on a free port of this machine."""

    def __init__(self, app: Any, port: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        end = time.monotonic() + 30
        while not self.server.started:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.02)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=20)
        self.socket.close()


@pytest.fixture(scope="module")
def toy() -> Iterator[str]:
    served = Served(create_app("toy", doors=1, train=40))
    yield served.url
    served.close()


def test_a_served_world_comes_back_as_it_was(toy: str) -> None:
    here = make_env("toy", doors=1, train=40)
    there = make_env("openenv", url=toy, tasks="index", splits={"train": 40, "test": 5}, **SAID)
    for task in here.tasks("train")[:3]:
        demo = make_expert("toy", here).demonstrate(task, seed=0, noise=0.2)
        assert demo is not None
        twin = there.tasks("train")[task.index]
        assert there.reset(twin) == here.reset(task)
        for action in ("no such thing", *demo.actions):
            ours, theirs = here.step(action), there.step(action)
            assert theirs == ours
        assert ours.success and ours.terminated
    there.close()
    there.close()


def test_a_served_world_keeps_the_protocol(toy: str) -> None:
    check_env(make_env("openenv", url=toy, deterministic=True, **SAID))
    check_env(make_env("openenv", url=toy, **SAID))


def test_what_was_not_told_to_be_deterministic_is_not_taken_for_it(toy: str) -> None:
    assert not make_env("openenv", url=toy, **SAID).spec.deterministic


def test_two_sessions_do_not_disturb_each_other(toy: str) -> None:
    one, two = (make_env("openenv", url=toy, **SAID) for _ in range(2))
    first = one.reset(one.tasks("train")[0])
    two.reset(two.tasks("train")[1])
    assert first.admissible is not None
    two.step("no such thing")
    assert one.step("no such thing").observation.text == f"Nothing happens.\n{first.text}"
    one.close()
    two.close()


def test_the_task_api_names_splits_and_tasks(toy: str) -> None:
    with urllib.request.urlopen(f"{toy}/toy/splits") as answer:
        assert b'"train"' in answer.read()
    world = HimacEnvironment(make_env("toy", train=7))
    assert world.num_tasks("train") == 7 == len(world.list_tasks("train"))
    assert world.get_task("train", 6) == {
        "split": "train",
        "index": 6,
        "kind": world.get_task("train", 6)["kind"],
    }
    with pytest.raises(IndexError):
        world.get_task("train", 7)


def test_the_first_observation_tells_the_rules_and_a_seed_draws_the_task() -> None:
    world = HimacEnvironment(make_env("toy", train=50), split="train")
    first = [world.reset(seed=seed).metadata["index"] for seed in range(6)]
    assert [world.reset(seed=seed).metadata["index"] for seed in range(6)] == first and len(set(first)) > 2
    told = world.reset(split="test", index=3)
    assert (told.metadata["split"], told.metadata["index"]) == ("test", 3)
    assert told.metadata["rules"] == make_env("toy").spec.rules
    nothing = world.step(TextAction(text="fly away"))
    assert not nothing.valid and nothing.reward == 0.0 and not nothing.done and world.state.step_count == 1
    with pytest.raises(ConfigError, match="index must be from 0 to 49, got 50"):
        world.reset(index=50)


def test_a_picture_is_served_as_a_data_url() -> None:
    world = HimacEnvironment(make_env("sokoban", observation="image", train=2))
    assert world.reset(index=0).image.startswith("data:image/png;base64,")


def test_openenvs_own_template_is_a_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [sys.executable, "-m", "openenv.cli", "init", "parrot_env", "--output-dir", str(tmp_path)]
    subprocess.run(made, check=True, capture_output=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    served = Served(importlib.import_module("parrot_env.server.app").app)
    said = {"rules": "It repeats what you say.", "example_subgoals": ["say a long word"], "max_steps": 4}
    env = make_env("openenv", url=served.url, action="message", text="echoed_message", **said)
    first = env.reset(env.tasks("train")[0])
    assert first.text == "Parrot Env environment ready!" and first.admissible is None
    results = [env.step(words) for words in ("hello", "hello again", "", "bye")]
    assert [r.observation.text for r in results] == ["hello", "hello again", "hello again", "bye"]
    assert [r.reward for r in results] == [0.5, 1.0, 0.0, pytest.approx(0.3)]
    assert [r.valid for r in results] == [True, True, False, True]
    assert results[-1].truncated and not results[-1].success
    env.close()
    wrong = make_env("openenv", url=served.url, action="message", **said)
    with pytest.raises(EnvError, match=r"the observation has no field 'text'; it has: .*echoed_message"):
        wrong.reset(wrong.tasks("train")[0])
    wrong.close()
    served.close()


def test_a_server_that_is_not_there_is_one_line() -> None:
    env = make_env("openenv", url="http://127.0.0.1:9", **SAID)
    with pytest.raises(EnvError, match="the OpenEnv server does not answer") as caught:
        env.reset(env.tasks("train")[0])
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"env\.url has to be given"):
        make_env("openenv", **SAID)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sokoban", {"train": 4}),
        ("alfworld", {"path": "generated", "games": 6, "rooms": ["kitchen"]}),
        ("webshop", {"generated": 700, "num_types": 12}),
    ],
)
def test_every_world_can_be_served_and_its_expert_wins_there(name: str, settings: dict[str, Any]) -> None:
    here = make_env(name, **settings)
    demo = make_expert(name, here).demonstrate(here.tasks("train")[1], seed=0, noise=0.0)
    assert demo is not None
    served = HimacEnvironment(make_env(name, **settings))
    assert served.reset(split="train", index=1).text == here.reset(demo.task).text
    answers = [served.step(TextAction(text=action)) for action in demo.actions]
    assert answers[-1].done and answers[-1].success and not any(answer.done for answer in answers[:-1])


def test_a_server_that_goes_away_is_an_error_of_the_episode_and_the_next_one_asks_again() -> None:
    served = Served(create_app("toy", doors=1))
    env = make_env("openenv", url=served.url, **SAID)
    env.reset(env.tasks("train")[0])
    served.close()
    with pytest.raises(EnvError, match=r"openenv: the OpenEnv server (does not answer|failed)") as caught:
        env.step("look")
    assert "\n" not in str(caught.value)
    with pytest.raises(EnvError, match=r"openenv: the OpenEnv server does not answer"):
        env.reset(env.tasks("train")[0])
    again = Served(create_app("toy", doors=1), port=int(served.url.rsplit(":", 1)[1]))
    assert env.reset(env.tasks("train")[0]).text
    env.close()
    again.close()


def test_more_sessions_than_a_server_allows_is_an_error_that_says_so() -> None:
    served = Served(create_app("toy", doors=1, max_sessions=1))
    one, two = (make_env("openenv", url=served.url, **SAID) for _ in range(2))
    one.reset(one.tasks("train")[0])
    with pytest.raises(EnvError, match="openenv: the OpenEnv server") as caught:
        two.reset(two.tasks("train")[0])
    assert "max_concurrent_envs" in caught.value.hint
    one.close()
    served.close()
