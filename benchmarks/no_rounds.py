"""Collection without rounds: each episode's next turn as soon as its own answer is there, against batches of turns.

    python benchmarks/no_rounds.py [--groups 12] [--places 32] [--repetitions 2] [--run runs/NAME]

The same engine plays the same made-up episodes (groups of 8 with a common prompt, ten turns) twice: in rounds, where
`generate` is asked for everybody's next answer at once, and without, by `submit` and `step`. Lengths of answers: "short"
5 to 20 tokens, "thoughts" 10 to 500, evenly on a logarithmic scale, as the lengths of thoughts are skewed; each answer is
as long in both. Given a run of recipes/demo.toml, also what phase A and phase B of an iteration collect from its start.
Times are CPU seconds of the process, one thread; ways alternate, and the best of the repetitions counts.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _episodes import NoTokenizer, Workload, model_of, workload
from _machine import save
from transformers import AutoModelForCausalLM

from himac.engines.base import InRounds
from himac.engines.transformers import TransformersEngine
from himac.rollout.collect import EpisodeRunner
from himac.runs.formats import load_saved
from himac.train.components import Components
from himac.types import PhaseSpec, Request, Sampling

KINDS = {"short": (5, 20), "thoughts": (10, 500)}


def request(work: Workload, episode: int, turn: int, context: np.ndarray) -> Request:
    """Return what an episode asks at a turn."""
    length = int(work.turn_lengths[episode, turn])
    return Request(prompt=context, sampling=Sampling(max_tokens=length, seed=turn * 999 + episode))


def play(
    model: torch.nn.Module, work: Workload, *, places: int, rounds: bool
) -> tuple[float, list[tuple[int, ...]]]:
    """Play the episodes with a fresh engine; return (CPU seconds, each episode's last answer)."""
    engine = TransformersEngine(model, NoTokenizer(), max_batch=places)
    stepping = InRounds(engine) if rounds else engine
    contexts, turns = [prompt.copy() for prompt in work.prompts], work.turn_lengths.shape[1]
    last: list[tuple[int, ...]] = [()] * len(contexts)
    began = time.process_time()
    pending = deque(range(len(contexts)))
    of: dict[int, tuple[int, int]] = {}
    while pending or of:
        while pending and len(of) < places:
            i = pending.popleft()
            of[stepping.submit(request(work, i, 0, contexts[i]))] = (i, 0)
        for ticket, answer in stepping.step():
            i, turn = of.pop(ticket)
            contexts[i] = np.concatenate([contexts[i], answer.ids, work.observations[i][turn]])
            last[i] = tuple(answer.ids)
            if turn + 1 < turns:
                of[stepping.submit(request(work, i, turn + 1, contexts[i]))] = (i, turn + 1)
    return time.process_time() - began, last


def collect(run: Path, *, rounds: bool) -> tuple[float, int]:
    """Collect an iteration's worth of joint episodes from a run's start; return (CPU seconds, sampled tokens)."""
    config = load_saved(run / "config.toml")
    parts = Components(config, run / "start")
    runner: EpisodeRunner = parts.collector.runner
    if rounds:
        runner._engine = InRounds(runner._engine)
    phase = PhaseSpec(name="joint", roles=("planner", "executor"), temperature=0.7)
    began = time.process_time()
    groups = parts.collector.collect(phase, parts.env.tasks("train")[: config.rollout.tasks])
    return time.process_time() - began, sum(e.tokens for group in groups for e in group)


def both(measure: Callable[[bool], float], repetitions: int) -> dict[str, float]:
    """Measure both ways in turn; return the best seconds of each and their ratio."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(repetitions):
        for rounds in (True, False):
            seconds[rounds].append(measure(rounds))
    with_, without = min(seconds[True]), min(seconds[False])
    return {"rounds_s": with_, "no_rounds_s": without, "ratio": with_ / without}


def real(folder: Path) -> torch.nn.Module:
    """Load a model that never ends an answer by itself, so that lengths are those asked for."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    return model


def compare(
    kind: str, name: str, model: torch.nn.Module, sampled: tuple[int, int], args: argparse.Namespace
) -> dict[str, Any]:
    """Compare the two ways on one kind of work."""
    episodes = args.groups * 8
    work = workload(
        model.config.vocab_size, groups=args.groups, peers=8, turns=args.turns, prompt=(200, 300), sampled=sampled,
        observed=45,
    )  # fmt: skip
    if kind == "thoughts":
        logs = np.random.default_rng(1).uniform(*np.log(sampled), work.turn_lengths.shape)
        work.turn_lengths[:] = np.exp(logs).round()
    answers: dict[bool, list[tuple[int, ...]]] = {}

    def measure(rounds: bool) -> float:
        seconds, answers[rounds] = play(model, work, places=args.places, rounds=rounds)
        return seconds

    row = {"work": kind, "model": name, "episodes": episodes, "places": min(args.places, episodes)}
    row |= both(measure, args.repetitions)
    same = np.mean([a == b for a, b in zip(answers[True], answers[False], strict=True)])
    return row | {"tokens": int(work.turn_lengths.sum()), "same_last_answers": float(same)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--groups", type=int, default=12, help="groups of 8")
    parser.add_argument("--places", type=int, default=32, help="episodes in flight")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument(
        "--models", nargs="+", default=["1m", "5m"], help="sizes made up, or folders of real models"
    )
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--name", default="no_rounds", help="of the result's file")
    parser.add_argument("--run", type=Path, help="a run of recipes/demo.toml")
    parser.add_argument("--quick", action="store_true", help="do not save")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for kind in args.kinds:
        sampled = KINDS[kind]
        for name in args.models:
            model = real(Path(name)) if Path(name).is_dir() else model_of(name)
            row = compare(kind, Path(name).name, model, sampled, args)
            results.append(row)
            print(row, flush=True)
    if args.run:
        tokens = 0

        def iteration(rounds: bool) -> float:
            nonlocal tokens
            seconds, tokens = collect(args.run, rounds=rounds)
            return seconds

        row = {
            "work": "demo iteration",
            "model": "tiny",
            **both(iteration, args.repetitions),
            "tokens": tokens,
        }
        results.append(row)
        print(row)
    if not args.quick:
        save(args.name, {"results": results})


if __name__ == "__main__":
    main()
