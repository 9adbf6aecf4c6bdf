"""What each rank of a test does: `python ranks_program.py learn|parts|start|train ARGS...`, with RANK and WORLD_SIZE as torchrun sets them."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.tensor import Shard, distribute_tensor

from himac.config import load_config, override
from himac.errors import RunError
from himac.layout import ParallelConfig
from himac.learner.learner import Learner
from himac.learner.policy import Policy
from himac.parallel import Ranks
from himac.parallel.replicated import from_environment
from himac.parallel.sharded import Sharded
from himac.parallel.tensors import full, load_tree, save_tree
from himac.rollout.collect import EpisodeRunner
from himac.runs.formats import load_saved
from himac.train.components import Components
from himac.train.run import train
from himac.train.start import build_start


def learn(start: str, words: list[str], out: Path, *, wrong: str = "") -> None:
    """Collect both phases of an iteration, learn from them with made-up advantages, and write what came of it."""
    config = load_config(None, words)
    ranks = from_environment(config.parallel)
    parts = Components(config, start, ranks=ranks)
    if config.algo.has_kl:
        with torch.no_grad():  # another reference than the policy, so that the KL term has a gradient
            parts.policy.freeze_reference()
            for p in parts.policy.trainable:
                p.add_(0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    learner = parts.learner()
    loop = parts.loop(learner, log=None, outside=None)  # type: ignore[arg-type]
    if wrong:
        _share_wrongly(ranks, wrong)
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
    state = ranks.state_of(parts.policy.model) or parts.policy.model.state_dict()
    if ranks.is_first:
        weights = {name: p.detach() for name, p in state.items()}
        if learner.critic is not None:
            weights |= {f"critic.{name}": p.detach() for name, p in learner.critic.named_parameters()}
        torch.save(weights, out.with_suffix(".pt"))
        out.write_text(json.dumps(told))
    ranks.close()


def _share_wrongly(ranks: Ranks, how: str) -> None:
    """Share passes through the model in a way that raises no error."""
    right = ranks.lockstep

    def share(items: Any, costs: Any, kinds: Any) -> list[Any]:
        if how == "mixed":  # one rank's planner meets another's executor
            return right(items, costs, [None] * len(kinds))
        if how == "twice":  # who pads its passes with another's row learns from it
            return [(item, True) for item, _ in right(items, costs, kinds)]
        return [(item, counts and ranks.is_first) for item, counts in right(items, costs, kinds)]

    ranks.lockstep = share  # type: ignore[method-assign]


def parts(path: Path, *, write: bool) -> None:
    """Write tensors that lie in parts, or read them with another number of ranks, and share what must be in step."""
    ranks = from_environment(ParallelConfig(shard=True))
    assert isinstance(ranks, Sharded)
    tree = example()
    if write:
        lying = [distribute_tensor(t, ranks.mesh, [Shard(0)]) for t in tree["moments"]]
        save_tree({**tree, "moments": lying}, path, rank=ranks.rank)
    else:
        read = load_tree(path, ranks.mesh)
        assert all(torch.equal(full(t), wanted) for t, wanted in zip(read["moments"], tree["moments"]))
        assert all(t.to_local().shape[0] < len(t) for t in read["moments"] if len(t) > 1)
    shared = ranks.gather(ranks.lockstep("abcde", [5, 4, 3, 2, 1], ["p", "p", "p", "e", "e"]))
    assert [[kind in "de" for kind, _ in own] for own in shared] == [
        [False, False, True]
    ] * 2 or ranks.size > 2
    assert sorted(item for own in shared for item, counts in own if counts) == list("abcde")
    try:
        ranks.lockstep("ab", [1, 1], ["p", "e"] if ranks.is_first else ["e", "p"])
    except RunError as error:
        assert "mixed up" in str(error)
    else:
        raise AssertionError("ranks whose passes are of other kinds were not told apart")
    ranks.close()


def example() -> dict[str, Any]:
    """Tensors of which some ranks hold nothing."""
    shapes = ((5, 3), (1,), (7,), (2, 2))
    moments = [torch.arange(math.prod(shape), dtype=torch.float32).view(shape) for shape in shapes]
    moments.append(torch.arange(6.0).to(torch.bfloat16))
    return {"moments": moments, "steps": 3, "plain": torch.ones(2), "betas": (0.9, 0.999)}


def begin(target: Path, words: list[str]) -> None:
    """Make a warm start."""
    config = load_config(None, words)
    ranks = from_environment(config.parallel)
    build_start(config, target, ranks=ranks)
    ranks.close()


def die(place: str, rank: str, call: str) -> None:
    """Kill this process, if it is that rank, in that call of what is done in a place; in saving, with the weights written."""
    owner, name = {
        "collecting": (EpisodeRunner, "_finish"),
        "learning": (Learner, "_step"),
        "saving": (Policy, "save"),
    }[place]
    does, calls = getattr(owner, name), itertools.count(1)

    def until(*args: Any, **more: Any) -> Any:
        is_last = os.environ["RANK"] == rank and next(calls) == int(call)
        if is_last and place != "saving":
            os.kill(os.getpid(), signal.SIGKILL)
        done = does(*args, **more)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(owner, name, until)


def run(folder: Path, iterations: int, *, shard: bool | None = None) -> None:
    """Train the run in a folder so far."""
    config = load_saved(folder / "config.toml")
    if shard is not None:
        config = override(config, parallel={"shard": shard})
    ranks = from_environment(config.parallel)
    train(override(config, run={"iterations": iterations}), folder, ranks=ranks)
    ranks.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if at := os.environ.get("DIE"):
        die(*at.split(":"))
    what, *args = sys.argv[1:]
    if what == "learn":
        learn(args[0], json.loads(args[1]), Path(args[2]), wrong="".join(args[3:]))
    elif what == "start":
        begin(Path(args[0]), json.loads(args[1]))
    elif what == "parts":
        parts(Path(args[0]), write="write" in args[1:])
    else:
        run(Path(args[0]), int(args[1]), shard=json.loads(args[2]) if args[2:] else None)
