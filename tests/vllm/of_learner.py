"""What the learner's module says of tokens, by transformers' own forward: nothing of himac's engines is used."""

from __future__ import annotations

import numpy as np
import torch

from himac.learner.policy import ROLES
from himac.types import Completion, Request, Sampling

EXACT = 1e-4  # nats
SOME = [np.arange(n) * 7 % 250 + 5 for n in (3, 20, 150, 20)]


def request(prompt, *, role="executor", **sampling) -> Request:
    told = {"max_tokens": 16, "temperature": 0.7, **sampling}
    return Request(prompt=np.asarray(prompt, np.int32), sampling=Sampling(**told), role=role)


def gap(model, asked: list[Request], done: list[Completion], *, play=None) -> float:
    """Largest difference of log-probabilities, engine against transformers' forward; at temperature 1 where greedy."""
    worst = 0.0
    for one, answer in zip(asked, done, strict=True):
        if play is not None:
            play(one.role)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*one.prompt.tolist(), *answer.ids]])).logits[0]
        logps = (logits[len(one.prompt) - 1 : -1].float() / (one.sampling.temperature or 1.0)).log_softmax(-1)
        said = logps[range(len(answer.ids)), list(answer.ids)].numpy()
        worst = max(worst, float(np.abs(said - np.array(answer.logps)).max()))
    return worst


def learn(model, *, scale: float = 0.05, seed: int = 1, only: str = "") -> None:
    """Move every weight that learns, as an optimizer step would; far enough for old weights to be told from new ones."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if only in name:
                weights.add_(scale * torch.randn(weights.shape, generator=stream))


def check_that_adapters_follow(engine, model) -> None:
    """Each role's answers are its own adapter's, in one batch, also after one of the two has learned."""
    asked = [request(SOME[2], role=role, seed=seed) for seed in range(3) for role in ROLES]
    first = engine.generate(asked)
    assert gap(model, asked, first, play=model.set_adapter) < EXACT
    learn(model, only="lora_B.planner", seed=4)
    engine.load_weights(None, 1)
    second = engine.generate(asked)
    assert gap(model, asked, second, play=model.set_adapter) < EXACT
    same = [a.ids == b.ids for a, b in zip(first, second, strict=True)]
    assert same[1::2] == [True] * 3 and not any(same[::2])  # the planner's alone are others
