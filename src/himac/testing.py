"""Public tools for testing what is built on himac.

Real fakes instead of patches. `ScriptedEngine` is an Engine whose model is a function of the text it
would read; with it, agents, collectors and whole phases run without a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from himac.algo.estimators import Estimator
from himac.envs.check import check_env, check_expert
from himac.errors import HimacError
from himac.types import (
    Blueprint,
    Completion,
    Context,
    Episode,
    Group,
    LanguageModel,
    Request,
    Role,
    Segment,
    StopReason,
    Task,
    Tokenizer,
    Turn,
    Weights,
)

__all__ = ["ScriptedEngine", "check_env", "check_estimator", "check_expert", "random_groups", "tiny_model"]


class ScriptedEngine:
    """An Engine that answers with whatever a function returns for the prompt's text.

    Args:
        tokenizer: turns prompts to text and answers to ids; None for requests that carry messages, which are answered
            with text, as an endpoint does.
        answer: prompt text -> completion text.
        end_id: token that ends a turn; None leaves it out, as a stop string would.
    """

    def __init__(
        self, tokenizer: Tokenizer, answer: Callable[[str], str], *, end_id: int | None = None
    ) -> None:
        self._tokenizer, self._answer, self._end_id = tokenizer, answer, end_id
        self.num_calls = 0
        self.num_requests = 0
        self.versions: list[int] = []

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer each request; every token has log-probability -0.5."""
        self.num_calls += 1
        self.num_requests += len(requests)
        return [self._complete(request) for request in requests]

    def close(self) -> None:
        """Nothing to release."""

    def load_weights(self, state: Weights, version: int) -> None:
        """Remember that new weights came."""
        self.versions.append(version)

    def _complete(self, request: Request) -> Completion:
        if request.messages:
            text = self._answer("\n".join(message.content for message in request.messages))
            return Completion(text=text, num_tokens=len(text.split()), finish="stop")
        prompt = self._tokenizer.decode(np.asarray(request.prompt).tolist())
        ids = self._tokenizer.encode(self._answer(prompt), add_special_tokens=False)
        ids = ids + ([self._end_id] if self._end_id is not None else [])
        cut = ids[: request.sampling.max_tokens]
        finish = "stop" if len(cut) == len(ids) else "length"
        return Completion(ids=tuple(cut), logps=(-0.5,) * len(cut), finish=finish)  # type: ignore[arg-type]


def check_estimator(estimator: Estimator, groups: Sequence[Group], role: Role) -> None:
    """Check what every estimator owes: one value a turn, NaN exactly on the other role's, finite elsewhere.

    Raises:
        HimacError: what is broken, and for which episode.
    """
    result = estimator(groups, role)
    if len(result) != len(groups):
        raise HimacError(f"estimator returned {len(result)} groups for {len(groups)}")
    for number, (group, advantages) in enumerate(zip(groups, result, strict=True)):
        for replica, (episode, values_N) in enumerate(zip(group, advantages, strict=True)):
            where = f"group {number}, episode {replica}"
            if values_N.shape != (len(episode.turns),):
                raise HimacError(f"{where}: shape {values_N.shape} for {len(episode.turns)} turns")
            trained_N = np.array([turn.role == role for turn in episode.turns])
            if not np.all(np.isfinite(values_N[trained_N])):
                raise HimacError(f"{where}: a {role} turn has no finite advantage")
            if not np.all(np.isnan(values_N[~trained_N])):
                raise HimacError(f"{where}: a turn of the other role is trained")


def random_groups(*, num_groups: int = 3, size: int = 4, seed: int = 0) -> list[list[Episode]]:
    """Return groups of made-up episodes with blueprints, rewards and values, for tests of estimators."""
    rng = np.random.default_rng(seed)
    return [[_random_episode(rng, index, replica) for replica in range(size)] for index in range(num_groups)]


def _random_episode(rng: np.random.Generator, index: int, replica: int) -> Episode:
    rewards = rng.normal(size=(2, 3)).round(2)
    segments = tuple(
        Segment(
            index=number,
            subgoal=f"sub-goal {number}",
            turns=tuple(
                Turn(
                    role="executor",
                    context=1 + number,
                    start=2 * t,
                    end=2 * t + 1,
                    text="",
                    action="go",
                    reward=float(reward),
                    state_key=str(rng.integers(4)),
                    value=float(rng.normal()),
                )
                for t, reward in enumerate(row)
            ),
            stop=StopReason.EPISODE_END,
        )
        for number, row in enumerate(rewards)
    )
    return Episode(
        task=Task(env="random", split="train", index=index),
        replica=replica,
        instruction="",
        blueprint=Blueprint(subgoals=("sub-goal 0", "sub-goal 1")),
        planning=Turn(role="planner", context=0, start=0, end=1, text="", value=float(rng.normal())),
        segments=segments,
        contexts=(_random_context(rng, 2), *(_random_context(rng, 6) for _ in rewards)),
        env_return=float(rewards.sum()),
        penalty=0.0,
        success=bool(rng.random() < 0.5),
        score=0.0,
        stop=StopReason.TRUNCATED,
        env_steps=rewards.size,
        calls=rewards.size + 1,
        tokens=rewards.size + 1,
    )


def _random_context(rng: np.random.Generator, num_tokens: int) -> Context:
    logps = -rng.random(num_tokens).astype(np.float32)
    ids = rng.integers(0, 100, num_tokens).astype(np.int32)
    return Context(ids=ids, sampled=np.ones(num_tokens, bool), logps=logps)


def tiny_model(folder: str | Path, texts: Sequence[str], *, seed: int = 0) -> tuple[LanguageModel, Tokenizer]:
    """Build and load a model of some ten thousand parameters, for tests that need a real one."""
    from himac.models.load import load_model
    from himac.models.tiny import TinyShape, build_tiny

    build_tiny(
        folder, texts, TinyShape(hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16), vocab=400, seed=seed
    )
    return load_model(str(folder))
