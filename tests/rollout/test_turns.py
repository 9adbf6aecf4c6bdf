"""What a turn remembers for credit: its reward, its cost, the state it was taken in, a critic's opinion."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.algo.base import rewards_of
from himac.chat import ChatFormat
from himac.config import AgentConfig
from himac.envs.base import Env, make_env
from himac.learner.samples import fill_values, to_samples
from himac.rollout.collect import EpisodeRunner
from himac.rollout.episode import Job
from himac.testing import ScriptedEngine
from himac.types import Episode, Sample

PLAN = "<blueprint>\n1. first\n2. second\n</blueprint>"


def _collect(
    tokenizer: Any,
    chat: ChatFormat,
    answer: Callable[[str], str],
    *,
    flat: bool = False,
    jobs: int = 1,
    **kwargs: Any,
) -> list[Episode]:
    env: Env = make_env("toy", doors=1)
    cfg = AgentConfig(max_steps=12, subgoal_turns=3, invalid_penalty=(0.25, 0.5), malformed_penalty=0.2)
    runner = EpisodeRunner(
        lambda: make_env("toy", doors=1), ScriptedEngine(tokenizer, answer, end_id=tokenizer.eos_token_id),
        chat=chat, cfg=cfg, max_prompt=8000,
    )  # fmt: skip
    agents = [
        FlatAgent(env.spec, cfg) if flat
        else HierarchicalAgent(env.spec, cfg)
        for _ in range(jobs)
    ]  # fmt: skip
    task = env.tasks("train")[0]
    return runner.run([Job(task=task, replica=i, agent=a, seed=i) for i, a in enumerate(agents)], **kwargs)


@pytest.mark.parametrize("seed", range(5))
def test_the_turns_rewards_less_their_penalties_are_the_return(
    tokenizer: Any, chat: ChatFormat, seed: int
) -> None:
    rng = random.Random(seed)
    rooms = ("hall", "kitchen", "library", "garden", "cellar", "attic", "study", "tower", "barn", "porch")
    words = ["gibberish", "<sub_done>", *(f"<action>go to {room}</action>" for room in rooms)]

    def answer(prompt: str) -> str:
        return rng.choice([PLAN, "no plan at all"]) if "You plan." in prompt else rng.choice(words)

    (episode,) = _collect(tokenizer, chat, answer)
    assert episode.penalty > 0
    assert sum(t.reward - t.penalty for t in episode.turns) == pytest.approx(episode.return_)
    own = rewards_of(episode, "executor")
    assert len(own) == sum(t.role == "executor" for t in episode.turns)
    assert own.sum() - (episode.planning.penalty if episode.planning else 0) == pytest.approx(episode.return_)


def test_a_state_has_one_name_however_it_was_reached_and_whatever_was_tried_in_it(
    tokenizer: Any, chat: ChatFormat
) -> None:
    env = make_env("toy", doors=1)
    first = env.reset(env.tasks("train")[0])
    here = first.text.split("You are in ")[1].split(".")[0]
    there = next(a for a in first.admissible or () if a.startswith("go to "))
    lines = iter([there, "fly away", f"go to {here}", "fly away", there, *["wait"] * 20])
    (episode,) = _collect(tokenizer, chat, lambda _: f"<action>{next(lines)}</action>", flat=True)
    keys = [turn.state_key for turn in episode.turns[:6]]
    assert keys[0] == keys[3] == keys[4] and keys[1] == keys[2] == keys[5]
    assert keys[0] != keys[1]


def test_a_critic_is_asked_at_the_last_token_before_each_turn(tokenizer: Any, chat: ChatFormat) -> None:
    answers = iter(range(10_000))

    def answer(prompt: str) -> str:
        return PLAN if "You plan." in prompt else f"<action>wait {next(answers)}</action>"

    episodes = _collect(tokenizer, chat, answer, jobs=2)

    def values(samples: Sequence[Sample]) -> list[np.ndarray]:
        """A critic that says how many tokens it has read."""
        return [np.flatnonzero(~np.isnan(s.targets)) + 1.0 for s in samples if s.targets is not None]

    (filled,) = fill_values([episodes], values)
    for episode, before in zip(filled, episodes, strict=True):
        assert [turn.value for turn in episode.turns] == [float(turn.start) for turn in before.turns]
        assert all(turn.value is None for turn in before.turns)


def test_copies_are_filled_like_the_episode_whose_execution_they_share(
    tokenizer: Any, chat: ChatFormat
) -> None:
    answer = lambda prompt: PLAN if "You plan." in prompt else "<action>wait</action>"  # noqa: E731
    episodes = _collect(tokenizer, chat, answer, jobs=3, share_identical=True)
    assert [e.is_copy for e in episodes] == [False, True, True]
    (filled,) = fill_values(
        [episodes], lambda samples: [np.arange(1.0, 1 + int((~np.isnan(s.targets)).sum())) for s in samples]
    )
    assert len({tuple(turn.value for turn in e.turns) for e in filled}) == 1


def test_targets_stand_where_the_critic_was_asked_and_only_on_trained_turns(
    tokenizer: Any, chat: ChatFormat
) -> None:
    answer = lambda prompt: PLAN if "You plan." in prompt else "<action>wait</action>"  # noqa: E731
    episodes = _collect(tokenizer, chat, answer)
    turns = episodes[0].turns
    row = np.array([7.0 + i if t.role == "executor" else np.nan for i, t in enumerate(turns)], np.float32)
    samples = to_samples(episodes, [row], role="executor", targets=[row])
    found = [v for s in samples if s.targets is not None for v in s.targets[~np.isnan(s.targets)]]
    assert sorted(found) == sorted(row[~np.isnan(row)].tolist())
    by_context = {t.context: t.start for t in reversed(turns) if t.role == "executor"}
    assert [int(np.flatnonzero(~np.isnan(s.targets))[0]) + 1 for s in samples] == list(by_context.values())[
        ::-1
    ]
    assert all(s.role == "executor" for s in samples)
    assert to_samples(episodes, [row], role="executor")[0].targets is None
