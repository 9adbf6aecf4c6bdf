"""What a model that sees says it sees: the describing question on first states of held-out levels, line by line.

    python benchmarks/vision_sees.py MODEL RECIPE [--levels 128] [--thoughts] [--name vision_sees]

Greedy answers to `himac.train.describing.QUESTION`, or with `--thoughts` what the planner thinks before it plans (a model
that has learned to play no longer answers the question), compared with the world's own words: the share of levels of
which a line is right to the letter. Writes results/NAME.json.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import torch
from _machine import save

from himac.config import load_config
from himac.envs.base import Describes
from himac.rollout.evaluate import evaluate
from himac.train.components import Components
from himac.train.describing import QUESTION
from himac.types import Message, Request, Sampling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recipe")
    parser.add_argument("--levels", type=int, default=128)
    parser.add_argument("--thoughts", action="store_true", help="of the planner")
    parser.add_argument("--name", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = Components(load_config(Path(args.recipe)), args.model)
    env, chat = parts.env, parts.chat
    assert isinstance(env, Describes)
    tasks = env.tasks("val")[: args.levels]
    prompts, wanted = [], []
    for task in tasks:
        seen = parts.album.told(env.reset(task)).text
        prompts.append(chat.open((Message(role="user", content=f"{seen}{QUESTION}"),)))
        wanted.append(env.describe())
    if args.thoughts:
        _, episodes = evaluate(parts.collector, tasks, temperature=0.0, seed=0)
        answers = [
            e.planning.text.partition("</think>")[0].removeprefix("<think>") for e in episodes if e.planning
        ]
    else:
        asked = [Request(prompt=p, sampling=Sampling(max_tokens=200, temperature=0)) for p in prompts]
        answers = [chat.decode(done.ids) for done in parts.engine.generate(asked)]
    right: dict[str, list[bool]] = defaultdict(list)
    for answer, truth in zip(answers, wanted):
        said = dict(line.split(": ", 1) for line in answer.split("\n") if ": " in line)
        for line in truth.split("\n"):
            name, words = line.split(": ", 1)
            place, _, beside = words.partition(", ")
            found, _, found_beside = said.get(name, "").partition(", ")
            right[name].append(found == place)
            if beside:
                right[f"{name}, what lies beside"].append(found_beside == beside)
    shares = {name: sum(values) / len(values) for name, values in right.items()}
    for name, share in shares.items():
        print(f"{name:30} {share:6.1%}")
    if args.name:
        save(
            args.name,
            {"levels": args.levels, "asked": "thoughts" if args.thoughts else QUESTION, "right": shares},
        )


if __name__ == "__main__":
    main()
