"""vLLM inside the process: the learner's log-probabilities before and after every hand-over, and himac's own endings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from of_learner import EXACT, SOME, check_that_adapters_follow, gap, learn, request

from himac.config import ModelConfig
from himac.engines import vllm as vllm_module
from himac.engines.transformers import TransformersEngine
from himac.engines.vllm import VLLMEngine
from himac.errors import ModelError
from himac.learner.policy import ROLES
from himac.models.load import load_model

SMALL = {"max_batch": 8, "max_kv_tokens": 16_384}


@pytest.fixture(scope="module")
def playing(tied: Path) -> Iterator[tuple]:
    """A tied model, its tokenizer, and an engine on it, for the tests that change no weights."""
    model, tokenizer = load_model(str(tied))
    engine = VLLMEngine(model, tokenizer, **SMALL)
    yield model, tokenizer, engine
    engine.close()


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_log_probabilities_are_the_learners_before_and_after_each_hand_over(kind, request_of, capsys) -> None:
    model, tokenizer = load_model(str(request_of(kind)))
    engine = VLLMEngine(model, tokenizer, **SMALL)
    try:
        before = [gap(model, asked, engine.generate(asked)) for asked in _batches()]
        for version in (1, 2):
            learn(model, seed=version)
            engine.load_weights(None, version)
            before += [gap(model, asked, engine.generate(asked)) for asked in _batches()]
        assert max(before) < EXACT and engine.version == 2
        with capsys.disabled():
            print(f"\n{kind}: gap at most {max(before):.1e}")
    finally:
        engine.close()


def test_a_head_that_keeps_old_weights_is_refused_in_one_line(tied, monkeypatch) -> None:
    model, tokenizer = load_model(str(tied))
    monkeypatch.setattr(vllm_module, "mend_head", lambda model: 0.0)
    engine = VLLMEngine(model, tokenizer, **SMALL)
    with pytest.raises(ModelError, match=r"off the learner's by .* computes with other weights"):
        engine.generate([request(SOME[0])])
    engine.close()


def test_each_role_has_its_adapter_in_one_batch_and_new_ones_take_the_place_of_old_ones(tied) -> None:
    settings = ModelConfig(lora_rank=4, lora_per_role=True)
    model, tokenizer = load_model(str(tied), settings, adapters=ROLES)
    learn(model, only="lora_B", seed=3)
    engine = VLLMEngine(model, tokenizer, **SMALL)
    try:
        check_that_adapters_follow(engine, model)
    finally:
        engine.close()


def test_a_request_has_the_same_tokens_alone_and_among_others(playing) -> None:
    _, _, engine = playing
    alone = engine.generate([request(SOME[1], seed=5)])[0]
    among = engine.generate([request(prompt, seed=seed) for seed in (5, 6, 2**62) for prompt in SOME])
    assert among[1].ids == alone.ids
    np.testing.assert_allclose(among[1].logps, alone.logps, atol=1e-5)
    assert len({answer.ids for answer in (among[1], among[5], among[9])}) == 3
    assert engine.generate([request(SOME[1], seed=5)])[0].ids == alone.ids


def test_prompts_as_long_as_the_model_takes_and_more_of_them_than_fit_one_step(playing) -> None:
    model, _, engine = playing
    longest = np.arange(1020) * 11 % 250 + 5
    asked = [request((longest + seed) % 250 + 5, max_tokens=9, seed=seed) for seed in range(12)]
    done = engine.generate(asked)  # 12,240 tokens; a step takes 8,192
    assert [len(answer.ids) for answer in done] == [4] * 12 and gap(model, asked, done) < EXACT
    assert {answer.finish for answer in done} == {"length"}
    with pytest.raises(ModelError, match="a prompt of 1024 tokens; vLLM takes fewer than 1024"):
        engine.submit(request(np.arange(1024) % 250 + 5))


def test_answers_end_where_those_of_the_other_engine_end(playing) -> None:
    model, tokenizer, engine = playing
    own = TransformersEngine(model, tokenizer)
    said = [tokenizer.decode(own.generate([_greedy(prompt)])[0].ids) for prompt in SOME]
    asked = [_greedy(prompt, stop=(text[8:10], "never")) for prompt, text in zip(SOME, said, strict=True)]
    asked += [_greedy(prompt, stop=(text[8:10],), in_thought=True) for prompt, text in zip(SOME, said)]
    ours, theirs = own.generate(asked), engine.generate(asked)
    assert [(a.ids, a.finish) for a in theirs] == [(a.ids, a.finish) for a in ours]
    assert {a.finish for a in theirs[:4]} == {"stop"} and min(len(a.ids) for a in theirs) < 32
    assert all(len(a.ids) == 32 for a in theirs[4:])  # within a thought stop strings rest
    assert gap(model, asked, theirs) < EXACT


def test_an_end_token_ends_an_answer_and_belongs_to_it(playing) -> None:
    _, tokenizer, engine = playing
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    done = engine.generate(
        [request(SOME[0], max_tokens=400, temperature=2.0, seed=seed) for seed in range(8)]
    )
    ended = [answer for answer in done if answer.finish == "stop"]
    assert ended and all(answer.ids.count(end) == (answer.ids[-1] == end) for answer in ended)


def test_what_is_cancelled_leaves_no_trace(playing) -> None:
    _, _, engine = playing
    alone = engine.generate([request(SOME[1], seed=5)])
    for seed in range(12):
        engine.submit(request(SOME[2], max_tokens=200, seed=seed))
    engine.step()
    engine.cancel()
    assert engine.step() == [] and engine.generate([request(SOME[1], seed=5)])[0].ids == alone[0].ids


def test_a_second_one_in_the_process_is_refused(playing) -> None:
    model, tokenizer, _ = playing
    with pytest.raises(ModelError, match="vLLM runs once in a process"):
        VLLMEngine(model, tokenizer, **SMALL).submit(request(SOME[0]))


@pytest.fixture
def request_of(request: pytest.FixtureRequest):
    return request.getfixturevalue


def _batches() -> list[list]:
    sampled = [request(prompt, temperature=t, seed=7) for t in (0.4, 1.0, 1.3) for prompt in SOME]
    return [sampled, [_greedy(prompt) for prompt in SOME]]


def _greedy(prompt, **sampling):
    return request(prompt, **{"max_tokens": 32, "temperature": 0.0, **sampling})
