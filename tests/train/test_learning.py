"""Each RL method learns: from the same half-taught model to 90 % of a dozen toy houses.

A test of learning and not of generalisation: it is judged, greedily, on the twelve houses that it trains on. The warm start
stops early on purpose. What each method needed is printed (`pytest -m learning -s`).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Quiet
from himac.config import Config, load_config, override
from himac.envs.base import make_expert
from himac.learner.checkpoint import Progress
from himac.models.load import save_model
from himac.models.tiny import build_tiny
from himac.rollout.evaluate import evaluate
from himac.rollout.phases import Phases
from himac.train.coevolve import Loop
from himac.train.components import Workbench, build_env
from himac.train.warm_start import demo_samples, demo_texts, demonstrations, warm_start

pytestmark = pytest.mark.learning

WORDS = [
    "env=toy", "env.doors=1", "env.max_steps=10", "env.train=12", "model=tiny", "model.tiny_hidden=64", "model.tiny_layers=2",
    "model.tiny_vocab=400", "agent.macro_tokens=48", "agent.micro_tokens=10", "agent.max_subgoals=4", "agent.subgoal_turns=5",
    "rollout.tasks=12", "rollout.group_size=6", "rollout.micro_group_size=6", "rollout.temperature=0.8",
    "algo.micro_updates=2", "algo.kl_coef=0", "optim.lr=1e-3", "optim.warmup=3", "optim.betas=[0.9, 0.99]",
    "optim.weight_decay=0", "sft.demonstrations=480", "sft.batch=4", "sft.lr=4e-3",
]  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "himac": {},
    "grpo": {"method": "flat"},
    "rloo": {"method": "flat", "estimator": "rloo"},
    "gigpo": {"method": "flat", "estimator": "gigpo"},
    "ppo": {"method": "flat", "estimator": "ppo"},
}
MAX_ITERATIONS, TARGET = 24, 0.9


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(None, WORDS)


@pytest.fixture(scope="module")
def half_taught(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model taught until both agents solve a third of the houses: some sixty steps, then a dozen at a time."""
    began, folder = time.process_time(), tmp_path_factory.mktemp("learning") / "start"
    env = build_env(config)
    demos = demonstrations(config, env, make_expert("toy", env))
    build_tiny(folder, demo_texts(config, demos, env), hidden=64, layers=2, vocab=400, seed=1)
    bench = Workbench(config, folder)
    learner, samples = bench.learner(), demo_samples(config, demos, env, bench.policy.chat)
    reached: list[tuple[float, ...]] = []
    for first in (0, *range(160, len(samples), 32)):
        warm_start(config, learner, samples[first : 160 if not first else first + 32])
        bench.refresh(learner.num_steps)
        reached.append(tuple(_greedy(bench, method) for method in ("himac", "flat")))
        if min(reached[-1]) >= 1 / 3:
            break
    save_model(bench.policy.model, bench.policy.tokenizer, folder)
    told = " ".join(f"{himac:.2f}/{flat:.2f}" for himac, flat in reached)
    print(f"\nwarm start: {told} after {learner.num_steps} steps, {time.process_time() - began:.0f} s")
    return folder


def _greedy(bench: Workbench, method: str) -> float:
    """Greedy success on the houses trained on."""
    phases = Phases(override(bench.config, algo={"method": method}), bench.env.spec, bench.collector)
    return float(evaluate(phases, bench.env.tasks("train"), temperature=0.0)[0]["success"])


@pytest.mark.parametrize("method", METHODS)
def test_the_method_reaches_90_percent_from_its_warm_start(
    config: Config, half_taught: Path, method: str
) -> None:
    bench = Workbench(override(config, algo=METHODS[method]), half_taught)
    houses = bench.env.tasks("train")
    loop = Loop(config=bench.config, bench=bench, learner=bench.learner(), tasks=houses, log=Quiet())  # type: ignore[arg-type]

    agent = bench.config.algo.method
    began, progress, curve = time.process_time(), Progress(), [_greedy(bench, agent)]
    while progress.iteration < MAX_ITERATIONS and curve[-1] < TARGET:
        progress = loop.iterate(loop.iterate(progress))
        curve.append(_greedy(bench, agent))
    told = " ".join(f"{success:.2f}" for success in curve)
    print(f"\n{method}: {told} in {progress.iteration} iterations, {time.process_time() - began:.0f} s")
    assert curve[0] <= 0.8, "the warm start leaves too little to learn"
    assert curve[-1] >= TARGET, told
