"""A vLLM server of today: token ids through HTTP, weights by folder, adapters by name, and what it refuses, in one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from of_learner import EXACT, SOME, check_that_adapters_follow, gap, learn, request

from himac.config import ModelConfig
from himac.engines.transformers import TransformersEngine
from himac.engines.vllm_server import VLLMServerEngine
from himac.errors import EndpointError, ModelError
from himac.learner.policy import ROLES
from himac.models.load import load_model

_START_S = 600
_FLAGS = (
    "--served-model-name policy --enforce-eager --dtype float32 --max-model-len 1024 --max-num-seqs 8 "
    "--no-enable-chunked-prefill --max-num-batched-tokens 8192 --logprobs-mode processed_logprobs "
    "--generation-config vllm --enable-lora --max-lora-rank 8 --max-loras 2 --disable-log-stats "
    "--worker-extension-cls himac.engines.vllm_worker.HandOver --host 127.0.0.1"
)
_ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR",
}  # fmt: skip


@pytest.fixture(scope="module")
def address(tied: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the tied model; it takes adapters too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tied)]
    with log.open("w") as told:
        server = subprocess.Popen(
            [*command, *_FLAGS.split(), "--port", str(port)], env={**os.environ, **_ENVIRONMENT},
            stdout=told, stderr=told, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(
            server.pid, signal.SIGTERM
        )  # its group: a server that is killed alone leaves its engine behind
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _wait(server: subprocess.Popen, url: str, log: Path) -> None:
    began = time.monotonic()
    while True:
        assert server.poll() is None and time.monotonic() - began < _START_S, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)


@pytest.fixture
def playing(address: str, tied: Path) -> Iterator[tuple]:
    """The tied model, its tokenizer, and an engine that hands it over."""
    model, tokenizer = load_model(str(tied))
    engine = VLLMServerEngine(model, tokenizer, max_batch=8, address=address, reload="himac_reload")
    yield model, tokenizer, engine
    engine.close()


def test_log_probabilities_are_the_learners_before_and_after_each_hand_over(playing, capsys) -> None:
    model, _, engine = playing
    asked = [request(prompt, temperature=t, seed=7) for t in (0.4, 1.0, 1.3, 0.0) for prompt in SOME]
    seen = [gap(model, asked, engine.generate(asked))]
    for version in (1, 2):
        learn(model, seed=version)
        engine.load_weights(None, version)
        seen.append(gap(model, asked, engine.generate(asked)))
    assert max(seen) < EXACT and engine.version == 2
    with capsys.disabled():
        print(f"\nserver: gap at most {max(seen):.1e}")


def test_a_head_that_keeps_old_weights_is_refused_in_one_line(address, tied) -> None:
    model, tokenizer = load_model(str(tied))
    learn(model, seed=9)
    engine = VLLMServerEngine(model, tokenizer, max_batch=8, address=address)  # reload_weights, vLLM's own
    with pytest.raises(ModelError, match=r"off the learner's by .* computes with other weights") as refusal:
        engine.submit(request(SOME[0]))
    assert "HandOver" in refusal.value.hint
    engine.close()


def test_each_role_has_its_adapter_and_new_ones_take_the_place_of_old_ones(playing, address, tied) -> None:
    playing[2].generate([request(SOME[0])])  # the base as it was
    model, tokenizer = load_model(str(tied), ModelConfig(lora_rank=4, lora_per_role=True), adapters=ROLES)
    learn(model, only="lora_B", seed=3)
    engine = VLLMServerEngine(model, tokenizer, max_batch=8, address=address)
    try:
        check_that_adapters_follow(engine, model)
    finally:
        engine.close()
    served = engine._server.get("/v1/models")["data"]
    assert [each["id"] for each in served] == ["policy"]  # it has cleaned up after itself


def test_seeds_stops_and_lengths_are_those_of_the_other_engines(playing) -> None:
    model, tokenizer, engine = playing
    alone = engine.generate([request(SOME[1], seed=5)])[0]
    among = engine.generate([request(prompt, seed=seed) for seed in (5, 2**62) for prompt in SOME])
    assert among[1].ids == alone.ids and among[5].ids != alone.ids
    np.testing.assert_allclose(among[1].logps, alone.logps, atol=1e-5)
    own = TransformersEngine(model, tokenizer)
    greedy = {"temperature": 0.0, "max_tokens": 32}
    said = [tokenizer.decode(own.generate([request(prompt, **greedy)])[0].ids) for prompt in SOME]
    asked = [request(prompt, **greedy, stop=(text[8:10],)) for prompt, text in zip(SOME, said, strict=True)]
    asked += [request(SOME[1], **greedy, stop=(said[1][8:10],), in_thought=True)]
    asked += [request(np.arange(1020) % 250 + 5, **greedy)]
    ours, theirs = own.generate(asked[:-1]), engine.generate(asked)
    assert [(a.ids, a.finish) for a in theirs[:-1]] == [(a.ids, a.finish) for a in ours]
    assert (len(theirs[-1].ids), theirs[-1].finish) == (4, "length")
    with pytest.raises(ModelError, match="a prompt of 1024 tokens; vLLM takes fewer than 1024"):
        engine.submit(request(np.arange(1024) % 250 + 5))


def test_what_a_server_refuses_is_one_line_and_it_lives_on(address, tied) -> None:
    model, tokenizer = load_model(str(tied))
    for settings, words in (
        ({"address": f"{address}#nobody"}, "does not serve nobody as vLLM does; it lists: policy"),
        ({"address": address, "reload": "no_such"}, "has no attribute 'no_such'"),
        ({"address": "http://127.0.0.1:9/v1", "timeout_s": 2.0}, "failed 4 times"),
    ):
        engine = VLLMServerEngine(model, tokenizer, max_batch=8, **settings)
        with pytest.raises(EndpointError) as refusal:
            engine.submit(request(SOME[0]))
        assert words in str(refusal.value) and "\n" not in str(refusal.value) and refusal.value.hint
        engine.close()
    engine = VLLMServerEngine(model, tokenizer, max_batch=8, address=address, reload="himac_reload")
    assert engine.generate([request(SOME[0])])[0].ids
    with pytest.raises(EndpointError, match=r"temperature"):
        engine.generate([request(SOME[0], temperature=3.0)])
    assert engine.generate([request(SOME[0])])[0].ids
    engine.close()


def test_what_is_cancelled_is_given_up_at_once(playing) -> None:
    _, _, engine = playing
    alone = engine.generate([request(SOME[1], seed=5)])
    for seed in range(12):
        engine.submit(request(SOME[2], max_tokens=800, seed=seed))
    engine.cancel()
    assert engine.step() == [] and engine.generate([request(SOME[1], seed=5)])[0].ids == alone[0].ids
