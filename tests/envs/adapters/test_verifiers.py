"""verifiers' environments in himac, and himac's worlds in verifiers: its own loaders, traces and rollouts."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verifiers.v1", reason="verifiers is not installed: make adapters-test")

import verifiers.v1 as vf

from himac.envs.adapters.to_verifiers import action_of, load_environment
from himac.envs.adapters.verifiers import FromVerifiers
from himac.envs.base import make_env, make_expert
from himac.envs.check import check_env
from himac.errors import ConfigError, EnvError

SAID: dict[str, Any] = {"rules": "Talk.", "example_subgoals": ["say something"], "max_steps": 20}
TOY = {"id": "himac-worlds", "world": "toy", "settings": {"doors": 1, "train": 30}}

WORLDS: dict[str, dict[str, Any]] = {
    "toy": {"doors": 1, "train": 30},
    "sokoban": {"train": 4},
    "alfworld": {"path": "generated", "games": 6, "rooms": ["kitchen"]},
    "webshop": {"generated": 700, "num_types": 12},
}

GUESS = '''
"""A number is guessed in the conversation; the task judges the trace, and ends what takes four answers."""

import verifiers.v1 as vf


class GuessData(vf.TaskData):
    number: int


class GuessTask(vf.Task[GuessData]):
    @vf.reward
    async def found(self, trace: vf.Trace) -> float:
        return float(trace.last_reply == str(self.data.number))

    @vf.metric
    async def guesses(self, trace: vf.Trace) -> float:
        return float(trace.num_turns)

    @vf.stop
    async def too_many(self, trace: vf.Trace) -> bool:
        return trace.num_turns >= 4


class GuessConfig(vf.EnvConfig):
    player: vf.AgentConfig = vf.AgentConfig(harness={"id": "null"})


class GuessEnv(vf.Env[GuessConfig]):
    async def run(self, task, agents):
        async with agents.player.interaction(task) as talk:
            segment = await talk.turn()
            while not segment.terminated and segment.last_reply != str(task.data.number):
                hint = "higher" if segment.last_reply < str(task.data.number) else "lower"
                segment = await talk.turn(hint)


class GuessTaskset(vf.Taskset[GuessTask, vf.TasksetConfig]):
    def load(self):
        for number in range(2, 8):
            data = GuessData(prompt="Guess a digit.", system_prompt="A game.", number=number)
            yield GuessTask(data, self.config.task)


__all__ = ["GuessEnv", "GuessTaskset"]
'''
ONCE = '''
"""One answer, judged by the task: verifiers' plain single-agent case."""

import verifiers.v1 as vf


class SumData(vf.TaskData):
    answer: str


class SumTask(vf.Task[SumData]):
    @vf.reward(weight=2.0)
    async def right(self, trace: vf.Trace) -> float:
        return float(trace.last_reply == self.data.answer)


class SumTaskset(vf.Taskset[SumTask, vf.TasksetConfig]):
    def load(self):
        for number in range(6):
            yield SumTask(SumData(prompt=f"{number} + 1 =", answer=str(number + 1)), self.config.task)


