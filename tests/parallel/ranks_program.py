"""What each rank of a test does: `python ranks_program.py learn|train ARGS...`, with RANK and WORLD_SIZE as torchrun sets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from himac.config import load_config, override
from himac.parallel.replicated import Replicated, from_environment
from himac.runs.formats import load_saved
from himac.train.components import Components
from himac.train.run import train


def learn(start: str, words: list[str], out: Path, *, wrong: bool = False) -> None:
    """Collect both phases of an iteration, learn from them with made-up advantages, and write what came of it."""
    ranks = from_environment()
    config = load_config(None, words)
    parts = Components(config, start, ranks=ranks)
    if config.algo.has_kl:
        with torch.no_grad():  # another reference than the policy, so that the KL term has a gradient
            parts.policy.freeze_reference()
            for p in parts.policy.trainable:
                p.add_(0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    learner = parts.learner()
    loop = parts.loop(learner, log=None, outside=None)  # type: ignore[arg-type]
    if wrong:  # every rank learns the first pack, and nobody the others
        learner._ranks = type("Wrong", (Replicated,), {"mine": lambda self, items, costs: list(items)[:1]})()
    told: dict[str, object] = {}
    tasks, blueprints = loop.tasks.at(0, config.rollout.tasks), ()
    for phase in loop.phases:
        groups = parts.collector.collect(phase, tasks, blueprints=blueprints, iteration=0)
        if not blueprints:
            blueprints = tuple(group[0].blueprint for group in groups)
        rng = np.random.default_rng(7)
        credit = loop.credit(groups, phase.roles)
        samples = credit.samples(config.algo.aggregation, keep_flat=True)
        made_up = [rng.normal(size=len(sample.ids)).astype(np.float32) for sample in samples]
        for sample, values in zip(samples, made_up):
            sample.advantages[:] = values * sample.mask
        told[phase.name] = {
            "ids": [[context.ids.tolist() for context in e.contexts] for group in groups for e in group],
            "metrics": learner.update(samples, phase, seed=3),
        }
        parts.collector.load_weights(None, version=learner.version)
    if ranks.is_first:
        weights = {name: p.detach() for name, p in parts.policy.model.named_parameters()}
        if learner.critic is not None:
            weights |= {f"critic.{name}": p.detach() for name, p in learner.critic.named_parameters()}
        torch.save(weights, out.with_suffix(".pt"))
        out.write_text(json.dumps(told))
    ranks.close()


def run(folder: Path, iterations: int) -> None:
    """Train the run in a folder so far."""
    ranks = from_environment()
    config = load_saved(folder / "config.toml")
    train(override(config, run={"iterations": iterations}), folder, ranks=ranks)
    ranks.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, *args = sys.argv[1:]
    if what == "learn":
        learn(args[0], json.loads(args[1]), Path(args[2]), wrong="wrong" in args[3:])
    else:
        run(Path(args[0]), int(args[1]))
