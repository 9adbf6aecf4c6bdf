"""Half precision trains: float32 masters move where bfloat16 weights would be rounded back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from himac.config import AlgoConfig, ModelConfig, OptimizerConfig
from himac.learner.learner import Learner
from himac.learner.masters import Masters
from himac.learner.optimizer import Optimizer
from himac.learner.policy import Policy
from himac.runs.log import phase_line
from himac.testing import tiny_model
from himac.types import PhaseSpec, Sample

PHASE = PhaseSpec(name="flat", roles=("executor",), temperature=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model(tmp_path / "model", ["a plan of two steps", "go east, take the key"])
    return tmp_path / "model"


def _policy(folder: Path, dtype: str) -> Policy:
    return Policy.load(folder, ModelConfig(dtype=dtype), device=torch.device("cpu"))


def _sample(seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    mask = np.arange(24) >= 12
    return Sample(
        ids=rng.integers(10, 200, size=24).astype(np.int32),
        mask=mask,
        logps=np.where(mask, -5.0, 0).astype(np.float32),
        advantages=mask.astype(np.float32),
        weights=np.where(mask, 1 / 12, 0).astype(np.float32),
    )


def test_at_1e_6_almost_every_master_moves_in_one_step_and_hardly_a_stored_weight(folder: Path) -> None:
    policy = _policy(folder, "bfloat16")
    learner = Learner(policy, OptimizerConfig(lr=1e-6, weight_decay=0.0), AlgoConfig(kl_coef=0.0))
    before = [p.detach().clone() for p in policy.trainable]
    metrics = learner.update([_sample()], PHASE, seed=0)
    assert metrics["moved"] > 0.95
    stored = [float((a != b).float().mean()) for a, b in zip(before, policy.trainable, strict=True)]
    assert np.mean(stored) < 0.1  # what happened to all of the training in bfloat16 before there were masters
    assert all(master.dtype == torch.float32 for master in learner._masters.state_dict())
    moments = learner._optimizer("executor")._parts[0].state.values()
    assert all(m["exp_avg"].dtype == m["exp_avg_sq"].dtype == torch.float32 for m in moments)


def test_300_equal_steps_end_where_float32_ends() -> None:
    torch.manual_seed(0)
    start = torch.randn(64, 32).bfloat16()
    ends = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = torch.nn.Linear(32, 64, bias=False).to(dtype)
        with torch.no_grad():
            model.weight.copy_(start)
        model.get_input_embeddings = model.get_output_embeddings = lambda: None  # type: ignore[assignment, method-assign]
        masters = Masters([model.weight])
        optimizer = Optimizer(
            model, [{"params": [model.weight]}], OptimizerConfig(lr=1e-5, weight_decay=0.0), masters
        )
        gradient = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
        for _ in range(300):
            model.weight.grad = gradient.to(dtype)
            masters.pull()
            optimizer.step(1e-5)
            masters.push()
        ends[dtype] = masters.of(model.weight).detach().float() - start.float()
    gap = (ends[torch.bfloat16] - ends[torch.float32]).norm() / ends[torch.float32].norm()
    assert gap < 0.01


def test_masters_are_saved_and_taken_back(folder: Path, tmp_path: Path) -> None:
    cfg, loss = OptimizerConfig(lr=1e-6, weight_decay=0.0), AlgoConfig(kl_coef=0.0)
    learner = Learner(_policy(folder, "bfloat16"), cfg, loss)
    for seed in range(3):
        learner.update([_sample(seed)], PHASE, seed=seed)
    learner.save(tmp_path)
    again = Learner(_policy(folder, "bfloat16"), cfg, loss)
    again.load(tmp_path)
    for ours, theirs in zip(learner._masters.state_dict(), again._masters.state_dict(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_run_whose_weights_stand_still_is_warned_of() -> None:
    row = {
        "iteration": 1, "phase": "flat", "success": 0.0, "return": 0.0, "turns": 1.0, "collect_s": 1.0, "generate_s": 1.0,
    }  # fmt: skip
    assert "WARNING only 2% of the weights moved" in phase_line({**row, "moved": 0.02}, 5)
    assert "WARNING" not in phase_line({**row, "moved": 0.97}, 5)
