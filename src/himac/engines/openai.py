"""Generation behind an OpenAI-compatible endpoint: messages out, text back.

An endpoint is metered and unreliable, so each request is an attempt that is counted, bounded in
time and, where that can help, tried again after a growing, jittered wait; when one request is told to slow
down, all wait. What cannot be mended stops the caller with one line, and what a single prompt is to blame
for comes back as a refused completion.

An address is a URL and, after `#`, the model: `https://api.openai.com/v1#gpt-4.1-mini`. The key comes from
the environment and goes into the request's header, nowhere else.

A picture goes as a data URL inside its message.

Left out: token ids and log-probabilities (such episodes cannot be trained on), streaming, tools. Requests run on a loop of
their own in a thread of its own, so a notebook's running loop is no hindrance.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from himac.config import EndpointConfig
from himac.engines.base import Engine
from himac.engines.endpoint import (
    Address,
    BudgetSpent,
    Usage,
    asked_wait_s,
    check_key,
    content_of,
    is_count,
    sendable,
    text_of,
    until_stop,
    wait_s,
    without_key,
)
from himac.engines.loop import Loop
from himac.errors import EndpointError, ModelError, missing_extra
from himac.images import Album, estimated_tokens
from himac.text import line, whole
from himac.types import Completion, Json, Request, Weights

_MAX_CHARS = 1_000_000  # of an answer: more is no answer
_HINT_TEMPERATURE = "eval.temperature = 1 is what some models insist on"
_MAX_ASKED_WAIT_S = 300.0  # an endpoint that asks for more is not waited for
_TRY_AGAIN = {408, 409, 425, 429}  # and everything from 500 on
_NO_KEY = "none"  # what a local server that wants no key is sent
_TOO_LONG = re.compile(
    r"context.{0,8}(length|window|size)|(prompt|input|messages?|string).{0,20}too (long|large)|too many tokens",
    re.I,
)
_FILTERED = re.compile(r"content.{0,3}(filter|policy|management)|flagged", re.I)


class _Refused(Exception):
    """One prompt cannot be answered; others can."""


class _TryAgain(Exception):
    """An attempt failed in a way that another one may not. `after_s`: what the endpoint asks to wait; 0 is nothing."""

    def __init__(self, reason: str, *, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class OpenAIEngine(Engine):
    """An `Engine` behind an address. It takes requests that carry messages, and returns text.

    Args:
        address: see `Address.read`; without a model, the only one that the endpoint serves.
        settings: time limit, retries, concurrency, and the name of the key's variable.
        usage: counts and limits; shared with other engines of the same command.
        key_env: environment variable with the key; "" takes the settings'.
        album: holds the pictures that messages name.

    Raises:
        MissingExtraError: the package openai is not installed.
        ConfigError: the address carries a key.
    """

    def __init__(
        self,
        address: str,
        settings: EndpointConfig,
        *,
        usage: Usage | None = None,
        key_env: str = "",
        album: Album | None = None,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise missing_extra("openai", "openai", f"the endpoint {address.partition('#')[0]!r}") from error
        self._openai = openai
        self.address = Address.read(address)
        self.usage = usage or Usage.within(settings.budget)
        self._settings, self._album = settings, album or Album()
        self._key_env = key_env or settings.key_env
        self._key = os.environ.get(self._key_env, "").strip()
        self._model = self.address.model
        self._length_field = "max_tokens"  # newer models of OpenAI's want max_completion_tokens
        self._dropped: set[str] = set()  # fields that this endpoint does not take and we can do without
        self._fell: Counter[int] = Counter()  # status 500 at a stop while nobody was answered, by request
        self._resume_at = 0.0  # monotonic time before which nobody sends
        self._loop = Loop()
        self._client: Any = None  # belongs to that loop
        self._places: asyncio.Semaphore | None = None
        self._room: asyncio.Condition | None = None  # somebody's reserved tokens are free again
        self._next = 0  # ticket
        self._fresh: dict[int, Request] = {}  # submitted, not yet sent
        self._under_way: dict[asyncio.Task[Completion], int] = {}

    def submit(self, request: Request) -> int:
        """Take a request; it is sent in the steps that follow.

        Raises:
            ModelError: it carries token ids instead of messages.
            ConfigError: the key is none that a header can carry.
        """
        check_key(self._key, self._key_env)
        if not request.messages:
            raise ModelError(
                "an endpoint takes messages, got token ids",
                hint="collect with MessageFormat instead of ChatFormat",
            )
        self._next += 1
        self._fresh[self._next] = request
        return self._next

    def step(self) -> list[tuple[int, Completion]]:
        """Send what was submitted and wait for the first answers; several requests are under way at once.

        Raises:
            EndpointError: the endpoint cannot be used any further, or the budget is spent.
        """
        return self._loop.run(self._step()) if self._fresh or self._under_way else []

    def cancel(self) -> None:
        """Give up what is under way."""
        if self._fresh or self._under_way:
            self._loop.run(self._give_up())

    def load_weights(self, state: Weights, version: int) -> None:
        """Refuse: an endpoint's weights are its own.

        Raises:
            ModelError: always.
        """
        raise ModelError("an endpoint's weights cannot be changed", hint="train a local model")

    def close(self) -> None:
        """Close the connections. Closing twice is allowed."""
        if self._client is not None:
            self._loop.run(self._client.close())
            self._client = None
        self._loop.close()

    # what is under way

    async def _step(self) -> list[tuple[int, Completion]]:
        if self._client is None:
            # a redirect would carry prompts to a host that nobody named, and be no request that is counted
            direct = self._openai.DefaultAsyncHttpxClient(follow_redirects=False)
            self._client = self._openai.AsyncOpenAI(
                base_url=self.address.url, api_key=self._key or _NO_KEY, timeout=self._settings.timeout_s, max_retries=0,
                http_client=direct,
            )  # fmt: skip
            self._places = asyncio.Semaphore(self._settings.concurrency)
            self._room = asyncio.Condition()
        try:
            if not self._model:
                self._model = await self._only_model()
            for ticket, request in self._fresh.items():
                self._under_way[asyncio.create_task(self._complete(request))] = ticket
            self._fresh.clear()
            done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            return sorted((self._under_way.pop(task), task.result()) for task in done)
        except BudgetSpent:  # what is under way has been paid for: let it come in and be counted
            await asyncio.gather(*self._under_way, return_exceptions=True)
            self._under_way.clear()
            raise
        except BaseException:
            await self._give_up()
            raise

    async def _give_up(self) -> None:
        self._fresh.clear()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._under_way.clear()

    async def _only_model(self) -> str:
        try:
            answer = await self._persist(lambda: self._client.models.list())
        except EndpointError as error:
            error.hint = f"if it cannot list its models, name one: {self.address.url}#MODEL"
            raise
        names = [
            line(without_key(str(model.id), self._key))[:100] for model in getattr(answer, "data", None) or []
        ]
        if len(names) != 1:
            listed = f": {', '.join(names[:5])}" if names else ""
            raise EndpointError(
                f"{self.address.url} serves {len(names)} models{listed}; an address without a model needs exactly one",
                hint=f"name it: {self.address.url}#{names[0] if names else 'MODEL'}",
            )
        return str(answer.data[0].id)

    async def _complete(self, request: Request) -> Completion:
        assert self._places is not None
        async with self._places:
            try:
                completion: Completion = await self._persist(lambda: self._ask(request))
                return completion
            except _Refused as refusal:
                return Completion(finish="refused", text="", error=str(refusal))

    # one request

    async def _ask(self, request: Request) -> Completion:
        """Send one attempt and read its answer."""
        body = self._body(request)
        num_bytes = sum(len(message.content.encode("utf-8", "replace")) for message in request.messages)
        most = request.sampling.max_tokens
        assert self._room is not None
        async with self._room:
            await self._room.wait_for(lambda: self.usage.has_room(num_bytes, most))
            reserved = self.usage.cost(num_bytes, most)
            self.usage.spend(reserved)
        try:
            answer = await self._client.chat.completions.create(**body)
            return self._read(answer, request, num_bytes)
        except (self._openai.BadRequestError, self._openai.UnprocessableEntityError) as error:
            said = f"{error.param} {self._said(error)}"
            if not self._adapt(body, said):
                raise
            raise _TryAgain(f"status {error.status_code}: {said}") from None
        except self._openai.InternalServerError as error:
            self._fell[id(request)] += error.status_code == 500 and "stop" in body and not self.usage.answers
            if self._fell[id(request)] == 3:  # so `transformers serve` takes a stop for a model that sees
                self._dropped.add("stop")  # answers are cut here too: nothing is lost but tokens
            raise
        finally:
            async with self._room:
                self.usage.settle(reserved)
                self._room.notify_all()

    def _body(self, request: Request) -> dict[str, Json]:
        sampling = request.sampling
        body: dict[str, Json] = {
            "model": self._model,
            "messages": [{"role": m.role, "content": content_of(m, self._album)} for m in request.messages],
            "temperature": sampling.temperature,
            self._length_field: sampling.max_tokens,
            "seed": sampling.seed & 0x7FFFFFFF,
        }
        if sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        # a server stops at a tag within a thought too: where thoughts are asked for, `until_stop` cuts the answer here
        if not sampling.thinks and (stops := sendable(sampling.stop)):
            body["stop"] = stops
        return {key: value for key, value in body.items() if key not in self._dropped}

    def _read(self, answer: Json, request: Request, num_bytes: int) -> Completion:
        choices = getattr(answer, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        content = text_of(getattr(message, "content", None))
        if message is None or content is None:
            raise _TryAgain("an answer that is no chat completion")
        text = whole(content[:_MAX_CHARS])
        if self._key:
            text = text.replace(self._key, "[key]")
        finish = getattr(choice, "finish_reason", None)
        self.usage.sort(text, message, finish)
        num_tokens = self._count(getattr(answer, "usage", None), request, text, num_bytes)
        is_cut = finish == "length"
        return Completion(
            finish="length" if is_cut else "stop",
            text=text
            if is_cut
            else until_stop(text, request.sampling.stop, sent=not request.sampling.thinks),
            num_tokens=num_tokens,
        )

    def _count(self, usage: Json, request: Request, text: str, num_bytes: int) -> int:
        """Count an answer's tokens; return those of the completion."""
        asked: Any = getattr(usage, "prompt_tokens", None)
        written: Any = getattr(usage, "completion_tokens", None)
        if not (is_count(asked) and is_count(written)):
            asked = sum(estimated_tokens(message.content) for message in request.messages)
            written = -(-len(text.encode()) // 4)
            self.usage.estimated += 1
        self.usage.count(asked, written, num_bytes)
        return int(written)

    # attempts

    async def _persist(self, attempt: Any) -> Any:
        """Attempt something until it succeeds, cannot succeed, or has failed too often."""
        began, failures = time.monotonic(), 0
        while True:
            while (left := self._resume_at - time.monotonic()) > 0:
                await asyncio.sleep(left * random.uniform(1.0, 1.2))
            try:
                return await self._attempt(attempt)
            except _TryAgain as failure:
                failures += 1
                if failures > self._settings.retries:
                    raise EndpointError(
                        f"{self.address.url} failed {failures} times in {time.monotonic() - began:.0f} s (last: {failure})",
                        hint="the same command goes on where this one stopped; endpoint.retries and endpoint.timeout_s "
                        "say how patient it is",
                    ) from failure
                self.usage.retries += 1
                await asyncio.sleep(max(failure.after_s, wait_s(failures)))

    async def _attempt(self, attempt: Any) -> Any:
        """Attempt once; say of a failure what it means.

        Raises:
            _TryAgain: it may pass.
            _Refused: it is this prompt's fault.
            EndpointError: it will not pass.
        """
        openai = self._openai
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await attempt()
        except (TimeoutError, openai.APITimeoutError):
            raise _TryAgain(f"no answer within {self._settings.timeout_s:g} s") from None
        except openai.APIConnectionError as error:
            raise _TryAgain(f"no connection: {self._said(error.__cause__ or error)}") from None
        except openai.APIStatusError as error:
            raise self._meaning(error) from None
        except (
            openai.APIError,
            ValueError,
            RecursionError,
        ) as error:  # a body that is no JSON, or not what it should be
            raise _TryAgain(f"an answer that cannot be read: {self._said(error)}") from None

    def _meaning(self, error: Json) -> Exception:
        """Sort an answer with an error status."""
        status, said, url = error.status_code, self._said(error), self.address.url
        if (status in _TRY_AGAIN or status >= 500) and error.code != "insufficient_quota":
            after_s = asked_wait_s(error.response.headers)
            if after_s > _MAX_ASKED_WAIT_S:
                return EndpointError(f"{url} asks to wait {after_s:.0f} s (status {status}): {said}")
            if after_s:
                self._resume_at = max(self._resume_at, time.monotonic() + after_s)
            return _TryAgain(f"status {status}: {said}", after_s=after_s)
        told = f"{error.code} {said}"
        if status in (400, 413, 422) and (
            self.usage.answers or any(p.search(told) for p in (_TOO_LONG, _FILTERED))
        ):  # others were answered: it is this prompt's own
            return _Refused(f"status {status}: {said}")
        if 300 <= status < 400:
            to = urlsplit(str(error.response.headers.get("location", ""))).netloc
            return EndpointError(
                f"{url} redirects to {line(without_key(to, self._key))[:100] or 'somewhere else'} (status {status})",
                hint="name that address itself: prompts and keys go to no other",
            )
        hints = {
            400: _HINT_TEMPERATURE if "temperature" in told else "",
            401: f"put a valid key into ${self._key_env} (endpoint.key_env names the variable)",
            403: f"the key in ${self._key_env} may not use this model",
            404: f"check the model {self._model!r} and the address, which usually ends in /v1",
        }
        return EndpointError(
            f"{url} refused the request (status {status}): {said}", hint=hints.get(status, "")
        )

    def _adapt(self, body: dict[str, Json], said: str) -> bool:
        """Give up a field of the body that the endpoint does not take, where nothing is lost; say whether there was one."""
        if "max_tokens" in body and "max_tokens" in said and "max_completion_tokens" in said:
            self._length_field = "max_completion_tokens"
            return True
        found = [field for field in ("stop", "seed") if field in body and re.search(rf"\b{field}\b", said)]
        self._dropped.update(found)
        return bool(found)

    def _said(self, error: Json) -> str:
        """Return the first line of what went wrong, without the key."""
        body = getattr(error, "body", None)
        message = body.get("message") or body.get("detail") if isinstance(body, dict) else None
        text = str(message or getattr(error, "message", "") or error or type(error).__name__)
        first = text[:10_000].strip().splitlines()
        return line(without_key(first[0] if first else type(error).__name__, self._key))[:200]