__all__ = ["SumTaskset"]
'''


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two environments as verifiers' users write them, in modules that it finds by their names."""
    (tmp_path / "guess_digit.py").write_text(GUESS)
    (tmp_path / "sum_once.py").write_text(ONCE)
    monkeypatch.syspath_prepend(str(tmp_path))


def world(taskset: dict[str, Any], **settings: Any) -> FromVerifiers:
    env = make_env("verifiers", taskset=taskset, **{**SAID, **settings})
    assert isinstance(env, FromVerifiers)
    return env


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_goes_through_verifiers_and_comes_back(name: str) -> None:
    here = make_env(name, **WORLDS[name])
    there = world(
        {"id": "himac-worlds", "world": name, "settings": WORLDS[name]}, splits={"train": 4}, max_steps=60
    )
    shown = (make_expert(name, here).demonstrate(task, seed=0, noise=0.2) for task in here.tasks("train")[:4])
    demos = [demo for demo in shown if demo is not None]  # WebShop's expert cannot do all
    assert demos
    for demo in demos[:2]:
        task = demo.task
        told = here.reset(task).text
        assert there.reset(there.tasks("train")[task.index]).text.split("\n\n", 1)[1].startswith(told)
        ours, others = [], []
        for action in ("fly away", *demo.actions):
            ours.append(here.step(action))
            others.append(there.step(f"<think>so</think><action>{action}</action>"))
            if ours[-1].terminated or ours[-1].truncated:
                break
        assert [r.terminated for r in others[:-1]] == [False] * (len(ours) - 1) and others[-1].terminated
        assert others[-1].reward == pytest.approx(sum(r.reward for r in ours))
        assert all(b.observation.text.startswith(a.observation.text) for a, b in zip(ours[:-1], others[:-1]))
    there.close()


def test_a_world_of_verifiers_keeps_the_protocol() -> None:
    check_env(
        world(TOY, deterministic=True, splits={"train": 10, "test": 10}),
        actions=("go to porch", "take red key"),
    )


def test_their_prompt_hooks_and_rewards_hold(theirs: None) -> None:
    env = world({"id": "guess-digit"}, splits={"train": 3, "test": 2})
    first = env.reset(env.tasks("train")[1])  # the third of the taskset: seeds alternate between the splits
    assert first.text == "A game.\n\nGuess a digit."
    answers = [env.step(guess) for guess in ("1", "9", "4")]
    assert [r.observation.text for r in answers[:2]] == ["higher", "lower"]
    assert answers[-1].terminated and answers[-1].success and answers[-1].reward == 1.0
    env.reset(env.tasks("train")[1])
    answers = [env.step(guess) for guess in ("1", "2", "3", "3")]
    assert answers[-1].terminated and answers[-1].reward == 0.0  # its own @stop, at four answers
    with pytest.raises(EnvError, match="the taskset has 6 tasks, and the splits name number"):
        many = world({"id": "guess-digit"}, splits={"train": 9})
        many.reset(many.tasks("train")[8])


def test_our_step_limit_ends_an_episode_as_theirs_would_and_it_is_judged(theirs: None) -> None:
    env = world({"id": "guess-digit"}, splits={"train": 3}, max_steps=2)
    env.reset(env.tasks("train")[0])
    assert not env.step("9").truncated
    last = env.step("8")
    assert last.truncated and not last.terminated and last.reward == 0.0


def test_an_environment_of_one_answer_is_a_world_of_one_step(theirs: None) -> None:
    env = world({"id": "sum-once"}, splits={"train": 6})
    assert env.reset(env.tasks("train")[4]).text == "4 + 1 ="
    result = env.step("5")
    assert result.terminated and result.success and result.reward == 2.0 and result.score == 1.0
    assert env.reset(env.tasks("train")[4]) and env.step("6").reward == 0.0


def test_an_episode_that_is_left_does_not_disturb_the_next(theirs: None) -> None:
    env = world({"id": "guess-digit"}, splits={"train": 6})
    for index in (0, 1, 2):
        env.reset(env.tasks("train")[index])
        env.step("9")
    assert env.step("4").success
    env.close()


def test_what_himac_cannot_play_is_refused_in_a_line(theirs: None) -> None:
    with pytest.raises(ConfigError, match="verifiers cannot make 'no-such-set'"):
        world({"id": "no-such-set"})
    with pytest.raises(
        ConfigError, match=r"seats 2 agents \(assistant, user\); himac can play where there is one"
    ):
        world({"id": "sum-once"}, options={"id": "user-sim"})
    with pytest.raises(ConfigError, match=r"env\.taskset\.id has to be given"):
        world({})
    with pytest.raises(ConfigError, match="unknown split 'tain'"):
        load_environment("toy", split="tain")


def test_an_environment_that_fails_is_an_error_and_not_a_wait(theirs: None) -> None:
    env = world(TOY | {"settings": {"doors": 1, "train": 3}}, splits={"train": 3})
    env.reset(env.tasks("train")[0])
    assert env._talk is not None
    env._talk._replies.put_nowait(3)  # type: ignore[arg-type]  # no words: their models refuse it
    with pytest.raises(EnvError, match="the environment failed"):
        env.step("go")


def test_replies_are_read_in_and_without_tags() -> None:
    assert action_of("<think>a</think>\n<action> go </action> then") == "go"
    assert action_of("I will.\n go east \n") == "go east"
    assert action_of("<think>never closed") == "" == action_of("")


@contextmanager
def endpoint(answer: Callable[[list[dict[str, Any]]], str]) -> Iterator[str]:
    """An OpenAI-like server whose model is a function of the messages."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = {"role": "assistant", "content": answer(body["messages"])}
            part = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            choices = (
                [{"index": 0, "delta": said, "finish_reason": None}],
                [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            )
            chunks = [f"data: {json.dumps(part | {'choices': choice})}\n\n" for choice in choices]
            assert body.get("stream"), "verifiers' chat program streams"
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write("".join([*chunks, "data: [DONE]\n\n"]).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()


@pytest.mark.slow
def test_verifiers_own_rollout_plays_a_world_of_himac(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("uv") is None:
        pytest.skip("verifiers runs its chat program with uv, which is not on the path")
    here = make_env("toy", doors=1, train=30)
    task = here.tasks("train")[2]
    demo = make_expert("toy", here).demonstrate(task, seed=0, noise=0.0)
    assert demo is not None

    def expert(messages: list[dict[str, Any]]) -> str:
        said = sum(message["role"] == "assistant" for message in messages)
        return f"<action>{demo.actions[said]}</action>"

    async def play(url: str) -> vf.Episode[Any, Any, Any]:
        env = load_environment("toy", doors=1, train=30)
        client = vf.EvalClientConfig(base_url=url, api_key_var="SCRIPTED_KEY")
        async with env.serving():
            (chosen,) = list(env.taskset.include(idx=["2:3"]))
            return await env.run_episode(chosen, vf.ModelContext(model="scripted", client=client))

    monkeypatch.setenv("SCRIPTED_KEY", "none")
    with endpoint(expert) as url:
        episode = asyncio.run(play(url))
    problems = [error.message for error in [*episode.errors, *(e for t in episode.traces for e in t.errors)]]
    if any("failed to prepare uv script" in problem for problem in problems):
        pytest.skip("uv cannot fetch the packages of verifiers' chat program: no network")
    assert problems == [] and episode.ok
    (trace,) = episode.traces
    assert trace.metrics["success"] == 1.0 and trace.metrics["steps"] == len(demo.actions) == trace.num_turns
    here.reset(task)
    assert trace.reward == pytest.approx(sum(here.step(action).reward for action in demo.actions))
