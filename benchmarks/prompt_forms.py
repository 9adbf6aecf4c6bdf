"""How many of a real model's first answers can be read, with and without the answer's form at the end of the prompt.

    himac model fetch smollm2
    python benchmarks/prompt_forms.py models/smollm2 [--tasks 8] [--save]

Zero-shot: nothing was trained. A task gets one greedy answer and three sampled at temperature 1, as planner (a blueprint
with sub-goals, or none) and as executor under the world's example blueprint (an action or <sub_done>, or neither).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from _machine import save

from himac.agents.base import Assignment
from himac.agents.hierarchical import HierarchicalAgent
from himac.config import AgentConfig, ModelConfig
from himac.engines.transformers import TransformersEngine
from himac.envs.base import make_env
from himac.learner.policy import Policy
from himac.rollout.evaluate import subset
from himac.types import Blueprint, Request

WORLDS = ("toy", "sokoban", "alfworld")
SAMPLED = 3  # beside the greedy answer
SETTINGS = AgentConfig(planner_tokens=64, executor_tokens=24, max_subgoals=6)


def measure(
    policy: Policy, engine: TransformersEngine, world: str, prompts: str, num_tasks: int
) -> list[dict[str, str]]:
    """Return a row for each role: how many answers were readable, and how the first greedy one begins."""
    env = make_env(world)
    cfg = AgentConfig(
        planner_tokens=SETTINGS.planner_tokens,
        executor_tokens=SETTINGS.executor_tokens,
        max_subgoals=6,
        prompts=prompts,
    )
    plan = Blueprint(subgoals=env.spec.example_subgoals)
    found: list[dict[str, str]] = []
    for role, given in (("planner", None), ("executor", plan)):
        asked: list[tuple[HierarchicalAgent, Request, bool]] = []
        for task in subset(env.tasks("val" if "val" in env.spec.splits else env.spec.splits[-1]), num_tasks):
            seen = env.reset(task, seed=0)
            for number in range(1 + SAMPLED):
                heat = 1.0 if number else 0.0
                agent = HierarchicalAgent(
                    env.spec,
                    cfg,
                    Assignment(blueprint=given, planner_temperature=heat, executor_temperature=heat),
                )
                agent.start(seen)
                query = agent.ask()
                prompt = tuple(policy.chat.open(query.messages))
                request = Request(prompt=prompt, sampling=replace(query.sampling, seed=number))
                asked.append((agent, request, not number))
        answers = engine.generate([request for _, request, _ in asked])
        texts = [policy.chat.decode(answer.ids) for answer in answers]
        readable = [agent.receive(text).readable for (agent, _, _), text in zip(asked, texts, strict=True)]
        is_greedy = [first for _, _, first in asked]
        greedy = sum(r for r, first in zip(readable, is_greedy, strict=True) if first)
        sampled = sum(readable) - greedy
        found.append(
            {
                "role": role,
                "greedy": f"{greedy} of {num_tasks}",
                "sampled": f"{sampled} of {SAMPLED * num_tasks}",
                "first": " ".join(texts[0].split())[:80],
            }
        )
    env.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    policy = Policy.load(args.model, ModelConfig(), device=torch.device("cpu"))
    engine = TransformersEngine(policy.model, policy.tokenizer)
    began = time.time()
    rows = [
        {"world": world, "prompts": name or "terse", **row}
        for world in WORLDS
        for name in ("", "full")
        for row in measure(policy, engine, world, name, args.tasks)
    ]
    result = {
        "model": Path(args.model).name,
        "tasks": args.tasks,
        "rows": rows,
        "seconds": round(time.time() - began, 1),
    }
    for row in rows:
        print("  ".join(f"{value:<9}" for value in list(row.values())[:5]))
    if args.save:
        save("prompt_forms", result)


if __name__ == "__main__":
    main()
