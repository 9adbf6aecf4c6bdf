"""vLLM inside the process, against a strict stand-in for the package: every hand-over arrives, or is refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from vllm_module_fake import LLM, install

from himac.config import ModelConfig
from himac.engines.transformers import TransformersEngine
from himac.engines.vllm import VLLMEngine
from himac.errors import ConfigError, ModelError
from himac.learner.policy import ROLES
from himac.models.load import load_model
from himac.models.tiny import TinyShape, build_tiny
from himac.types import Request, Sampling

pytest.importorskip("peft", reason="needs the extra lora: pip install 'himac[lora]'")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    build_tiny(
        folder, ["go to the door"] * 5, TinyShape(hidden=32, layers=2, head_dim=16, max_length=256), vocab=300
    )
    return folder


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


@pytest.fixture
def engine(small: Path):
    found = VLLMEngine(*load_model(str(small)), max_batch=4)
    yield found
    found.close()


def request(prompt, *, role="executor", **sampling) -> Request:
    told = {"max_tokens": 8, "temperature": 0.0, **sampling}
    return Request(prompt=np.asarray(prompt, np.int32), sampling=Sampling(**told), role=role)


def learn(model, *, only: str = "") -> None:
    with torch.no_grad():
        for number, (name, weights) in enumerate(model.named_parameters()):
            if only in name:
                weights.add_(
                    0.2 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(number))
                )


def test_greedy_answers_are_the_other_engines_before_and_after_an_update(engine: VLLMEngine) -> None:
    own = TransformersEngine(engine.model, engine._ending._tokenizer)
    asked = [request([5, 6, 7]), request([9]), request([5, 6, 7, 8, 9], max_tokens=3)]
    for version in range(3):
        ours, theirs = own.generate(asked), engine.generate(asked)
        assert [(a.ids, a.finish) for a in theirs] == [(a.ids, a.finish) for a in ours]
        np.testing.assert_allclose(theirs[0].logps, ours[0].logps, atol=1e-5)
        learn(engine.model)
        own.load_weights(None, version)
        engine.load_weights(None, version)


def test_a_stale_head_is_refused_at_the_start(engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LLM, "mends", False)
    with pytest.raises(ModelError, match=r"off the learner's by .* computes with other weights"):
        engine.submit(request([5]))
    assert engine._llm is None and engine._folder is None


def test_a_stale_head_is_refused_after_an_update(engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.generate([request([5])])
    monkeypatch.setattr(LLM, "mends", False)
    learn(engine.model)
    with pytest.raises(ModelError, match="computes with other weights"):
        engine.load_weights(None, 1)


def test_adapters_are_read_again_and_each_role_has_its_own(small: Path) -> None:
    model, tokenizer = load_model(str(small), ModelConfig(lora_rank=2, lora_per_role=True), adapters=ROLES)
    learn(model, only="lora_B.planner")
    engine = VLLMEngine(model, tokenizer)
    asked = [request([5, 6], role=role) for role in ROLES]
    first = engine.generate(asked)
    learn(model, only="lora_B.planner")
    engine.load_weights(None, 1)
    second = engine.generate(asked)
    assert (
        first[0].logps != first[1].logps
        and second[0].logps != first[0].logps
        and second[1].logps == first[1].logps
    )
    assert model.active_adapter == "planner"  # the test of the gap leaves it as it was
    engine.close()


def test_stop_strings_seeds_and_room(engine: VLLMEngine) -> None:
    own = TransformersEngine(engine.model, engine._ending._tokenizer)
    text = engine._ending._tokenizer.decode(own.generate([request([5, 6])])[0].ids)
    asked = [request([5, 6], stop=(text[2:4],), in_thought=it) for it in (False, True)]
    assert [a.ids for a in engine.generate(asked)] == [a.ids for a in own.generate(asked)]
    warm = [request([5], temperature=1.0, seed=seed) for seed in (1, 2**63 + 1, 2, 1)]
    done = engine.generate(warm)
    assert done[0] == done[3] == engine.generate(warm[:1])[0] and done[0].ids != done[2].ids
    assert len(engine.generate([request([5] * 252)])[0].ids) == 4
    for prompt, words in (([5] * 256, "vLLM takes fewer than 256"), ([], "empty prompt")):
        with pytest.raises(ModelError, match=words):
            engine.submit(request(prompt))
    with pytest.raises(ModelError, match=r"vLLM does not take the request: temperature must be in"):
        engine.submit(request([5], temperature=3.0))


def test_it_leaves_the_process_as_it_was_and_runs_once(engine: VLLMEngine, small: Path) -> None:
    random.seed(3)
    torch.manual_seed(3)
    wanted = (random.random(), torch.rand(()).item())
    random.seed(3)
    torch.manual_seed(3)
    own = torch.set_num_threads
    engine.generate([request([5])])
    assert torch.set_num_threads is own and (random.random(), torch.rand(()).item()) == wanted
    second = VLLMEngine(*load_model(str(small)))
    with pytest.raises(ModelError, match="vLLM runs once in a process"):
        second.submit(request([5]))
    folder = Path(engine._folder.name)
    engine.close()
    engine.close()
    assert not folder.exists() and second.generate([request([5])])[0].ids
    second.close()


def test_what_is_cancelled_is_forgotten(engine: VLLMEngine) -> None:
    for seed in range(6):
        engine.submit(request([5], temperature=1.0, seed=seed))
    engine.step()
    engine.cancel()
    assert engine.step() == [] and engine._llm.under_way == {}


def test_himacs_own_arguments_are_refused_and_unknown_ones_are_vllms_word(small: Path) -> None:
    loaded = load_model(str(small))
    with pytest.raises(ConfigError, match=r"engine\.options\.dtype is set by himac"):
        VLLMEngine(*loaded, options={"dtype": "float16"})
    with pytest.raises(ModelError, match=r"vLLM cannot start with this model: .*'nonsense'"):
        VLLMEngine(*loaded, options={"nonsense": 1}).submit(request([5]))
    with pytest.raises(ModelError, match="pictures do not go through vLLM"):
        VLLMEngine(*loaded, vision=object())
