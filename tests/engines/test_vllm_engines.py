"""The vLLM engines where no vLLM is: the one that speaks to a server against a strict fake, and what both refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from vllm_fake import FakeVLLM

from himac.config import EngineConfig, ModelConfig, load_config
from himac.engines import endpoint
from himac.engines.transformers import TransformersEngine
from himac.engines.vllm import VLLMEngine, is_installed
from himac.engines.vllm_server import VLLMServerEngine
from himac.errors import ConfigError, EndpointError, MissingExtraError, ModelError
from himac.learner.policy import ROLES
from himac.models.load import load_model
from himac.models.tiny import TinyShape, build_tiny
from himac.train.local import engine_class
from himac.types import Request, Sampling

torch.set_num_threads(1)
pytest.importorskip("peft", reason="needs the extra lora: pip install 'himac[lora]'")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    shape = TinyShape(hidden=32, layers=2, head_dim=16, max_length=512)
    build_tiny(folder, ["go to the door and open it"] * 5, shape, vocab=300)
    return folder


@pytest.fixture(autouse=True)
def _quick_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_WAIT_S", 0.01)


def request(prompt, *, role="executor", **sampling) -> Request:
    return Request(
        prompt=np.asarray(prompt, np.int32), sampling=Sampling(**{"max_tokens": 6, **sampling}), role=role
    )


def engine_on(
    server: FakeVLLM, tiny: Path, model_config: ModelConfig | None = None, **settings
) -> VLLMServerEngine:
    model, tokenizer = load_model(str(tiny), model_config or ModelConfig(), adapters=ROLES)
    return VLLMServerEngine(model, tokenizer, max_batch=4, address=server.url, **settings)


def learn(model, *, only: str = "", scale: float = 0.1) -> None:
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if only in name:
                weights.add_(scale * torch.randn(weights.shape, generator=stream))


def paths(server: FakeVLLM) -> list[str]:
    return [path for path, _ in server.asked]


def test_the_learners_weights_are_served_before_and_after_an_update(tiny: Path) -> None:
    with FakeVLLM(tiny) as server:
        engine = engine_on(server, tiny)
        learn(engine.model)  # the server was started with others
        first = engine.generate([request([5, 6, 7], seed=1), request([9], seed=2**63 - 1, temperature=0.0)])
        own = TransformersEngine(engine.model, engine.tokenizer)
        greedy = own.generate([request([9], temperature=0.0)])[0]
        assert first[1].ids == greedy.ids and np.allclose(first[1].logps, greedy.logps, atol=1e-5)
        learn(engine.model)
        engine.load_weights(None, 4)
        again = engine.generate([request([9], temperature=0.0)])[0]
        own.load_weights(None, 4)
        assert again.ids == own.generate([request([9], temperature=0.0)])[0].ids and engine.version == 4
        assert again.logps != first[1].logps and paths(server).count("/collective_rpc") == 2
        assert paths(server).index("/reset_prefix_cache") > paths(server).index("/collective_rpc")
        folder = Path(server.asked[1][1]["kwargs"]["weights_path"])
        assert not folder.exists()  # a version's files go when it was read
        engine.close()
        engine.close()


@pytest.mark.parametrize("fault", ["stale_head", "raw"])
def test_a_server_that_computes_with_something_else_is_refused(tiny: Path, fault: str) -> None:
    with FakeVLLM(tiny, **{fault: True}) as server:
        engine = engine_on(server, tiny)
        learn(engine.model)
        with pytest.raises(
            ModelError, match=r"log-probabilities are off the learner's by .* nats"
        ) as refusal:
            engine.submit(request([5]))
        assert "--logprobs-mode processed_logprobs" in refusal.value.hint


def test_a_hand_over_that_does_not_arrive_is_refused_when_it_happens(tiny: Path) -> None:
    with FakeVLLM(tiny, stale_head=True) as server:
        engine = engine_on(server, tiny)
        engine.generate([request([5])])  # the weights it was started with
        learn(engine.model)
        with pytest.raises(ModelError, match="computes with other weights"):
            engine.load_weights(None, 1)
        engine.close()


def test_each_role_asks_its_own_adapter_and_old_versions_are_dropped(tiny: Path) -> None:
    with FakeVLLM(tiny, dev=False, lora=True) as server:
        engine = engine_on(server, tiny, ModelConfig(lora_rank=2, lora_per_role=True))
        learn(engine.model, only="lora_B.planner", scale=0.5)
        asked = [request([5, 6, 7], role=role, temperature=0.0) for role in ROLES]
        first = engine.generate(asked)
        assert first[0].logps != first[1].logps
        learn(engine.model, only="lora_B.planner", scale=0.5)
        engine.load_weights(None, 1)
        second = engine.generate(asked)
        assert second[0].logps != first[0].logps and second[1].logps == first[1].logps
        assert len(server.adapters) == 2 and paths(server).count("/v1/unload_lora_adapter") == 2
        engine.close()
        assert server.adapters == {}


def test_stop_strings_end_answers_as_they_do_elsewhere_and_rest_in_a_thought(tiny: Path) -> None:
    with FakeVLLM(tiny) as server:
        engine = engine_on(server, tiny)
        own = TransformersEngine(engine.model, engine.tokenizer)
        plain = own.generate([request([5, 6], temperature=0.0, max_tokens=12)])[0]
        stop = engine.tokenizer.decode(plain.ids)[2:4]
        asked = [
            request([5, 6], temperature=0.0, max_tokens=12, stop=(stop,), in_thought=it)
            for it in (False, True)
        ]
        ours, theirs = own.generate(asked), engine.generate(asked)
        assert [(a.ids, a.finish) for a in theirs] == [(a.ids, a.finish) for a in ours]
        assert theirs[0].finish == "stop" and theirs[1].ids == plain.ids
        sent = [body.get("stop") for path, body in server.asked if path == "/v1/completions"][-2:]
        assert sorted(sent, key=str) == [None, [stop]]
        engine.close()


def test_room_is_what_the_server_takes(tiny: Path) -> None:
    with FakeVLLM(tiny, max_model_len=40) as server:
        engine = engine_on(server, tiny)
        done = engine.generate([request([5] * 37), request([5], max_tokens=0)])
        assert [(len(a.ids), a.finish) for a in done] == [(3, "length"), (0, "length")]
        with pytest.raises(ModelError, match="a prompt of 40 tokens; vLLM takes fewer than 40"):
            engine.submit(request([5] * 40))
        with pytest.raises(ModelError, match="empty prompt"):
            engine.submit(request([]))
        engine.close()


@pytest.mark.parametrize(
    ("server_is", "settings", "words", "hint"),
    [
        ({"dev": False}, {}, "/collective_rpc refused (status 404): Not Found", "VLLM_SERVER_DEV_MODE=1"),
        ({}, {"reload": "nonsense"}, "has no attribute 'nonsense'", "engine.reload"),
        (
            {},
            {"lora": 2},
            "/v1/load_lora_adapter refused (status 404): Not Found",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
        ),
        ({}, {"model": "other"}, "does not serve other as vLLM does; it lists: policy", "URL#MODEL"),
    ],
)
def test_what_a_server_cannot_do_is_one_line_and_what_to_do(
    tiny: Path, server_is, settings, words, hint
) -> None:
    with FakeVLLM(tiny, **server_is) as server:
        lora = ModelConfig(lora_rank=settings.pop("lora", 0))
        server.url += f"#{settings.pop('model')}" if "model" in settings else ""
        model, tokenizer = load_model(str(tiny), lora)
        engine = VLLMServerEngine(model, tokenizer, address=server.url, **settings)
        with pytest.raises(EndpointError) as refusal:
            engine.submit(request([5]))
        assert words in str(refusal.value) and "\n" not in str(refusal.value) and hint in refusal.value.hint


def test_a_server_that_is_busy_is_asked_again_and_one_that_is_gone_is_named(tiny: Path) -> None:
    with FakeVLLM(tiny, failing=3) as server:
        engine = engine_on(server, tiny)
        assert engine.generate([request([5])])[0].ids
        engine.close()
        server.url = "http://127.0.0.1:9/v1"
        with pytest.raises(
            EndpointError, match=r"the vLLM server http://127\.0\.0\.1:9 failed 4 times \(last: "
        ):
            engine_on(server, tiny).submit(request([5]))


def test_what_is_cancelled_is_forgotten(tiny: Path) -> None:
    with FakeVLLM(tiny) as server:
        engine = engine_on(server, tiny)
        alone = engine.generate([request([5], seed=3)])
        for seed in range(9):
            engine.submit(request([6], max_tokens=60, seed=seed))
        engine.cancel()
        assert engine.step() == [] and engine.generate([request([5], seed=3)]) == alone
        engine.close()


@pytest.mark.parametrize(
    "answer",
    [[], "words", {"choices": []}, {"choices": [{"token_ids": [5], "logprobs": None, "finish_reason": "stop"}]},
     {"choices": [{"token_ids": [5], "logprobs": {"token_logprobs": [float("nan")]}, "finish_reason": "stop"}]},
     {"choices": [{"token_ids": [5], "logprobs": {"token_logprobs": [-1.0]}, "finish_reason": "abort"}]}],
)  # fmt: skip
def test_an_answer_without_tokens_and_their_log_probabilities_is_refused(tiny: Path, answer) -> None:
    with FakeVLLM(tiny) as server:
        engine = engine_on(server, tiny)
        engine.generate([request([5])])
        server._complete = lambda body: answer  # type: ignore[method-assign]
        with pytest.raises(EndpointError, match="a completion without token ids"):
            engine.generate([request([5])])
        engine.close()


@pytest.mark.skipif(is_installed(), reason="vLLM is installed here")
def test_a_missing_vllm_is_one_line(tiny: Path) -> None:
    with pytest.raises(MissingExtraError, match="needs the package 'vllm'") as refusal:
        VLLMEngine(*load_model(str(tiny)))
    assert refusal.value.hint == "pip install 'himac[vllm]'"


def test_settings_stand_in_the_engine_table_and_are_checked() -> None:
    assert (
        engine_class(load_config(None, ["engine.name=vllm-server", "engine.folder=/w"])) is VLLMServerEngine
    )
    assert (
        engine_class(load_config(None, ["engine.name=vllm", "engine.options.max_num_batched_tokens=64"]))
        is VLLMEngine
    )
    with pytest.raises(ConfigError, match=r"engine\.timeout_s"):
        engine_class(load_config(None, ["engine.name=vllm-server", "engine.timeout_s=0"]))
    with pytest.raises(
        ConfigError, match=r"adress.*did you mean 'engine\.address'|adress.*did you mean 'address'"
    ):
        engine_class(load_config(None, ["engine.name=vllm-server", "engine.adress=x"]))
    assert EngineConfig().name == "transformers"


def test_pictures_do_not_go_through_vllm(tiny: Path) -> None:
    with pytest.raises(ModelError, match="pictures do not go through vLLM"):
        VLLMServerEngine(*load_model(str(tiny)), vision=object())
