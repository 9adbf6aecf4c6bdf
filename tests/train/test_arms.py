"""Arms of a comparison that differ in credit alone: one stream, a frozen planner."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from looping import Groups

from himac.agents.base import Assignment
from himac.agents.one_stream import OneStreamAgent
from himac.config import AgentConfig, Config, override
from himac.engines.base import InRounds
from himac.envs.base import make_env, make_expert
from himac.errors import ConfigError
from himac.learner.checkpoint import TrainState
from himac.testing import ScriptedEngine
from himac.train.checks import check
from himac.train.components import Components
from himac.train.warm_start import demo_samples, script
from himac.types import Demonstration, Observation, StepResult

BLUEPRINT = "<blueprint>\n1. get the red key\n2. open the red door\n</blueprint>"


def _result(text: str) -> StepResult:
    return StepResult(
        observation=Observation(text=text), reward=0.0, terminated=False, truncated=False, success=False, score=0.0, valid=True
    )  # fmt: skip


def test_the_stream_asks_for_a_blueprint_first_and_goes_on_in_the_same_context() -> None:
    env = make_env("toy", doors=1)
    cfg = AgentConfig(think=False, subgoal_turns=2)
    agent = OneStreamAgent(env.spec, cfg, Assignment(executor_temperature=0.7))
    agent.start(Observation(text="ROOM", admissible=("go",)))
    first = agent.ask()
    assert (first.role, first.fresh, first.sampling.temperature) == ("executor", True, 0.7)
    assert first.messages[1].content == "Task: take the treasure\nROOM"
    assert "First break the task" in first.messages[0].content and "<sub_done>" in first.messages[0].content
    assert agent.receive(BLUEPRINT).blueprint is not None

    def said() -> str:
        query = agent.ask()
        assert (query.role, query.fresh, query.sampling.temperature) == ("executor", False, 0.7)
        return query.messages[-1].content

    plan = "Blueprint:\n1. get the red key{}\n2. open the red door\nCurrent sub-goal: {}"
    assert said() == plan.format("", "get the red key") + "\n\nAdmissible actions: go"
    assert agent.receive("<action>go</action>").action == "go"
    agent.observe(_result("SECOND"))
    assert said() == "SECOND"
    assert agent.receive("<sub_done>").sub_done
    assert said() == plan.format(" (done)", "open the red door")  # SECOND stands in the stream already
    agent.receive("<action>go</action>")
    agent.observe(_result("THIRD"))
    assert said() == "THIRD"
    agent.receive("<action>go</action>")
    agent.observe(_result("FOURTH"))  # its budget of turns is spent by an action whose answer nobody has seen
    assert said().endswith("2. open the red door (not finished)\nCurrent sub-goal: finish the task\n\nFOURTH")


def test_credit_reaches_every_token_of_the_stream_alike(
    toy_config: Config, tmp_path: Path, start: Path
) -> None:
    """The blueprint's tokens and the actions' of an episode have one advantage and one weight."""
    config = override(toy_config, algo={"method": "one-stream", "estimator": "group_mean", "kl_coef": 0.0})
    parts = Components(config, start)
    parts.policy.freeze_reference()
    lengths = itertools.cycle([1, 2, 3, 1, 2])

    def answer(prompt: str) -> str:
        if "Current sub-goal" in prompt:
            return "<action>go to nowhere</action>"
        return "\n".join(
            ["<blueprint>", *(f"{n}. wait" for n in range(1, next(lengths) + 1)), "</blueprint>"]
        )

    parts.collector.runner._engine = InRounds(ScriptedEngine(parts.chat.tokenizer, answer))  # type: ignore
    taught = list[Any]()
    learner, log = parts.learner(), Groups()
    update = learner.update
    learner.update = lambda samples, phase, **k: (
        taught.append((samples, phase)) or update(samples, phase, **k)
    )  # type: ignore
    parts.loop(learner, log=log, outside=log).iterate(TrainState())
    assert [phase.name for _, phase in taught] == ["flat"] and len(log.groups) == 1
    episodes = [e for group in log.groups[0] for e in group]
    for episode in episodes:
        assert episode.planning is not None and episode.planning.role == "executor"
        assert len(episode.contexts) == 1 and len(episode.turns) > 2
    (samples, _) = taught[0]
    for sample in samples:
        assert len({float(a) for a in sample.advantages[sample.mask]}) == 1
        assert len({float(w) for w in sample.weights[sample.mask]}) == 1
        size = len(sample.ids)
        episode = next(e for e in episodes if np.array_equal(e.contexts[0].ids[:size], sample.ids))
        assert episode.planning is not None
        spoken = np.zeros(len(sample.ids), bool)
        for turn in episode.turns:
            spoken[turn.start : turn.end] = True
        assert np.array_equal(spoken, sample.mask) and sample.mask[episode.planning.start]


def test_its_demonstrations_are_the_hierarchical_ones_in_one_context(toy_config: Config, start: Path) -> None:
    parts = Components(toy_config, start)
    env = make_env("toy", doors=1)
    demo = make_expert("toy", env).demonstrate(env.tasks("train")[0], seed=0, noise=0.0)
    assert isinstance(demo, Demonstration)
    sft = override(toy_config, sft={"style": "stream"}).sft
    (one,) = demo_samples([demo], env, parts.chat, sft=sft, agent=toy_config.agent)
    assert len(one) == 1 and one[0].role == "executor"
    said = parts.chat.decode(one[0].ids[one[0].mask].tolist())
    for text, imitated in script(demo, flat=False):
        assert imitated and all(word in said for word in text.split())
    assert said.index("<blueprint>") < said.index("<action>") < said.index("<sub_done>")


def test_with_a_frozen_planner_only_the_executor_takes_steps(toy_config: Config, start: Path) -> None:
    config = override(toy_config, algo={"epochs": [0, 1], "entropy_coef": 0.01})
    parts = Components(config, start)
    parts.policy.freeze_reference()
    turn = itertools.count()

    def answer(prompt: str) -> str:
        plans = (
            "<blueprint>\n"
            + "\n".join(f"{i + 1}. wait" for i in range(1 + next(turn) % 3))
            + "\n</blueprint>"
        )
        return plans if "You plan." in prompt else "gibberish"

    parts.collector.runner._engine = InRounds(ScriptedEngine(parts.chat.tokenizer, answer))  # type: ignore
    learner, log = parts.learner(), Groups()
    steps: dict[str, bool] = {}
    update = learner.update

    def watched(samples: Any, phase: Any, **k: Any) -> Any:
        held = [p.detach().clone() for p in parts.policy.model.parameters()]
        found = update(samples, phase, **k)
        steps[phase.name] = any(not torch.equal(a, b) for a, b in zip(held, parts.policy.model.parameters()))
        return found

    learner.update = watched  # type: ignore[method-assign]
    parts.loop(learner, log=log, outside=log).iterate(TrainState())
    assert steps == {"planner": False, "executor": True}


@pytest.mark.parametrize("context", ["step", "full", "carry"])
def test_a_stream_has_no_other_context(toy_config: Config, context: str) -> None:
    with pytest.raises(ConfigError, match="its context is the whole stream"):
        check(override(toy_config, algo={"method": "one-stream"}, agent={"context": context}))
