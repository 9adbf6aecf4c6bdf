"""Public tools for testing what is built on himac.

One idea: real fakes instead of patches. `ScriptedEngine` is an Engine whose model is a function of the text it
would read; with it, agents, collectors and whole phases run without a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from himac.algo.estimators import Estimator
from himac.envs.check import check_env
from himac.errors import HimacError
from himac.types import Completion, Group, Request, Role

__all__ = ["ScriptedEngine", "check_env", "check_estimator", "tiny_model"]


class ScriptedEngine:
    """An Engine that answers with whatever a function returns for the prompt's text.

    Args:
        tokenizer: turns prompts to text and answers to ids; None for requests that carry messages, which are answered
            with text, as an endpoint does.
        answer: prompt text -> completion text.
        end_id: token that ends a turn; None leaves it out, as a stop string would.
    """

    def __init__(self, tokenizer: Any, answer: Callable[[str], str], *, end_id: int | None = None) -> None:
        self._tokenizer, self._answer, self._end_id = tokenizer, answer, end_id
        self.num_calls = 0
        self.num_requests = 0
        self.versions: list[int] = []

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer each request; every token has log-probability -0.5."""
        self.num_calls += 1
        self.num_requests += len(requests)
        return [self._complete(request) for request in requests]

    def load_weights(self, state: Any, version: int) -> None:
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
    for place, (group, advantages) in enumerate(zip(groups, result, strict=True)):
        for replica, (episode, values_N) in enumerate(zip(group, advantages, strict=True)):
            where = f"group {place}, episode {replica}"
            if values_N.shape != (len(episode.turns),):
                raise HimacError(f"{where}: shape {values_N.shape} for {len(episode.turns)} turns")
            trained_N = np.array([turn.role == role for turn in episode.turns])
            if not np.all(np.isfinite(values_N[trained_N])):
                raise HimacError(f"{where}: a {role} turn has no finite advantage")
            if not np.all(np.isnan(values_N[~trained_N])):
                raise HimacError(f"{where}: a turn of the other role is trained")


def tiny_model(folder: str | Path, texts: Sequence[str], *, seed: int = 0) -> tuple[Any, Any]:
    """Build and load a model of some ten thousand parameters, for tests that need a real one."""
    from himac.models.load import load_model
    from himac.models.tiny import build_tiny

    build_tiny(folder, texts, hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, vocab=400, seed=seed)
    return load_model(str(folder))
