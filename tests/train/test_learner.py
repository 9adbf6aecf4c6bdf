"""Learning code is guilty until proven: where gradient goes, and whether engine and learner agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from looping import JOINT, ONCE, Rows, iterate

from himac.algo.group import GroupRelative
from himac.config import AlgoConfig, Config, OptimizerConfig, override
from himac.learner.learner import Learner
from himac.learner.policy import Policy
from himac.learner.samples import to_samples
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.train.components import Components
from himac.types import Episode, Sample


@pytest.fixture
def parts(toy_config: Config, start: Path) -> Components:
    return Components(toy_config, start)


def _sample(ids: list[int], mask: list[int], advantages: list[float], weight: float = 1.0) -> Sample:
    mask_T = np.array(mask, bool)
    return Sample(
        ids=np.array(ids, np.int32), mask=mask_T, logps=np.zeros(len(ids), np.float32),
        advantages=np.array(advantages, np.float32), weights=np.where(mask_T, weight, 0).astype(np.float32),
    )  # fmt: skip


def _gradient(policy: Policy, samples: list[Sample]) -> torch.Tensor:
    """Return the flat gradient that one policy-gradient step would follow."""
    learner = Learner(policy, OptimizerConfig(grad_clip=0.0), AlgoConfig(kl_coef=0.0))
    seen: list[torch.Tensor] = []

    def keep(_lr: float, _name: str) -> float:
        seen.append(torch.cat([p.grad.flatten() for p in policy.trainable if p.grad is not None]).clone())
        learner._optimizer("any").zero_grad()
        return 0.0

    learner._step = keep  # type: ignore[method-assign]
    learner.update(samples, ONCE, seed=0)
    return seen[0]


def test_only_masked_tokens_get_gradient(parts: Components) -> None:
    ids = list(range(10, 22))
    mask = [0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1]
    base = _gradient(parts.policy, [_sample(ids, mask, [1.0 * m for m in mask])])
    loud = _gradient(parts.policy, [_sample(ids, mask, [1.0 if m else 99.0 for m in mask])])
    assert torch.equal(base, loud)
    other = _gradient(parts.policy, [_sample(ids, mask, [2.0 * m for m in mask])])
    assert not torch.allclose(base, other)


def test_the_gradient_of_a_role_does_not_see_the_other_role_s_advantages(parts: Components) -> None:
    tasks = parts.env.tasks("train")[:2]
    groups = parts.collector.collect(JOINT, tasks)
    episodes = [e for g in groups for e in g]
    rng = np.random.default_rng(0)

    def advantages(episode: Episode, other: float) -> np.ndarray:
        own = {t: i for i, t in enumerate(episode.turns)}
        return np.array(
            [1.0 + own[t] % 3 if t.role == "executor" else other for t in episode.turns], np.float32
        )

    quiet = to_samples(episodes, [advantages(e, 0.0) for e in episodes], role="executor")
    loud = to_samples(episodes, [advantages(e, float(rng.normal())) for e in episodes], role="executor")
    assert torch.equal(_gradient(parts.policy, quiet), _gradient(parts.policy, loud))


def test_engine_and_learner_agree_on_every_sampled_token(parts: Components) -> None:
    tasks = parts.env.tasks("train")[:3]
    groups = parts.collector.collect(JOINT, tasks)
    episodes = [e for g in groups for e in g]
    contexts = [c for e in episodes for c in e.contexts if c.sampled.any()]
    masks = [c.sampled for c in contexts]
    worst = 0.0
    with torch.no_grad():
        for batch in pack([c.ids for c in contexts], max_tokens=4096):
            learned = token_logps(parts.policy.model, batch, masks).logps.numpy()
            sampled = batch.select([c.logps for c in contexts], masks)
            worst = max(worst, float(np.abs(learned - sampled).max()))
    assert worst < 1e-4


def test_each_phase_learns_at_the_temperature_it_was_sampled_at(toy_config: Config, start: Path) -> None:
    config = override(toy_config, rollout={"temperature": 0.7, "planner_temperature": 1.4})
    parts, log = Components(config, start), Rows()
    parts.policy.freeze_reference()
    iterate(parts, parts.learner(), log)
    assert [row["phase"] for row in log.rows] == ["planner", "executor"]
    assert all(row["gap_max"] < 1e-4 for row in log.rows if row["samples"])
    assert any(row["samples"] for row in log.rows)


def test_a_positive_advantage_makes_its_tokens_likelier(parts: Components) -> None:
    sample = _sample(list(range(10, 18)), [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1], weight=0.25)
    policy = Policy.load(parts.policy.tokenizer.name_or_path, parts.config.model, device=torch.device("cpu"))

    def logp() -> np.ndarray:
        with torch.no_grad():
            batch = pack([sample.ids], max_tokens=64)[0]
            return token_logps(policy.model, batch, [sample.mask]).logps.numpy()

    before = logp()
    full = np.zeros(8, np.float32)
    full[4:] = before
    learner = Learner(policy, OptimizerConfig(lr=1e-3), AlgoConfig(kl_coef=0.0))
    metrics = learner.update([replace(sample, logps=full)], ONCE, seed=0)
    assert logp().sum() > before.sum()
    assert metrics["gap_max"] < 1e-5 and metrics["samples"] == 1


@pytest.mark.parametrize("steps", [1, 2])
def test_the_gap_to_another_engine_is_corrected_and_its_capped_share_told(
    parts: Components, steps: int
) -> None:
    rng = np.random.default_rng(0)
    samples = [
        _sample(rng.integers(10, 90, 8).tolist(), [0] * 4 + [1] * 4, [0] * 4 + [1] * 4, weight=1 / 16)
        for _ in range(4)
    ]
    phase = replace(ONCE, minibatches=steps)

    def after(logps: list[np.ndarray], **settings: float) -> tuple[torch.Tensor, dict[str, float]]:
        policy = Policy.load(
            parts.policy.tokenizer.name_or_path, parts.config.model, device=torch.device("cpu")
        )
        learner = Learner(policy, OptimizerConfig(lr=1e-3), AlgoConfig(kl_coef=0.0, **settings))
        told = learner.update(
            [replace(s, logps=lp) for s, lp in zip(samples, logps, strict=True)], phase, seed=0
        )
        return torch.cat([p.detach().flatten() for p in policy.trainable]), told

    exact = []
    with torch.no_grad():
        for sample in samples:
            (batch,) = pack([sample.ids], max_tokens=64)
            found = token_logps(parts.policy.model, batch, [sample.mask]).logps.numpy()
            exact.append(np.concatenate([np.zeros(4, np.float32), found]))
    plain, _ = after(exact)
    same, told = after(exact, max_ratio=2.0)
    torch.testing.assert_close(same, plain, atol=1e-6, rtol=0)  # an engine that agrees is not corrected
    assert told["capped"] == 0.0
    skewed = [logps - np.float32(np.log(k)) * (np.arange(8) >= 4) for logps, k in zip(exact, (4, 4, 1.5, 1))]
    _, told = after(skewed, max_ratio=2.0)
    assert told["capped"] == pytest.approx(0.5) and told["gap_max"] > 0.4


def test_the_linear_schedule_falls_with_the_budget(parts: Components) -> None:
    sample = _sample(list(range(10, 18)), [0] * 4 + [1] * 4, [0] * 4 + [1] * 4, weight=0.25)

    def moved(schedule: str, spent: float) -> float:
        policy = Policy.load(
            parts.policy.tokenizer.name_or_path, parts.config.model, device=torch.device("cpu")
        )
        before = [p.detach().clone() for p in policy.trainable]
        optim = OptimizerConfig(lr=1e-3, weight_decay=0.0, schedule=schedule)
        learner = Learner(policy, optim, AlgoConfig(kl_coef=0.0))
        learner.update([sample], ONCE, seed=0, spent=spent)
        return max(float((a - b).detach().abs().max()) for a, b in zip(before, policy.trainable, strict=True))

    whole = moved("constant", 0.75)
    assert whole == pytest.approx(1e-3, rel=0.01)  # Adam's first step is the rate itself
    assert moved("linear", 0.0) == pytest.approx(whole, rel=1e-4)
    assert moved("linear", 0.75) == pytest.approx(whole / 4, rel=0.01)


def test_no_passes_change_nothing(parts: Components) -> None:
    sample = _sample(list(range(10, 18)), [0] * 4 + [1] * 4, [0] * 4 + [1] * 4, weight=0.25)
    before = [p.clone() for p in parts.policy.trainable]
    assert parts.learner().update([sample], replace(ONCE, epochs=0), seed=0)["samples"] == 0
    assert all(torch.equal(a, b) for a, b in zip(before, parts.policy.trainable, strict=True))


def test_groups_without_signal_cost_nothing_and_change_nothing(toy_config: Config, start: Path) -> None:
    parts = Components(override(toy_config, algo={"method": "flat", "kl_coef": 0.0}), start)
    group = parts.collector.collect(ONCE, parts.env.tasks("train")[:1])[0]
    flat = [replace(e, env_return=1.0, penalty=0.0) for e in group]
    advantages = GroupRelative()([flat], "executor")[0]
    samples = to_samples(flat, advantages, role="executor")
    assert samples == []
    before = [p.clone() for p in parts.policy.trainable]
    learner = parts.learner()
    assert learner.update(samples, ONCE, seed=0)["samples"] == 0
    assert all(torch.equal(a, b) for a, b in zip(before, parts.policy.trainable, strict=True))


def test_minibatches_and_packs_add_up_to_the_whole_gradient(parts: Components) -> None:
    rng = np.random.default_rng(1)
    samples = []
    for _ in range(6):
        ids = [10, 11, 12, *rng.integers(13, 60, 6).tolist()]
        samples.append(
            _sample(ids, [0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, *rng.normal(size=5)], weight=1 / 30)
        )
    learner = Learner(parts.policy, OptimizerConfig(max_tokens=64), AlgoConfig(kl_coef=0.0))
    many = Learner(parts.policy, OptimizerConfig(max_tokens=100_000), AlgoConfig(kl_coef=0.0))
    grads = []
    for each in (learner, many):
        seen: list[torch.Tensor] = []

        def keep(_lr: float, _name: str, each: Learner = each, seen: list[torch.Tensor] = seen) -> float:
            seen.append(
                torch.cat([p.grad.flatten() for p in parts.policy.trainable if p.grad is not None]).clone()
            )
            each._optimizer("any").zero_grad()
            return 0.0

        each._step = keep  # type: ignore[method-assign]
        each.update(samples, ONCE, seed=0)
        grads.append(seen[0])
    torch.testing.assert_close(grads[0], grads[1], atol=1e-6, rtol=1e-4)


def test_the_reference_is_the_start_and_lora_needs_no_second_copy(parts: Components) -> None:
    pytest.importorskip("peft")
    config = replace(parts.config.model, lora_rank=4)
    policy = Policy.load(parts.policy.tokenizer.name_or_path, config, device=torch.device("cpu"))
    policy.freeze_reference()
    assert policy._reference is None
    ids, mask = np.arange(10, 20, dtype=np.int32), np.array([0] * 5 + [1] * 5, bool)
    batch = pack([ids], max_tokens=64)[0]
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.5)
        own = token_logps(policy.model, batch, [mask]).logps
        with policy.reference() as model:
            reference = token_logps(model, batch, [mask]).logps
        plain = token_logps(parts.policy.model, batch, [mask]).logps
    torch.testing.assert_close(reference, plain, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(own, reference, atol=1e-3)
