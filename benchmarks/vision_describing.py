"""What a tiny model sees after so many pictures, and whether it matters what a description says first: it does not.

    python benchmarks/vision_describing.py [--seeds 0 1 2] [--pictures 8000] [--demonstrations 1200]

For each seed and each order of lines (the world's own, with targets first, and with targets behind everything else) a tiny
model of recipes/sokoban-vision-demo.toml is built and describes pictures, and is then asked about 128 held-out levels: the share of which a line is right to
the letter. Writes results/vision_describing.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _machine import save

from himac.config import Config, load_config, override, vision_settings
from himac.envs.base import make_expert
from himac.envs.sokoban.env import SokobanEnv
from himac.models.tiny import TinyShape, build_tiny
from himac.train.components import Components, build_env
from himac.train.describing import QUESTION, describe
from himac.train.warm_start import demo_texts, demonstrations
from himac.types import Message, Request, Sampling

RECIPE = "sokoban-vision-demo"


def last(text: str) -> str:
    """Put a description's targets behind everything else."""
    lines = text.split("\n")
    return "\n".join(sorted(lines, key=lambda line: line.startswith("target")))


def seen(parts: Components, order: Callable[[str], str]) -> dict[str, float]:
    """Ask about held-out levels; return the share of right lines, by what they are about."""
    env: Any = parts.env
    prompts, wanted = [], []
    for task in env.tasks("val")[:128]:
        tag = parts.album.told(env.reset(task)).text
        prompts.append(parts.chat.open((Message(role="user", content=f"{tag}{QUESTION}"),)))
        wanted.append(order(env.describe()))
    asked = [Request(prompt=prompt, sampling=Sampling(max_tokens=200, temperature=0)) for prompt in prompts]
    right: dict[str, list[bool]] = defaultdict(list)
    for answer, truth in zip(parts.engine.generate(asked), wanted):
        said = dict(line.split(": ", 1) for line in parts.chat.decode(answer.ids).split("\n") if ": " in line)
        for line in truth.split("\n"):
            name, words = line.split(": ", 1)
            right[name].append(said.get(name, "").split(", ")[0] == words.split(", ")[0])
    return {name: sum(values) / len(values) for name, values in right.items()}


def one(config: Config, seed: int, order: Callable[[str], str]) -> dict[str, Any]:
    """Build a model, let it describe, ask it."""
    own = SokobanEnv.describe
    SokobanEnv.describe = lambda self, *, brief=False: order(own(self, brief=brief))  # type: ignore[method-assign]
    try:
        env = build_env(config)
        expert = make_expert("sokoban", env)
        demos = demonstrations(env, expert, config.sft, split="train", seed=seed)
        hidden, layers, vocab = config.model.tiny
        with tempfile.TemporaryDirectory() as folder:
            texts = demo_texts(demos, env, sft=config.sft, agent=config.agent)
            shape, eyes = TinyShape(hidden=hidden, layers=layers), vision_settings(config.model.vision)
            build_tiny(folder, texts, shape, vocab=vocab, seed=seed + 1, vision=eyes)
            parts = Components(config, folder)
            began = time.process_time()
            describe(parts.learner(), demos, env, parts.chat, parts.album, config.sft, seed=seed)
            spent = time.process_time() - began
            return {"seed": seed, "processor_s": spent, "right": seen(parts, lambda text: text)}
    finally:
        SokobanEnv.describe = own  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pictures", type=int, default=8000)
    parser.add_argument("--demonstrations", type=int, default=1200)
    parser.add_argument("--quick", action="store_true", help="do not save")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sft = {"describe": args.pictures, "demonstrations": args.demonstrations}
    config = override(load_config(Path(RECIPE)), sft=sft)
    results = []
    for name, order in (("targets first", lambda text: text), ("targets last", last)):
        for seed in args.seeds:
            results.append({"order": name, **one(config, seed, order)})
            print(results[-1], flush=True)
    if not args.quick:
        save("vision_describing", {**sft, "results": results})


if __name__ == "__main__":
    main()
