"""`himac model export`: what comes out is the trained model, whole, and loads without himac."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from himac.cli.main import main
from himac.config import Config, ModelConfig, override
from himac.errors import RunError
from himac.learner.policy import ROLES, Policy
from himac.models.load import load_model
from himac.models.tiny import TinyShape, build_tiny
from himac.train.export import export_model

IDS = torch.tensor([[5, 9, 30, 7, 11, 200]])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    build_tiny(tmp_path / "base", ["go east wait hall"], TinyShape(hidden=32, layers=2), vocab=400)
    return tmp_path / "base"


def _trained(base: Path, folder: Path, *, per_role: bool) -> Policy:
    """Save a policy whose adapters do something."""
    config = ModelConfig(lora_rank=2, lora_per_role=per_role)
    policy = Policy.load(base, config, device=torch.device("cpu"))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable:
            parameter.normal_(std=0.3)
    policy.save(folder)
    return policy


@pytest.mark.parametrize("per_role", [False, True])
def test_an_adapter_is_merged_into_what_transformers_loads_alone(
    base: Path, tmp_path: Path, per_role: bool
) -> None:
    policy = _trained(base, tmp_path / "saved", per_role=per_role)
    config = override(Config(), model={"lora_rank": 2, "lora_per_role": per_role})
    folders = export_model(str(tmp_path / "saved"), tmp_path / "out", config, None)
    assert [f.name for f in folders] == (list(ROLES) if per_role else ["out"])
    for role, folder in zip(ROLES, folders, strict=False):
        policy.play(role)
        with torch.no_grad():
            wanted = policy.model.eval()(IDS).logits
            plain = AutoModelForCausalLM.from_pretrained(folder)
            assert not hasattr(plain, "peft_config") and list(folder.glob("*.safetensors"))
            torch.testing.assert_close(plain(IDS).logits, wanted, atol=1e-4, rtol=1e-4)
            untrained = AutoModelForCausalLM.from_pretrained(base)
            assert float((untrained(IDS).logits - wanted).abs().max()) > 0.1
        assert AutoTokenizer.from_pretrained(folder).chat_template


def test_weights_are_written_in_the_type_they_came_in(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(str(base), ModelConfig(dtype="bfloat16"))
    model.save_pretrained(tmp_path / "half")
    tokenizer.save_pretrained(tmp_path / "half")
    (folder,) = export_model(str(tmp_path / "half"), tmp_path / "out", Config(), None)
    assert AutoModelForCausalLM.from_pretrained(folder, dtype="auto").dtype == torch.bfloat16


def test_what_is_there_is_not_written_over(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not empty"):
        export_model(str(base), base, Config(), None)


def test_a_run_is_exported_with_its_card_and_pushing_needs_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    words = [
        "env=toy",
        "env.doors=1",
        "model=tiny",
        "model.tiny=[32, 1, 400]",
        "agent.think=false",
        "run.name=r",
    ]
    words += ["sft.demonstrations=4", "sft.batch=4", "run.iterations=0", "eval.final=val", "env.val=4"]
    assert main(["train", *words]) == 0
    capsys.readouterr()
    assert main(["model", "export", "r"]) == 0
    assert "vllm serve exported/r" in capsys.readouterr().out
    card = Path("exported/r/README.md").read_text()
    assert (
        "trained from nothing" in card and "| val |" in card and "env=toy" in card and "env.doors=1" in card
    )
    assert main(["model", "export", "r", "--to", "again", "--push-to-hub", "me/mine"]) == 2
    said = capsys.readouterr().err
    assert "nobody is logged in" in said and "hf auth login" in said
