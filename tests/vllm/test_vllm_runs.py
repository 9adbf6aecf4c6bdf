"""vLLM inside the process from start to end: what it leaves behind, and a run that trains with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from of_learner import SOME, request

from himac.config import load_config
from himac.engines.vllm import VLLMEngine
from himac.errors import ConfigError, ModelError
from himac.models.load import load_model
from himac.runs.folder import read_rows
from himac.train.door import train

SMALL = {"max_batch": 8, "max_kv_tokens": 16_384}
TOY = [
    "env=toy", "env.doors=1", "model=tiny", "model.tiny=[32,2,400]", "agent.planner_tokens=48", "agent.executor_tokens=12",
    "agent.max_steps=8", "agent.think=false", "sft.style=both", "sft.demonstrations=24", "sft.epochs=2", "sft.batch=8",
    "rollout.tasks=3", "rollout.group_size=3", "rollout.executor_group_size=3", "run.iterations=2", "eval.every=0",
    "eval.final=", "optimizer.lr=1e-2", "engine.name=vllm", "engine.max_length=1024", "engine.max_kv_tokens=16384",
]  # fmt: skip


@pytest.mark.parametrize(
    "more", [[], ["model.lora_rank=4", "model.lora_per_role=true"]], ids=["full", "adapters"]
)
def test_a_run_trains_on_what_vllm_sampled(tmp_path: Path, more: list[str], capsys) -> None:
    train(load_config(None, [*TOY, *more, f"run.dir={tmp_path}", "run.name=r"]))
    rows = [row for row in read_rows(tmp_path / "r" / "metrics.jsonl") if row.get("samples")]
    gaps = [row["gap_max"] for row in rows if row["gap_max"]]
    with capsys.disabled():
        print(f"\n{len(rows)} updates, gap_max {gaps}, moved {[row.get('moved') for row in rows]}")
    assert len(gaps) >= 2 and max(gaps) < 1e-4


def test_nothing_is_left_when_it_ends(tied) -> None:
    model, tokenizer = load_model(str(tied))
    threads, set_threads = torch.get_num_threads(), torch.set_num_threads
    engine = VLLMEngine(model, tokenizer, **SMALL)
    engine.generate([request(SOME[0])])
    assert (torch.get_num_threads(), torch.set_num_threads) == (threads, set_threads)
    folder = Path(engine._folder.name)
    assert folder.is_dir()
    engine.close()
    engine.close()
    assert not folder.exists() and not torch.distributed.is_initialized() and _children() == set()


def test_options_reach_vllm_and_himacs_own_are_refused(tied) -> None:
    model, tokenizer = load_model(str(tied))
    with pytest.raises(ConfigError, match=r"engine\.options\.logprobs_mode is set by himac"):
        VLLMEngine(model, tokenizer, options={"logprobs_mode": "raw_logprobs"})
    engine = VLLMEngine(model, tokenizer, **SMALL, options={"no_such_thing": 1})
    with pytest.raises(ModelError, match=r"vLLM cannot start .*no_such_thing"):
        engine.submit(request(SOME[0]))


def _children() -> set[str]:
    found = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "comm="], capture_output=True, text=True)
    return {name for name in found.stdout.split() if name != "ps"}
