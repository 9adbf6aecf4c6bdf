"""The endpoint client against a real server on localhost that does everything endpoints do."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from endpoint import Answer, Behaviour, Endpoint, fails, says
from PIL import Image

from himac.config import EndpointConfig
from himac.engines import endpoint as endpoint_module
from himac.engines.endpoint import Address, Usage, until_stop
from himac.engines.openai import OpenAIEngine
from himac.errors import ConfigError, EndpointError, ModelError
from himac.images import Album
from himac.types import Message, Request, Sampling

pytest.importorskip("openai", reason="needs the extra openai: pip install 'himac[openai]'")

KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def _quick_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "_FIRST_WAIT_S", 0.02)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@contextmanager
def _engine(
    behave: Behaviour, *, model: str = "#m", **settings: Any
) -> Iterator[tuple[OpenAIEngine, Endpoint]]:
    with Endpoint(behave) as server:
        engine = OpenAIEngine(
            server.url + model, EndpointConfig(**{"retries": 3, "timeout_s": 5.0, **settings})
        )
        try:
            yield engine, server
        finally:
            engine.close()


def _request(text: str = "hello", **sampling: Any) -> Request:
    messages = (Message(role="system", content="You act."), Message(role="user", content=text))
    return Request(messages=messages, sampling=Sampling(**{"max_tokens": 32, "seed": 7, **sampling}))


def _first(answers: dict[int, Answer], otherwise: Answer) -> Behaviour:
    return lambda _, number: answers.get(number, otherwise)


def test_messages_go_out_as_they_are_and_text_comes_back() -> None:
    with _engine(lambda *_: says("<action>go</action>")) as (engine, server):
        done = engine.generate(
            [_request("look", temperature=0.4, top_p=0.9, stop=("</action>", "<sub_done>"))]
        )
    body = server.requests[0]
    assert body["messages"] == [
        {"role": "system", "content": "You act."},
        {"role": "user", "content": "look"},
    ]
    assert (body["model"], body["temperature"], body["top_p"], body["seed"]) == ("m", 0.4, 0.9, 7)
    assert body["max_tokens"] == 32 and body["stop"] == ["</action>"]
    assert (done[0].text, done[0].finish, done[0].num_tokens, done[0].ids) == (
        "<action>go</action>",
        "stop",
        3,
        (),
    )
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_pictures_go_out_as_data_urls_that_hold_the_very_pixels() -> None:
    album, rng = Album(), np.random.default_rng(0)
    images = [rng.integers(0, 255, (8, 12, 3), np.uint8) for _ in range(2)]
    tags = [album.tag(image) for image in images]
    unknown = f"<image:{'0' * 32}>"
    with Endpoint(lambda *_: says("up", usage=False)) as server:
        engine = OpenAIEngine(server.url + "#m", EndpointConfig(retries=1), album=album)
        engine.generate([_request(f"{tags[0]}what {unknown}now?{tags[1]}")])
        engine.close()
    system, user = server.requests[0]["messages"]
    assert system == {"role": "system", "content": "You act."}
    assert [part["type"] for part in user["content"]] == ["image_url", "text", "image_url"]
    assert user["content"][1]["text"] == f"what {unknown}now?"
    for part, image in zip(user["content"][::2], images):
        kind, _, data = part["image_url"]["url"].partition(",")
        assert kind == "data:image/png;base64"
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), image)
    assert engine.usage.prompt_tokens > 2 * 256  # estimated: a picture counts, its name does not


def test_answers_keep_the_order_of_their_requests_and_few_are_under_way_at_once() -> None:
    def slowly(body: dict[str, Any], number: int) -> Answer:
        time.sleep(0.15 if number % 2 else 0.05)
        return says(body["messages"][-1]["content"].upper())

    with _engine(slowly, concurrency=3) as (engine, server):
        done = engine.generate([_request(f"word {n}") for n in range(12)])
        assert [c.text for c in done] == [f"WORD {n}" for n in range(12)]
        assert 2 <= server.most_at_once <= 3
        assert (
            engine.generate([_request("again")])[0].text == "AGAIN"
        )  # the same connections serve the next round


@pytest.mark.parametrize(
    "failure",
    [
        fails(500), fails(503), fails(429), fails(408), (502, {"content-type": "text/html"}, b"<h1>Bad gateway</h1>"),
        (200, {"content-type": "application/json"}, b'{"choices": [{"mess'),
        (200, {"content-type": "application/json"}, b'{"choices": []}'),
        (200, {"content-type": "application/json"}, b'{"choices": [{"message": {"content": 7}}]}'),
        (200, {"content-type": "application/json"}, b"[]"),
        (200, {"content-type": "text/html"}, b"<h1>Please log in</h1>"),
    ],
    ids=["500", "503", "429", "408", "502-html", "cut-json", "no-choices", "number-for-text", "list", "html"],
)  # fmt: skip
def test_what_may_pass_is_tried_again(failure: Answer) -> None:
    with _engine(_first({0: failure, 1: failure}, says("fine"))) as (engine, server):
        assert engine.generate([_request()])[0].text == "fine"
        assert len(server.requests) == engine.usage.requests == 3 and engine.usage.retries == 2


def test_an_answer_that_does_not_come_in_time_is_asked_for_again() -> None:
    def behave(_: dict[str, Any], number: int) -> Answer:
        time.sleep(5.0 if number == 0 else 0.0)
        return says("fine")

    with _engine(behave, timeout_s=0.5) as (engine, _):
        began = time.monotonic()
        assert engine.generate([_request()])[0].text == "fine"
        assert time.monotonic() - began < 4


def test_retry_after_is_obeyed_by_every_request_not_only_by_the_one_that_was_told() -> None:
    with _engine(_first({0: fails(429, retry_after="0.6")}, says("fine")), concurrency=1) as (engine, server):
        engine.generate([_request("a"), _request("b")])
        assert server.times[1] - server.times[0] >= 0.6
    with _engine(_first({0: fails(429, retry_after="0.6")}, says("fine")), concurrency=2) as (engine, server):
        engine.generate([_request("a")])
        assert server.times[1] - server.times[0] >= 0.6


def test_an_hour_s_wait_is_not_waited_for() -> None:
    with _engine(lambda *_: fails(429, "slow down", retry_after="3600")) as (engine, server):
        with pytest.raises(EndpointError, match=r"asks to wait 3600 s \(status 429\): slow down"):
            engine.generate([_request()])
        assert len(server.requests) == 1


def test_waits_grow_and_patience_ends_with_one_line() -> None:
    with (
        _engine(lambda *_: fails(500, "broken"), retries=4) as (engine, server),
        pytest.raises(EndpointError, match=r"failed 5 times in \d+ s \(last: status 500: broken\)") as caught,
    ):
        engine.generate([_request()])
    waits = [b - a for a, b in zip(server.times, server.times[1:])]
    assert len(waits) == 4 and all(wait >= 0.01 * 2**n for n, wait in enumerate(waits))
    assert "endpoint.retries" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_nobody_there_is_one_line() -> None:
    with Endpoint(lambda *_: says("")) as server:
        address = server.url
    engine = OpenAIEngine(address + "#m", EndpointConfig(retries=1))
    with pytest.raises(EndpointError, match="failed 2 times in 0 s \\(last: no connection"):
        engine.generate([_request()])
    engine.close()
    engine.close()


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        (fails(401, f"Incorrect API key provided: {KEY}."), "provided: [key].", "$OPENAI_API_KEY"),
        (fails(404, "The model `m` does not exist"), "does not exist", "usually ends in /v1"),
        (
            fails(429, "You exceeded your current quota", code="insufficient_quota"),
            "exceeded your current quota",
            "",
        ),
        (fails(400, "temperature must be 1", param="temperature"), "temperature must be 1", ""),
    ],
)
def test_what_will_not_pass_stops_at_once(answer: Answer, message: str, hint: str) -> None:
    with _engine(lambda *_: answer) as (engine, server):
        with pytest.raises(EndpointError) as caught:
            engine.generate([_request()])
        assert message in str(caught.value) and hint in caught.value.hint and KEY not in str(caught.value)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        fails(400, "This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
        fails(400, "the request exceeds the available context size"),
        fails(400, "filtered", code="content_filter"),
    ],
)
def test_what_one_prompt_is_to_blame_for_leaves_the_others_alone(refusal: Answer) -> None:
    def behave(body: dict[str, Any], _: int) -> Answer:
        return refusal if "long" in body["messages"][-1]["content"] else says("fine")

    with _engine(behave) as (engine, _):
        done = engine.generate([_request("a"), _request("long"), _request("b")])
    assert [c.finish for c in done] == ["stop", "refused", "stop"] and "status 400" in done[1].error


def test_fields_that_an_endpoint_does_not_know_are_given_up_where_nothing_is_lost() -> None:
    def behave(body: dict[str, Any], _: int) -> Answer:
        if "max_tokens" in body:
            return fails(
                400,
                "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
                param="max_tokens",
            )
        if "stop" in body:
            return fails(400, "Unsupported parameter: 'stop' is not supported with this model.", param="stop")
        return says("<action>go</action> and so on")

    with _engine(behave, retries=2) as (engine, server):
        done = engine.generate([_request(str(n), stop=("</action>",)) for n in range(6)])
        assert {c.text for c in done} == {"<action>go</action>"}
        count = len(server.requests)
        engine.generate([_request(stop=("</action>",))])
        assert len(server.requests) == count + 1 and server.requests[-1]["max_completion_tokens"] == 32


def test_a_server_that_falls_over_stops_is_asked_without_them() -> None:
    def behave(body: dict[str, Any], _: int) -> Answer:
        return fails(500) if "stop" in body else says("<action>go</action> and so on")

    with _engine(behave, retries=3, concurrency=1) as (engine, server):
        done = engine.generate([_request(str(n), stop=("</action>",)) for n in range(3)])
        assert {c.text for c in done} == {"<action>go</action>"}
        assert len(server.requests) == 3 + 3


def test_a_server_that_has_answered_keeps_its_stops_through_an_outage() -> None:
    def behave(_: dict[str, Any], number: int) -> Answer:
        return fails(500) if 1 <= number <= 5 else says("<action>go</action>")

    with _engine(behave, retries=8, concurrency=1) as (engine, server):
        engine.generate([_request(str(n), stop=("</action>",)) for n in range(2)])
        assert all("stop" in body for body in server.requests) and len(server.requests) == 7


def test_the_only_model_is_found_and_several_are_named() -> None:
    with _engine(lambda *_: says("fine"), model="") as (engine, server):
        engine.generate([_request()])
        assert server.requests[0]["model"] == "m"
    with _engine(lambda *_: says("fine"), model="") as (engine, server):
        server.models = ["a", "b"]
        with pytest.raises(EndpointError, match="serves 2 models: a, b;") as caught:
            engine.generate([_request()])
        assert caught.value.hint == f"name it: {server.url}#a"


def test_a_budget_of_requests_is_never_exceeded_retries_included() -> None:
    with _engine(_first({0: fails(500), 2: fails(500)}, says("fine")), budget=(5, 0), concurrency=2) as (
        engine,
        server,
    ):
        with pytest.raises(EndpointError, match=r"the budget of 5 requests \(endpoint.budget\) is spent"):
            engine.generate([_request(str(n)) for n in range(9)])
        assert len(server.requests) == engine.usage.requests == 5
        assert engine.usage.completion_tokens == 9  # what was under way came in and was counted


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_budget_of_tokens_is_never_overrun_and_nearly_used(concurrency: int) -> None:
    """An answer of 13 tokens may be one of 10 and 32: that much is set aside for each that is under way."""
    with _engine(lambda *_: says("fine"), budget=(0, 200), concurrency=concurrency) as (engine, server):
        with pytest.raises(
            EndpointError, match=r"the budget of 200 tokens \(endpoint.budget\) is spent: \d+ are left"
        ):
            engine.generate([_request("a") for _ in range(99)])
        usage = engine.usage
        spent = usage.prompt_tokens + usage.completion_tokens
        assert spent == 13 * len(server.requests) <= 200 and 200 - spent < 13 + 42
        assert (usage._reserved, usage._under_way) == (0, 0)


def test_an_answer_of_negative_tokens_lifts_no_budget() -> None:
    status, headers, body = says("fine")
    told = body.replace(b'"prompt_tokens": 10', b'"prompt_tokens": -20000000000')
    with _engine(lambda *_: (status, headers, told), budget=(0, 200), concurrency=1) as (engine, _):
        with pytest.raises(EndpointError, match="budget of 200 tokens"):
            engine.generate([_request("a") for _ in range(99)])
        assert 0 < engine.usage.prompt_tokens < 200 and engine.usage.estimated == engine.usage.answers


@pytest.mark.parametrize("key", ["abc\ndef", "sk-ü", "sk 1", "sk-\x00", "\x1b[2Jsk"])
def test_a_key_that_is_none_is_refused_unsent_and_untold(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "\0" in key:
        monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": key})
    else:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match=r"the key in \$OPENAI_API_KEY holds") as caught:
        OpenAIEngine("http://127.0.0.1:9/v1#m", EndpointConfig()).generate([_request()])
    told = f"{caught.value} {caught.value.hint}"
    assert not any(part in told for part in key.split() if len(part) > 2)


@pytest.mark.parametrize("said", [KEY, repr(KEY)[1:12], f"sk-secr{'*' * 9}6789", f"x{KEY[3:]}y"])
def test_no_part_of_a_key_is_told(said: str) -> None:
    with _engine(lambda *_: fails(401, f"bad key {said}")) as (engine, _):
        with pytest.raises(EndpointError, match=r"bad key \S*\[key\]") as caught:
            engine.generate([_request()])
        assert not any(KEY[i : i + 8] in str(caught.value) for i in range(len(KEY) - 7))


def test_what_a_server_says_reaches_no_terminal_as_it_is() -> None:
    with (
        _engine(lambda *_: fails(403, "\x1b]0;PWN\x07\x1b[2Jbad \u202eevil\nsecond")) as (engine, _),
        pytest.raises(EndpointError, match="bad") as caught,
    ):
        engine.generate([_request()])
    assert str(caught.value).isprintable()


def test_a_redirect_is_told_and_not_followed() -> None:
    with Endpoint(lambda *_: says("stolen")) as other:
        to = other.url.replace("127.0.0.1", "localhost")
        with _engine(lambda *_: (307, {"location": f"{to}/chat/completions"}, b"")) as (engine, server):
            with pytest.raises(EndpointError, match=r"redirects to localhost:\d+ \(status 307\)"):
                engine.generate([_request()])
            assert len(server.requests) == 1 == engine.usage.requests and not other.requests


def test_what_was_no_answer_is_told_apart() -> None:
    answers = [
        says(None, reasoning_content="a long thought"), says("<think>so"), says(None, finish="content_filter"),
        says(None, refusal="I cannot"), says(""), says("fine"),
    ]  # fmt: skip
    with _engine(lambda _, number: answers[number], concurrency=1) as (engine, _):
        engine.generate([_request(str(n)) for n in range(6)])
        usage = engine.usage.counts()
    assert [usage[key] for key in ("answers", "thoughts_only", "filtered", "refused", "empty")] == [
        6,
        2,
        1,
        1,
        1,
    ]


def test_one_bad_prompt_ends_one_episode_once_others_were_answered() -> None:
    with _engine(_first({1: fails(400, "tool schema unhappy")}, says("fine")), concurrency=1) as (engine, _):
        finishes = [c.finish for c in engine.generate([_request(str(n)) for n in range(3)])]
    assert finishes == ["stop", "refused", "stop"]


def test_a_model_of_one_temperature_is_told_where_to_set_it() -> None:
    said = fails(400, "'temperature' does not support 0 with this model", param="temperature")
    with _engine(lambda *_: said) as (engine, _), pytest.raises(EndpointError, match="temperature") as caught:
        engine.generate([_request()])
    assert "eval.temperature" in caught.value.hint


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"choices": ' + b"1" * 6000 + b"}", b"\xff\xfe", b""])
def test_a_body_that_is_nonsense_is_tried_again_and_then_one_line(body: bytes) -> None:
    with _engine(lambda *_: (200, {"content-type": "application/json"}, body), retries=1) as (engine, server):
        with pytest.raises(EndpointError, match="failed 2 times") as caught:
            engine.generate([_request()])
        assert len(server.requests) == 2 and "\n" not in str(caught.value)


def test_it_works_inside_a_running_loop() -> None:
    async def notebook(engine: OpenAIEngine) -> str:
        return engine.generate([_request()])[0].text

    with _engine(lambda *_: says("fine")) as (engine, _):
        assert asyncio.run(notebook(engine)) == "fine"


@pytest.mark.parametrize(
    "address", ["http://[::1/v1#m", "http://127.0.0.1:abc/v1#m", "http://127.0.0.1:99999999/v1#m", "http://#m", "http://a\x1b/v1"]
)  # fmt: skip
def test_an_address_that_is_none_is_one_line(address: str) -> None:
    with pytest.raises(ConfigError, match="an endpoint's address is URL#MODEL"):
        Address.read(address)


def test_two_engines_share_one_meter() -> None:
    usage = Usage(max_requests=1)
    with Endpoint(lambda *_: says("fine")) as server:
        settings = EndpointConfig()
        engines = [OpenAIEngine(f"{server.url}#{name}", settings, usage=usage) for name in "ab"]
        engines[0].generate([_request()])
        with pytest.raises(EndpointError, match="budget of 1 requests"):
            engines[1].generate([_request()])
        for engine in engines:
            engine.close()


def test_tokens_that_are_not_told_are_estimated_and_that_is_counted() -> None:
    with _engine(lambda *_: says("12345678", usage=False)) as (engine, _):
        assert engine.generate([_request()])[0].num_tokens == 2
        assert engine.usage.counts()["estimated"] == 1 and engine.usage.prompt_tokens == (8 + 5) // 4


@pytest.mark.parametrize(
    ("content", "finish", "text", "ending"),
    [
        ("<action>go", "stop", "<action>go</action>", "stop"),  # the stop string was left out
        ("<action>go", "length", "<action>go", "length"),
        ("x</action><action>y</action>", "stop", "x</action>", "stop"),
        ("<think>hm</think><sub_done> and more", "stop", "<think>hm</think><sub_done>", "stop"),
        (None, "length", "", "length"),  # a thinking model that was cut before it answered
        ("half \ud800 pair", "stop", "half ? pair", "stop"),
        (f"my key is {KEY}", "stop", "my key is [key]", "stop"),
    ],
)
def test_texts_end_where_other_engines_end_them(
    content: str | None, finish: str, text: str, ending: str
) -> None:
    with _engine(lambda *_: says(content, finish=finish)) as (engine, _):
        done = engine.generate([_request(stop=("</action>", "<sub_done>"))])[0]
    assert (done.text, done.finish) == (text, ending)


def test_where_thoughts_are_asked_for_no_stop_is_sent_and_the_answer_is_cut_here() -> None:
    text = "<think>not <action>wait</action> but</think><action>go</action> and more"
    with _engine(lambda *_: says(text)) as (engine, server):
        done = engine.generate([_request(stop=("</action>", "<sub_done>"), thinks=True)])[0]
    assert "stop" not in server.requests[0]
    assert done.text == "<think>not <action>wait</action> but</think><action>go</action>"


@pytest.mark.parametrize("text", ["<think>not <action>go</action>", "<think>why</think><action>go"])
def test_a_thought_without_an_end_and_an_action_without_one_stay_so(text: str) -> None:
    with _engine(lambda *_: says(text)) as (engine, _):
        assert engine.generate([_request(stop=("</action>",), thinks=True)])[0].text == text


def test_nothing_is_put_back_that_was_never_opened() -> None:
    assert until_stop("go east", ("</action>", "<sub_done>")) == "go east"


@pytest.mark.parametrize(
    "address", ["http://user:pass@host/v1#m", "https://host/v1?api_key=1#m", "http:///v1#m"]
)
def test_an_address_carries_no_key(address: str) -> None:
    with pytest.raises(ConfigError, match="address is URL#MODEL") as caught:
        Address.read(address)
    assert "pass" not in str(caught.value)


def test_a_key_may_have_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "other")
    with _engine(lambda *_: says("fine"), key_env="OTHER_KEY") as (engine, server):
        engine.generate([_request()])
    monkeypatch.delenv("OPENAI_API_KEY")
    with _engine(lambda *_: says("fine")) as (engine, without):
        engine.generate([_request()])
    assert server.headers[0]["authorization"] == "Bearer other"
    assert without.headers[0]["authorization"] == "Bearer none"


def test_token_ids_and_new_weights_are_refused() -> None:
    with _engine(lambda *_: says("fine")) as (engine, _):
        with pytest.raises(ModelError, match="takes messages"):
            engine.generate([Request(prompt=(1, 2), sampling=Sampling())])
        with pytest.raises(ModelError, match="cannot be changed"):
            engine.load_weights(None, 1)


def test_giving_up_leaves_no_task_behind() -> None:
    def behave(body: dict[str, Any], _: int) -> Answer:
        if "bad" in body["messages"][-1]["content"]:
            return fails(401)
        time.sleep(5.0)
        return says("late")

    with _engine(behave, concurrency=8) as (engine, _):
        began = time.monotonic()
        with pytest.raises(EndpointError, match="status 401"):
            engine.generate([_request("good"), _request("bad")])
        assert time.monotonic() - began < 4
        assert len(asyncio.all_tasks(engine._loop._loop)) == 0


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("content", "more", "text", "empty"),
    [
        ([THINKING, {"type": "text", "text": "<action>go</action>"}], {}, "<action>go</action>", (0, 0)),
        (
            [{"type": "text", "text": "<action>"}, {"type": "text", "text": "go</action>"}],
            {},
            "<action>go</action>",
            (0, 0),
        ),
        (["<action>go</action>"], {}, "<action>go</action>", (0, 0)),
        ([THINKING], {}, "", (1, 0)),
        ([], {}, "", (0, 1)),
        (None, {"reasoning_content": "a long thought"}, "", (1, 0)),
        ("<think>a long thought", {}, "<think>a long thought", (1, 0)),
    ],
)
def test_an_answer_in_parts_is_read_once_and_one_without_a_word_is_counted(
    content: Any, more: dict[str, Any], text: str, empty: tuple[int, int]
) -> None:
    with _engine(lambda *_: says(content, **more)) as (engine, server):
        done = engine.generate([_request(stop=("</action>",))])
    assert (done[0].text, len(server.requests)) == (text, 1)
    usage = engine.usage
    assert (usage.answers, usage.thoughts_only, usage.empty) == (1, *empty)


def test_content_of_no_known_kind_is_tried_again() -> None:
    with _engine(_first({0: says(3)}, says("<action>go</action>"))) as (engine, server):
        assert engine.generate([_request()])[0].text == "<action>go</action>"
    assert len(server.requests) == 2
