"""What the tests of collectors share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from himac.config import Config
from himac.train.components import Components
from himac.types import Episode

WORDS = [
    "env=toy", "env.doors=1", "model=tiny", "model.tiny=[32,2,400]", "agent.planner_tokens=48", "agent.executor_tokens=12",
    "agent.max_steps=8", "agent.think=false", "sft.demonstrations=24", "sft.epochs=2", "sft.batch=8", "rollout.tasks=6",
    "rollout.group_size=3", "rollout.executor_group_size=3", "run.iterations=2", "run.save_every=1", "eval.every=2",
    "eval.tasks=6", "optimizer.lr=1e-3", "run.device=cpu", "parallel.collector_episodes=3",
]  # fmt: skip
"""Six units of one task each, of three episodes."""


@dataclass
class Learned:
    """What came of an iteration."""

    ids: list[list[list[int]]] = field(default_factory=list)  # of each episode's contexts
    logps: list[np.ndarray] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)


def learn(config: Config, start: Path, *, meanwhile: Any = None) -> Learned:
    """Collect both phases and learn from them with made-up advantages; the second phase samples with new weights.

    Args:
        config: the run's.
        start: the model.
        meanwhile: called with the parts and each report of progress.
    """
    torch.set_num_threads(1)
    parts = Components(config, start)
    parts.policy.freeze_reference()
    learner = parts.learner()
    loop = parts.loop(learner, log=None, outside=None)  # type: ignore[arg-type]
    tasks, blueprints, found = loop.tasks.at(0, config.rollout.tasks), (), Learned()
    try:
        for phase in loop.phases:
            progress = None if meanwhile is None else lambda count: meanwhile(parts, count)
            groups = parts.collector.collect(
                phase, tasks, blueprints=blueprints, iteration=0, progress=progress
            )
            blueprints = blueprints or tuple(group[0].blueprint for group in groups)
            _note(found, [episode for group in groups for episode in group])
            rng = np.random.default_rng(7)
            samples = loop.credit(groups, phase.roles).samples(config.algo.aggregation, keep_flat=True)
            for sample in samples:
                sample.advantages[:] = rng.normal(size=len(sample.ids)).astype(np.float32) * sample.mask
            learner.update(samples, phase, seed=3)
            parts.collector.load_weights(None, version=learner.version)
    finally:
        parts.close()
    found.weights = {name: p.detach().clone() for name, p in parts.policy.model.state_dict().items()}
    return found


def _note(found: Learned, episodes: list[Episode]) -> None:
    found.ids += [[context.ids.tolist() for context in episode.contexts] for episode in episodes]
    found.logps += [context.logps for episode in episodes for context in episode.contexts]


def bitwise(one: Learned, two: Learned) -> bool:
    """Whether two learned the same to the last bit."""
    assert one.weights.keys() == two.weights.keys()
    same_logps = all(np.array_equal(a, b) for a, b in zip(one.logps, two.logps, strict=True))
    return (
        one.ids == two.ids
        and same_logps
        and all(torch.equal(one.weights[n], two.weights[n]) for n in one.weights)
    )
