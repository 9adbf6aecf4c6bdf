"""How far each phase moves each role: the planner in phase A and, where something leaks, in phase B; the executor likewise.

    python benchmarks/phase_displacement.py src/himac/recipes/compare-alfworld-phases.toml runs/compare-alfworld-phases/starts

For every method and seed of the plan, some iterations from its start. Before the first and after every phase the same
episodes, greedy ones of the start, are scored again. A role's displacement in a phase is the root mean square change of
its tokens' log-probabilities, in nats. Writes results/phase_displacement.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import save

from himac.compare.comparison import planned_runs, read_comparison
from himac.config import override
from himac.learner.checkpoint import TrainState
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.rollout.evaluate import evaluate, subset
from himac.train.components import Components
from himac.train.rehearse import Noted
from himac.types import Episode


class Watch(Noted):
    """A log that scores the same tokens again after every phase, and an outside that does nothing."""

    def __init__(self, parts: Components, episodes: list[Episode]) -> None:
        super().__init__()
        self.parts = parts
        self.ids, self.masks, self.roles = [], [], []
        for episode in episodes:
            for turn in episode.turns:
                context = episode.contexts[turn.context]
                mask = np.zeros(turn.end, bool)
                mask[turn.start :] = True
                self.ids.append(context.ids[: turn.end])
                self.masks.append(mask)
                self.roles.append(turn.role)
        self.last = self.scored()
        self.moved: dict[str, list[float]] = {}

    @torch.no_grad()
    def scored(self) -> dict[str, np.ndarray]:
        """Return the log-probabilities of each role's tokens."""
        found: dict[str, np.ndarray] = {}
        for role in ("planner", "executor"):
            own = [i for i, r in enumerate(self.roles) if r == role]
            logps = []
            for batch in pack([self.ids[i] for i in own], max_tokens=8192):
                masks = [self.masks[i] for i in own]
                out = token_logps(self.parts.policy.model, batch, masks, temperature=1.0)
                logps.append(out.logps.numpy())
            found[role] = np.concatenate(logps)
        return found

    def phase(self, row: dict[str, Any], groups: Any, advantages: Any, chosen: Any = ()) -> None:
        now = self.scored()
        for role, logps in now.items():
            change = float(np.sqrt(np.mean((logps - self.last[role]) ** 2)))
            self.moved.setdefault(f"{role} in phase {row['phase']}", []).append(change)
        self.last = now


def displacement(config: Any, start: Path, iterations: int, tasks: int) -> dict[str, float]:
    """Return the mean displacement of each role in each phase."""
    parts = Components(override(config, eval={"every": 0}), start)
    parts.policy.freeze_reference()
    episodes = evaluate(parts.collector, subset(parts.env.tasks(config.eval.split), tasks), temperature=0.0)[
        1
    ]
    watch = Watch(parts, episodes)
    loop = parts.loop(parts.learner(), log=watch, outside=watch)
    state = TrainState()
    for _ in range(iterations):
        state = loop.iterate(state)
    parts.close()
    return {key: round(float(np.mean(values)), 4) for key, values in watch.moved.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("starts", type=Path)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--tasks", type=int, default=32)
    args = parser.parse_args()
    plan = read_comparison(args.plan)
    found: dict[str, dict[str, float]] = {}
    for run in planned_runs(plan, Path())[1]:
        start = args.starts / (run.needs or f"{run.environment}-{run.seed}") / "start"
        found[f"{run.method}-{run.seed}"] = displacement(run.config, start, args.iterations, args.tasks)
        print(f"{run.method}-{run.seed}", found[f"{run.method}-{run.seed}"], flush=True)
    save("phase_displacement", {"iterations": args.iterations, "tasks": args.tasks, "runs": found})


if __name__ == "__main__":
    main()
