"""Random words and tokens: through the readers of what models write, and through the collector and the tokenizer."""

from __future__ import annotations

import random
import time
from pathlib import Path

from campaign.sections import Section
from himac.agents.grammar import read_blueprint, read_note, read_turn
from himac.chat.thoughts import answer_of
from himac.config import load_config
from himac.engines.base import BatchEngine, stepping
from himac.engines.endpoint import until_stop
from himac.runs.episodes import episode_row, read_episode
from himac.text import clean
from himac.types import Completion, Request, StopReason, Weights

_PIECES = (
    "<blueprint>", "</blueprint>", "<action>", "</action>", "<sub_done>", "</sub_done>", "<think>", "</think>", "<act",
    "1. ", "- ", "\n", "  ", "go east", "click[x]", "\ud800", "\x00", "\x1b[2J", "\u202e", "é", "😀", "<|im_end|>", "{{ x }}",
    "[", "]", "\\", "a" * 50, "<sub_done/>", "<ACTION>", "٣. ", "step 1:", "\r", "\u2028",
)  # fmt: skip


def _text(rng: random.Random) -> str:
    return "".join(rng.choice(_PIECES) for _ in range(rng.randint(0, 40)))


def words(*, count: int) -> Section:
    """Completions through every reader of a model's words."""
    section, rng = Section("fuzzed completions through the readers of a model's words"), random.Random(0)
    for _ in range(count):
        text = _text(rng)
        try:
            blueprint = read_blueprint(text, fallback="the task", max_subgoals=8)
            action, _ = read_turn(text, both=rng.random() < 0.5)
            read_note(text), answer_of(text), until_stop(text, ("</action>", "<sub_done>"))
            fault = "" if 1 <= len(blueprint.subgoals) <= 8 and action != "" else f"odd: {text!r}"
            shown = clean(text)
            fault = fault or (
                "" if not any(c in shown for c in "\x1b\x00\u202e\ud800") else f"shown: {shown!r}"
            )
        except Exception as error:
            fault = f"{type(error).__name__} on {text!r}"
        section.add(fault)
    return section


class _Noise(BatchEngine):
    """An engine that writes random tokens, ends whenever it likes, and now and then refuses."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        self._size, self._rng = vocabulary, random.Random(seed)

    def generate(self, requests: list[Request]) -> list[Completion]:  # type: ignore[override]
        return [self._one(request) for request in requests]

    def load_weights(self, state: Weights, version: int) -> None: ...

    def _one(self, request: Request) -> Completion:
        if self._rng.random() < 0.01:
            return Completion(finish="refused", error="no")
        count = self._rng.randint(1, request.sampling.max_tokens)
        ids = tuple(self._rng.randrange(self._size) for _ in range(count))
        return Completion(ids=ids, logps=(-1.0,) * count, finish=self._rng.choice(("stop", "length")))


def tokens(folder: Path, *, episodes: int) -> Section:
    """Random tokens through collector, chat and tokenizer; each episode is written and read back."""
    from himac.agents.base import GREEDY
    from himac.rollout.collect import EpisodeRunner
    from himac.rollout.episode import Job
    from himac.train.components import Components
    from himac.train.start import build_start

    section = Section("random tokens through the collector; written and read back")
    for method in ("himac", "flat", "himac-replan"):
        config = load_config(None, [
            "env=toy", "env.doors=1", "model=tiny", "model.tiny=[32,1,400]", "agent.think=false", "sft.demonstrations=8",
            "sft.batch=8", f"method={method}", "agent.max_steps=6", "agent.planner_tokens=24", "agent.executor_tokens=12",
        ])  # fmt: skip
        build_start(config, folder / method)
        parts = Components(config, folder / method)
        engine = stepping(_Noise(len(parts.policy.tokenizer), 1))
        runner = EpisodeRunner(
            lambda env=parts.env: env, engine, chat=parts.chat, cfg=config.agent, max_live=1, max_prompt=512
        )
        tasks = parts.env.tasks("train")
        for number in range(episodes // 3):
            job = Job(
                task=tasks[number % len(tasks)], replica=0, agent=parts.collector.agent(GREEDY), seed=number
            )
            try:
                (episode,) = runner.run([job])
                back = read_episode(
                    episode_row(episode, iteration=0, phase="eval", group=0, chosen=False, advantages=None)
                )
                good = isinstance(episode.stop, StopReason) and back.turns == episode.turns
                section.add("" if good else f"{method} {number}: not the same when read back")
            except Exception as error:
                section.add(f"{method} {number}: {type(error).__name__}: {error}"[:200])
    return section


def reading() -> Section:
    """A megabyte of each piece, and of what is opened and never closed, in less than 50 ms."""
    section = Section("1 MB of a model's words read in less than 50 ms")
    for piece in [*_PIECES, "<action>x", "<think><action>", "<blueprint>1. ", "</", "< "]:
        text = (piece * (1_000_000 // len(piece) + 1))[:1_000_000]
        for read in (
            read_turn, read_note, answer_of, lambda t: read_blueprint(t, fallback="x", max_subgoals=8),
            lambda t: until_stop(t, ("</action>", "<sub_done>")),
        ):  # fmt: skip
            took = min(_timed(read, text) for _ in range(3))
            section.add("" if took < 0.05 else f"{piece!r}: {1000 * took:.0f} ms")
    return section


def _timed(read: object, text: str) -> float:
    began = time.process_time()
    read(text)  # type: ignore[operator]
    return time.process_time() - began
