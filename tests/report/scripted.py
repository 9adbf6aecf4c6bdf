"""Runs whose episodes come from the real collector and a scripted model: real files, no learning."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from himac.agents.hierarchical import HierarchicalAgent
from himac.algo.group import GroupRelative
from himac.chat import ChatFormat
from himac.config import load_config, to_toml
from himac.envs.base import make_env
from himac.images import Album
from himac.models.tiny import build_tokenizer
from himac.rollout.collect import EpisodeRunner
from himac.rollout.evaluate import evaluate
from himac.rollout.phases import LocalCollector, choose, phases_of
from himac.rollout.summary import summarise
from himac.runs.console import Silent
from himac.runs.folder import CONFIG, RunWriter
from himac.runs.log import RunLog
from himac.testing import ScriptedEngine

HOSTILE = (
    "<script>window.pwned=1</script>",
    '<img src=x onerror="window.pwned=1">',
    "</script><script>window.pwned=1</script>",
    "<!--<script>",
    "javascript:window.pwned=1",
    "\u2028\u2029 ${window.pwned=1} {{SCRIPT}} \x1b[2J",
)

HOUSEHOLD = {"path": "generated", "games": 60, "receptacles": 9, "objects": 14, "max_steps": 40}
"""Settings of a small ALFWorld."""


def player(seed: int, actions: tuple[str, ...], hostile: bool = False) -> Callable[[str], str]:
    """A model that plans and acts at random, with thoughts, endings and, if asked, hostile words."""
    rng = random.Random(seed)

    def answer(prompt: str) -> str:
        evil = rng.choice(HOSTILE) if hostile else "ahead"
        if "You plan." in prompt:
            return f"<blueprint>\n1. go {rng.choice(actions)} {evil}\n2. finish {rng.randint(0, 9)}\n</blueprint>"
        if rng.random() < 0.2:
            return "<sub_done>"
        return f"<think>It lies {evil}</think><action>{rng.choice([*actions, evil])}</action>"

    return answer


def resident(seed: int) -> Callable[[str], str]:
    """A model that lives in a household: it uses what it can, carries things about and opens what is closed."""
    changes, moves = (
        ("heat ", "cool ", "clean ", "slice ", "use "),
        ("take ", "move ", "put ", "open ", "close "),
    )
    likes = ((changes, 0.7), (moves, 0.6), (("go to ",), 0.8))
    return _chooser(seed, likes, "look around", "carry things about")


def buyer(seed: int) -> Callable[[str], str]:
    """A model that searches, opens products, chooses options and buys in the end."""
    return _chooser(seed, ((("search[",), 0.6), (("click[",), 0.9)), "find it", "buy it")


def _chooser(seed: int, likes: tuple[tuple[tuple[str, ...], float], ...], *plan: str) -> Callable[[str], str]:
    """A model that picks among the admissible actions of its prompt: the kinds it likes, each so often, in turn."""
    rng = random.Random(seed)

    def answer(prompt: str) -> str:
        if "You plan." in prompt:
            lines = "\n".join(f"{number}. {subgoal}" for number, subgoal in enumerate(plan, 1))
            return f"<blueprint>\n{lines}\n</blueprint>"
        if rng.random() < 0.05:
            return rng.choice(("<sub_done>", "<action>fly to the moon</action>"))
        commands = prompt.rpartition("Admissible actions: ")[2].partition("<|im_end|>")[0].strip().split(", ")
        for kind, often in likes:
            liked = [c for c in commands if c.startswith(kind)]
            if liked and rng.random() < often:
                commands = liked
                break
        return f"<action>{rng.choice(commands).replace('<your query>', 'protein bars')}</action>"

    return answer


def write_run(
    folder: Path, *, env: tuple[str, ...] = ("env=sokoban", "env.size=[6,6]", "env.boxes=1"),
    actions: tuple[str, ...] = ("up", "down", "left", "right"), iterations: int = 2, tasks: int = 2,
    hostile: bool = False, seed: int = 0, model: Callable[[str], str] | None = None,
) -> Path:  # fmt: skip
    """Write a run as `himac train` would: config, tokenizer, metrics and episodes of both phases."""
    words = [
        "agent.max_steps=10",
        "agent.subgoal_turns=4",
        "agent.executor_tokens=200",
        "model.max_prompt=8000",
    ]
    words += [
        "rollout.group_size=4",
        "rollout.executor_group_size=3",
        f"run.seed={seed}",
        f"run.iterations={iterations}",
        *env,
    ]
    config = load_config(None, words)
    make = lambda: make_env(config.env.name, **config.env.settings)  # noqa: E731
    world = make()
    tokenizer = build_tokenizer(["go up down left right ahead finish It lies", *HOSTILE], vocab=400)
    tokenizer.save_pretrained(folder / "start")
    engine = ScriptedEngine(tokenizer, model or player(seed, actions, hostile), end_id=tokenizer.eos_token_id)
    album = Album()
    runner = EpisodeRunner(
        make, engine, chat=ChatFormat(tokenizer), cfg=config.agent, max_prompt=8000, album=album
    )
    collector = LocalCollector(
        runner,
        world.spec,
        HierarchicalAgent,
        agent=config.agent,
        rollout=config.rollout,
        seed=config.run.seed,
    )
    exploring, acting = phases_of(config.algo, config.rollout, plans=True)
    split = next(name for name in world.spec.splits if name != world.spec.train_split)
    writer = RunWriter(folder, album=album)
    (folder / CONFIG).write_text(to_toml(config), encoding="utf-8")
    log = RunLog(writer, Silent(), iterations=iterations)
    problems = world.tasks(world.spec.train_split)
    _evaluate(collector, world.tasks(split)[:5], log, 0)
    for step in range(iterations):
        of_step = problems[step * tasks : (step + 1) * tasks]
        explored = collector.collect(exploring, of_step, iteration=step)
        chosen = choose(explored, select="best", seed=step)
        _tell(log, collector, step, "planner", explored, chosen)
        plans = [group[index].blueprint for group, index in zip(explored, chosen)]
        executed = collector.collect(acting, of_step, blueprints=[p for p in plans if p], iteration=step)
        _tell(log, collector, step, "executor", executed, [])
    _evaluate(collector, world.tasks(split)[:5], log, iterations)
    log.close()
    return folder


def _tell(
    log: RunLog, collector: LocalCollector, step: int, phase: Any, groups: Any, chosen: list[int]
) -> None:
    clock = collector.clock()
    row = {"iteration": step + 1, "phase": phase, **summarise([e for g in groups for e in g])}
    row |= {"collect_s": clock.total_s, "generate_s": clock.generate_s, "env_s": clock.env_s, "learn_s": 0.0}
    advantages = GroupRelative()(groups, phase)
    log.phase(row, groups, {phase: advantages}, chosen)


def _evaluate(collector: LocalCollector, tasks: Any, log: RunLog, iteration: int) -> None:
    summary, episodes = evaluate(collector, tasks, temperature=0.0)
    log.evaluation({"iteration": iteration, "phase": "eval", "split": tasks[0].split, **summary}, episodes)
