"""The first part of a warm start that sees: put pictures into words.

Fifteen hundred demonstrations alone do not teach a small model where things stand; some thousand pictures with the
world's own words for them do, in a minute. The pictures are those of the states that the demonstrations pass through.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from himac.chat import ChatFormat
from himac.config import SftConfig
from himac.envs.base import Describes, Env
from himac.errors import ConfigError
from himac.images import Album
from himac.seeds import derive
from himac.train.warm_start import Imitates, warm_start
from himac.types import Demonstration, Message, Sample

QUESTION = "Describe what you see."
BATCH = 32
"""Pictures an optimizer step."""


def describe(
    learner: Imitates,
    demos: Sequence[Demonstration],
    env: Env,
    chat: ChatFormat,
    album: Album,
    sft: SftConfig,
    *,
    seed: int,
    report: Callable[[int, int, dict[str, float]], None] | None = None,
    first: int = 0,
) -> None:
    """Learn to describe `sft.describe` pictures, the same ones again when there are fewer.

    Args:
        learner: takes the steps.
        demos: play through the states that are shown.
        env: shows them, and has words for them.
        chat: turns both into tokens.
        album: keeps the pictures.
        sft: the [sft] section.
        seed: of the order.
        report: called after each step with (step, steps, metrics).
        first: steps that were taken before.

    Raises:
        ConfigError: the world shows no pictures, or has no words for them.
    """
    if not env.spec.images or not isinstance(env, Describes):
        what = "has no words for what it shows: describe()" if env.spec.images else "shows no pictures"
        raise ConfigError(
            f"sft.describe is {sft.describe}, but {env.spec.name} {what}", hint="set sft.describe = 0"
        )
    found = [[sample] for sample in _samples(demos, env, chat, album)]
    passes = sft.describe / len(found)
    stage = dataclasses.replace(sft, epochs=passes, batch=min(BATCH, len(found)))
    warm_start(learner, found, stage, seed=derive(seed, "describe"), report=report, first=first)


def _samples(demos: Sequence[Demonstration], env: Env, chat: ChatFormat, album: Album) -> Iterator[Sample]:
    """Yield a question and its answer for every picture that the demonstrations pass, each once."""
    assert isinstance(env, Describes)
    known: set[str] = set()
    for demo in demos:
        observation = env.reset(demo.task)
        for action in (*demo.actions, ""):
            picture = album.told(dataclasses.replace(observation, text="")).text
            if picture not in known:
                known.add(picture)
                prompt = chat.open((Message(role="user", content=f"{picture}{QUESTION}"),))
                yield _sample(prompt, chat.answer(env.describe()))
            if not action:
                break
            result = env.step(action)
            if result.terminated or result.truncated:
                break
            observation = result.observation


def _sample(prompt: Sequence[int], answer: Sequence[int]) -> Sample:
    ids = np.array([*prompt, *answer], np.int32)
    mask = np.arange(len(ids)) >= len(prompt)
    zeros = np.zeros(len(ids), np.float32)
    return Sample(ids=ids, mask=mask, logps=zeros, advantages=zeros, weights=mask.astype(np.float32))
