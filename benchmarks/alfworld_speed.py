"""How fast and how small himac's ALFWorld is, beside the real engine in the same run.

    python benchmarks/alfworld_speed.py --data FOLDER_WITH_GAMES --python PYTHON_WITH_ALFWORLD

Measures steps with the admissible list (one environment, and 1,024 interleaved ones), the first load of a
game, resets, start-up, and the memory of 134 games with 1,024 live environments in a fresh process. The
real engine plays a sample of the same games with commands of the same walks. CPU seconds throughout, so
that a busy machine counts against neither side. Without --data, generated games are measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import save
from _textworld_reference import Reference

from himac.envs.alfworld.game import load_game
from himac.envs.alfworld.generate import write_games
from himac.envs.base import make_env

CLOCK = time.process_time


def walk(env: Any, task: Any, rng: random.Random, steps: int) -> tuple[list[str], int]:
    """Play a random walk; returns its commands and how many steps the environment took."""
    observation = env.reset(task)
    commands = []
    for _ in range(steps):
        commands.append(rng.choice(observation.admissible))
        result = env.step(commands[-1])
        observation = result.observation
        if result.terminated or result.truncated:
            break
    return commands, len(commands)


def steps_per_second(env: Any, tasks: list[Any]) -> float:
    """One environment, one episode after the other; each game was played once before."""
    rng = random.Random(0)
    walks = [walk(env, task, rng, 50)[0] for task in tasks]
    begin, steps = CLOCK(), 0
    for _ in range(3):
        for task, commands in zip(tasks, walks):
            env.reset(task)
            for command in commands:
                env.step(command)
            steps += len(commands)
    return steps / (CLOCK() - begin)


def interleaved_steps_per_second(path: Path, tasks: list[Any], number: int) -> float:
    """Many live environments, one step each in turn."""
    rng = random.Random(1)
    envs = [make_env("alfworld", path=path) for _ in range(number)]
    plays = [walk(env, tasks[i % len(tasks)], rng, 50)[0] for i, env in enumerate(envs)]
    for i, env in enumerate(envs):
        env.reset(tasks[i % len(tasks)])
    begin, steps = CLOCK(), 0
    for turn in range(20):
        for env, commands in zip(envs, plays):
            if turn < len(commands) - 1:
                env.step(commands[turn])
                steps += 1
    return steps / (CLOCK() - begin)


def memory(path: Path, split: str) -> float:
    """Resident MB of a fresh process with 134 games and 1,024 environments that have taken ten steps."""
    code = f"""
import random, resource
from himac.envs.base import make_env
rng = random.Random(0)
envs = [make_env("alfworld", path={str(path)!r}) for _ in range(1024)]
tasks = envs[0].tasks({split!r})[:134]
held = []
for i, env in enumerate(envs):
    observation = env.reset(tasks[i % len(tasks)])
    for _ in range(10):
        result = env.step(rng.choice(observation.admissible))
        observation = result.observation
        if result.terminated:
            break
    held.append(observation)
print(len(tasks), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[1])


def start_up(path: Path, copies: int) -> dict[str, float]:
    """Seconds until an environment on `copies` games is ready, without and with an index."""
    files = sorted(path.rglob("game.tw-pddl"))
    with tempfile.TemporaryDirectory() as name:
        for i in range(copies):
            home = Path(name) / "train" / f"{files[i % len(files)].parent.parent.name}-{i}" / "trial"
            home.mkdir(parents=True)
            os.symlink(files[i % len(files)], home / "game.tw-pddl")
        before = os.environ.get("HIMAC_CACHE")
        os.environ["HIMAC_CACHE"] = f"{name}/cache"
        try:
            times = []
            for _ in range(2):
                begin = CLOCK()
                assert len(make_env("alfworld", path=name).tasks("train")) == copies
                times.append(CLOCK() - begin)
        finally:
            os.environ.pop("HIMAC_CACHE")
            if before is not None:
                os.environ["HIMAC_CACHE"] = before
    return {"games": copies, "first_s": times[0], "with_index_s": times[1]}


def reference_speed(python: str, path: Path, tasks: list[Any], number: int) -> dict[str, float]:
    """Play some of the same games with the real engine."""
    env: Any = make_env("alfworld", path=path)
    reference = Reference(python)
    rng = random.Random(0)
    load_s = reset_s = step_s = 0.0
    steps = games = 0
    for task in tasks[:: max(1, len(tasks) // number)][:number]:
        commands, _ = walk(env, task, rng, 20)
        answer = reference.play(env.source.file(task.split, task.index), [commands])
        if "error" in answer:
            continue
        games += 1
        load_s += answer["load_s"]
        reset_s += answer["reset_s"]
        step_s += answer["step_s"]
        steps += len(commands)
    reference.close()
    return {
        "games": games,
        "steps_per_s": steps / step_s,
        "load_ms": 1e3 * load_s / games,
        "reset_ms": 1e3 * reset_s / games,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=None, help="folder with official games")
    parser.add_argument("--split", default="valid_seen")
    parser.add_argument("--python", default=os.environ.get("HIMAC_TEXTWORLD_PYTHON", ""), help="has alfworld")
    parser.add_argument("--reference-games", type=int, default=8)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.data
        if path is None:
            write_games(folder, 134, split=asked.split)
            path = Path(folder)
        found = measure(path, asked)
    save("alfworld_speed", found)
    print(json.dumps(found, indent=1))


def measure(path: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Take every measurement."""
    env: Any = make_env("alfworld", path=path)
    tasks = list(env.tasks(asked.split))[:134]
    loads = []
    for task in tasks:
        begin = CLOCK()
        load_game(env.source.file(task.split, task.index))
        loads.append(CLOCK() - begin)
    for task in tasks:
        env.reset(task)
    begin = CLOCK()
    for task in tasks:
        env.reset(task)
    reset_s = (CLOCK() - begin) / len(tasks)
    found: dict[str, Any] = {
        "games": str(asked.data and "official") + f", {asked.split}, {len(tasks)}",
        "steps_per_s": steps_per_second(env, tasks),
        "steps_per_s_1024_interleaved": interleaved_steps_per_second(path, tasks, 1024),
        "load_ms": {"first": 1e3 * loads[0], "mean": 1e3 * sum(loads) / len(loads), "max": 1e3 * max(loads)},
        "reset_ms": 1e3 * reset_s,
        "memory_mb_134_games_1024_envs": memory(path, asked.split),
        "start_up": start_up(path, 3553),
    }
    if asked.python:
        real = reference_speed(asked.python, path, tasks, asked.reference_games)
        found["textworld"] = real
        found["ratios"] = {
            "steps": found["steps_per_s"] / real["steps_per_s"],
            "load_and_reset": (real["load_ms"] + real["reset_ms"])
            / (found["load_ms"]["mean"] + found["reset_ms"]),
            "reset": real["reset_ms"] / found["reset_ms"],
        }
    return found


if __name__ == "__main__":
    main()
