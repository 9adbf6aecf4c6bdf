"""Does it look? A model that plays from pictures, on held-out levels with their own pictures and with those of other levels.

    python benchmarks/vision_control.py MODEL RECIPE [--split val] [--tasks 256] [--name vision_control]

The second time every observation shows the start of another level of the split, always the same one for a level: as many
pictures, of the same kind, that say nothing. Greedy. Writes results/NAME.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import save
from _runs import outcome

from himac.config import load_config
from himac.envs.sokoban import images
from himac.rollout.evaluate import evaluate
from himac.train.components import Components


def success(config: Any, model: str, split: str, tasks: int) -> dict[str, Any]:
    """Return an evaluation's numbers."""
    parts = Components(config, model)
    row, _ = evaluate(parts.collector, parts.env.tasks(split)[:tasks], temperature=0.0, seed=0)
    parts.close()
    return outcome(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--tasks", type=int, default=256)
    parser.add_argument("--method", default="himac")
    parser.add_argument("--name", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(args.recipe, [f"method={args.method}"])
    own = success(config, args.model, args.split, args.tasks)
    print("own pictures", own, flush=True)
    parts = Components(config, args.model)
    env: Any = parts.env
    levels = [env.level(task) for task in env.tasks(args.split)[: args.tasks]]
    other = dict(zip(levels, np.roll(np.arange(len(levels)), len(levels) // 2).tolist()))
    drawn = images.draw

    def draw(level: Any, state: Any, cell_pixels: int = images.TILE) -> np.ndarray:
        shown = levels[other[level]]
        return drawn(shown, shown.start, cell_pixels)

    images.draw = draw
    try:
        shuffled = success(config, args.model, args.split, args.tasks)
    finally:
        images.draw = drawn
    print("other levels' pictures", shuffled)
    if args.name:
        save(args.name, {"method": args.method, "split": args.split, "own": own, "shuffled": shuffled})


if __name__ == "__main__":
    main()
