"""Endpoint helpers that need no network: address parsing, usage budget, back-off, stop strings.

All that the client in `himac.engines.openai` has to get right and that needs no network stands here, as
plain functions and two small classes.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from himac.chat.thoughts import answer_start, thought_is_open
from himac.errors import ConfigError, EndpointError
from himac.images import Album, data_url, parts
from himac.types import Json, Message

_FIRST_WAIT_S, _MAX_WAIT_S = 0.5, 60.0  # before the first retry; before any


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a model is served."""

    url: str  # of the API, usually ending in /v1
    model: str  # "" when the endpoint serves only one

    @classmethod
    def read(cls, text: str) -> Address:
        """Read `URL#MODEL`.

        >>> Address.read("http://localhost:8000/v1/#org/name")
        Address(url='http://localhost:8000/v1', model='org/name')

        Raises:
            ConfigError: no host, or a user name, a password or a query, where keys would hide.
        """
        url, _, model = text.partition("#")
        parts = urlsplit(url)
        if not parts.hostname:
            raise ConfigError(
                f"an endpoint's address is URL#MODEL, got {text!r}", hint="http://localhost:8000/v1#NAME"
            )
        if "@" in parts.netloc or parts.query:
            raise ConfigError(
                f"an endpoint's address is URL#MODEL without user or query, got more for host {parts.hostname!r}",
                hint="put the key into the environment: endpoint.key_env names the variable",
            )
        return cls(url=url.rstrip("/"), model=model)


@dataclass(slots=True, kw_only=True)
class Usage:
    """What endpoints have been asked for, and what they may be asked for at most. Shared by all engines of a command."""

    max_requests: int = 0  # attempts, retries included; 0 is no limit
    max_tokens: int = 0  # prompt and completion together; 0 is no limit
    requests: int = 0
    retries: int = 0  # those of the requests that followed a failure
    prompt_tokens: int = 0
    completion_tokens: int = 0
    answers: int = 0
    empty: int = 0  # answers without a word in them: none at all, or a thought alone
    estimated: int = 0  # answers that did not say their tokens: counted as a quarter of their bytes

    @classmethod
    def within(cls, budget: tuple[int, int]) -> Usage:
        """Return a count that stays within (requests, tokens)."""
        return cls(max_requests=budget[0], max_tokens=budget[1])

    def spend(self) -> None:
        """Count one request that is about to be sent.

        Raises:
            BudgetSpent: the budget does not hold it.
        """
        if self.max_requests and self.requests >= self.max_requests:
            raise BudgetSpent(f"the budget of {self.max_requests} requests (endpoint.budget) is spent")
        if self.max_tokens and self.prompt_tokens + self.completion_tokens >= self.max_tokens:
            raise BudgetSpent(f"the budget of {self.max_tokens} tokens (endpoint.budget) is spent")
        self.requests += 1

    def counts(self) -> dict[str, int]:
        """Return the counts."""
        return {key: count for key, count in asdict(self).items() if not key.startswith("max_")}


class BudgetSpent(EndpointError):
    """The budget of requests or tokens is used up."""


def wait_s(failures: int) -> float:
    """Return the seconds to wait after so many failures: doubling, capped, and shortened at random by up to a half.

    >>> 0.25 <= wait_s(1) <= 0.5 and 1.0 <= wait_s(3) <= 2.0 and 30.0 <= wait_s(50) <= 60.0
    True
    """
    longest = min(_MAX_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(failures - 1, 30))
    return longest * random.uniform(0.5, 1.0)


def asked_wait_s(headers: Any) -> float:
    """Return the seconds that a `Retry-After` header asks to wait; 0 when there is none that can be read.

    >>> asked_wait_s({"retry-after": "2.5"}), asked_wait_s({"retry-after-ms": "40"}), asked_wait_s({"retry-after": "soon"})
    (2.5, 0.04, 0.0)
    """
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(\.\d*)?", value.strip()):
            return float(value) * unit_s
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def until_stop(text: str, stops: Sequence[str], *, sent: bool = True) -> str:
    """Return a text up to and with the first stop string, as engines that see tokens end it.

    Most endpoints leave out the stop string that ended a completion. Of a closing tag that is missed in
    `<action>go`, the stop was the reason where it was sent, so it is put back.

    >>> until_stop("<action>go</action> and then", ("</action>",))
    '<action>go</action>'
    >>> until_stop("<think>so</think><action>go", ("</action>", "<sub_done>"))
    '<think>so</think><action>go</action>'
    >>> until_stop("<think>not <sub_done></think><action>go</action> and", ("</action>", "<sub_done>"))
    '<think>not <sub_done></think><action>go</action>'
    """
    if thought_is_open(text):
        return text
    said = answer_start(text)  # stops rest within a thought
    ends = [(at, stop) for stop in stops if (at := text.find(stop, said)) >= 0]
    if ends:
        at, stop = min(ends)
        return text[: at + len(stop)]
    for stop in sendable(stops) if sent else ():
        if text.rfind(stop.replace("</", "<")) >= 0:
            return text + stop
    return text


def text_of(content: Any) -> str | None:
    """Return the text of a message's content: a string, nothing, or a list of parts, of which the thoughts are left out.

    >>> text_of([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "go"}]), text_of(None), text_of(3)
    ('go', '', None)
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return None
    parts = [part if isinstance(part, dict) else {"type": "text", "text": part} for part in content]
    texts = [part.get("text") for part in parts if part.get("type") in ("text", "output_text")]
    return "".join(text for text in texts if isinstance(text, str))


def whole(text: str) -> str:
    r"""Return a text that can be written down: JSON can carry half a surrogate pair, files cannot.

    >>> whole("go \ud800 east")
    'go ? east'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def content_of(message: Message, album: Album) -> Json:
    """Return a message's content as an endpoint takes it: text, or parts where it holds pictures."""
    found: list[Json] = []
    for words, name in parts(message.content, known=album):
        if words:
            found.append({"type": "text", "text": words})
        if name:
            found.append({"type": "image_url", "image_url": {"url": data_url(album.png(name))}})
    return message.content if all(part["type"] == "text" for part in found) else found


def sendable(stops: Sequence[str]) -> list[str]:
    """Return the stop strings whose absence can be told from the text: closing tags."""
    return [stop for stop in stops if stop.startswith("</")]
