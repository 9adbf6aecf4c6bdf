"""Endpoint helpers that need no network: address parsing, usage budget, back-off, stop strings.

All that the client in `himac.engines.openai` has to get right and that needs no network stands here, as
plain functions and two small classes.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from himac.chat.thoughts import answer_of, answer_start, thought_is_open
from himac.errors import ConfigError, EndpointError
from himac.images import Album, data_url, parts
from himac.types import Json, Message

_MOST_TOKENS = 10**9  # of an answer, by its own account
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # where servers put a thought that they took apart
_KEY_PART = 8  # characters of a key that may not be told together
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
        try:
            parts = urlsplit(url)
            is_good = bool(parts.hostname) and parts.port != 0
        except ValueError:  # brackets that do not close, a port that is no number or too large
            is_good = False
        if not is_good or not text.isprintable():
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
    """What endpoints have been asked for, and what they may be asked for at most. Shared by all engines of a command.

    A budget of tokens is never overrun: before a request is sent, what it may cost is set aside. A prompt's tokens are known
    when it is answered; until then they are taken to be as many, for its bytes, as any answered one had, and before
    there is one, requests go one at a time.
    """

    max_requests: int = 0  # attempts, retries included; 0 is no limit
    max_tokens: int = 0  # prompt and completion together; 0 is no limit
    requests: int = 0
    retries: int = 0  # those of the requests that followed a failure
    prompt_tokens: int = 0
    completion_tokens: int = 0
    answers: int = 0
    empty: int = 0  # answers with nothing in them
    thoughts_only: int = 0  # with a thought alone: its length was used up, or nothing followed
    filtered: int = 0  # withheld by a content filter
    refused: int = 0  # the model's own refusal, where the endpoint tells it apart
    estimated: int = 0  # answers that did not say their tokens: counted as a quarter of their bytes
    on_spend: Callable[[], None] | None = None  # called when a request is counted, before it is sent
    _reserved: int = 0  # tokens set aside for what is under way
    _under_way: int = 0
    _per_byte: float = 0.0  # most prompt tokens for a byte of messages so far

    @classmethod
    def within(cls, budget: tuple[int, int]) -> Usage:
        """Return a count that stays within (requests, tokens)."""
        return cls(max_requests=budget[0], max_tokens=budget[1])

    def has_room(self, num_bytes: int, max_tokens: int) -> bool:
        """Whether a request may be sent now; if not, it may be when something under way has come in.

        Args:
            num_bytes: of its messages.
            max_tokens: most tokens of its completion.

        Raises:
            BudgetSpent: it may never be.
        """
        if not self.max_tokens:
            return True
        if self._under_way and not self._per_byte:
            return False
        left = self.max_tokens - self.prompt_tokens - self.completion_tokens
        if self.cost(num_bytes, max_tokens) <= left - self._reserved:
            return True
        if self._under_way:
            return False
        raise BudgetSpent(
            f"the budget of {self.max_tokens} tokens (endpoint.budget) is spent: {left} are left"
        )

    def cost(self, num_bytes: int, max_tokens: int) -> int:
        """Return how many tokens are set aside for a request."""
        return math.ceil(num_bytes * (self._per_byte or 0.25)) + max_tokens

    def spend(self, reserved: int = 0) -> None:
        """Count one request that is about to be sent, and set tokens aside for it.

        Raises:
            BudgetSpent: the budget does not hold it.
        """
        if self.max_requests and self.requests >= self.max_requests:
            raise BudgetSpent(f"the budget of {self.max_requests} requests (endpoint.budget) is spent")
        self.requests += 1
        self._reserved += reserved
        self._under_way += 1
        if self.on_spend is not None:
            self.on_spend()

    def settle(self, reserved: int = 0) -> None:
        """Take back what was set aside for a request: it has come in, or failed."""
        self._reserved -= reserved
        self._under_way -= 1

    def count(self, prompt_tokens: int, completion_tokens: int, num_bytes: int) -> None:
        """Count what an answer cost."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self._per_byte = max(self._per_byte, prompt_tokens / max(num_bytes, 1), 1e-9)

    def sort(self, text: str, message: Any, finish: Any) -> None:
        """Count an answer, and what it is where no word of it can be used.

        Args:
            text: of the answer.
            message: as the endpoint sent it.
            finish: why it ended, in the endpoint's words.
        """
        self.answers += 1
        if answer_of(text).strip():
            return
        if finish == "content_filter":
            self.filtered += 1
        elif getattr(message, "refusal", None):
            self.refused += 1
        elif text.strip() or _has_thought(message):
            self.thoughts_only += 1
        else:
            self.empty += 1

    def counts(self) -> dict[str, int]:
        """Return the counts."""
        names = [f.name for f in fields(self) if not f.name.startswith(("max_", "_", "on_"))]
        return {name: getattr(self, name) for name in names}


def _has_thought(message: Any) -> bool:
    """Whether a message holds a thought apart from its text."""
    content = getattr(message, "content", None)
    kinds = (
        [part.get("type") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    )
    return (
        "thinking" in kinds or "reasoning" in kinds or any(getattr(message, key, None) for key in _THOUGHTS)
    )


def is_count(number: Any) -> bool:
    """Whether a server's number of tokens can be one: a negative one would lift every budget."""
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _MOST_TOKENS


class BudgetSpent(EndpointError):
    """The budget of requests or tokens is used up."""


def check_key(key: str, variable: str) -> None:
    """Refuse a key that no header can carry, before anything is sent, and without a character of it.

    Raises:
        ConfigError: it is none.
    """
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"the key in ${variable} holds a line break, a space or a character that no key has",
            hint="it was probably pasted with something beside it",
        )


def without_key(text: str, key: str) -> str:
    """Return what a server said without the key: not all of it, not a part, not with stars in its middle.

    >>> without_key("key sk-12345678abcd is bad, like sk-1234****abcd", "sk-12345678abcd")
    'key [key] is bad, like [key]'
    """
    if not key:
        return text
    size = min(_KEY_PART, len(key))
    parts = {key[i : i + size] for i in range(len(key) - size + 1)}
    hidden = [False] * len(text)
    for at in range(len(text) - size + 1):
        if text[at : at + size] in parts:
            hidden[at : at + size] = [True] * size
    told = "".join(
        "\0" if is_hidden else character for character, is_hidden in zip(text, hidden, strict=True)
    )
    return re.sub(r"\S*\*{3,}\S*", "[key]", re.sub(r"\0+", "[key]", told))


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
