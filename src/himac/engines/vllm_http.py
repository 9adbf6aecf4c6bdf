"""The HTTP of a vLLM server: one connection a thread, and every failure in one line."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from himac.engines.endpoint import Address, check_key, wait_s, without_key
from himac.errors import EndpointError
from himac.files import parse_json
from himac.text import line
from himac.types import Json

_TRIES = 4
_PASSING = (429, 502, 503, 504)  # what may be otherwise in a moment
_NO_ROUTE = ("Not Found", "Method Not Allowed")  # in these words alone: an adapter that is not found has more


class ServerRefusal(EndpointError):
    """The server answered that it does not do this.

    Args:
        message: in one line.
        status: of HTTP.
        hint: what to do about it.
        has_no_route: the server knows no such path.
    """

    def __init__(self, message: str, *, status: int, hint: str = "", has_no_route: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.status, self.has_no_route = status, has_no_route


class Server:
    """A vLLM server.

    Args:
        address: `URL` or `URL#MODEL`; the URL usually ends in /v1.
        key_env: environment variable with the key, if the server asks for one.
        timeout_s: longest wait for one answer.

    Raises:
        ConfigError: the address or the key is none.
    """

    def __init__(self, address: str, *, key_env: str, timeout_s: float) -> None:
        read = Address.read(address)
        self.url, self.model = read.url.removesuffix("/v1"), read.model
        self._key = os.environ.get(key_env, "").strip()
        check_key(self._key, key_env)
        self._timeout_s = timeout_s
        self._own = threading.local()
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()

    def get(self, path: str) -> Json:
        """Return what a path holds."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Json:
        """Send a request and return the answer: its JSON, or its text where it is no JSON."""
        return self._ask("POST", path, body)

    def hang_up(self) -> None:
        """Break off whatever is under way; the server then stops to work on it."""
        with self._lock:
            for connection in self._open:
                if connection.sock is not None:
                    with contextlib.suppress(OSError):
                        connection.sock.shutdown(2)
            self._open.clear()
            self._own = threading.local()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Json:
        failures = 0
        while True:
            try:
                return self._once(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                what = (
                    f"no answer within {self._timeout_s:g} s"
                    if isinstance(error, TimeoutError)
                    else _said(error)
                )
            except ServerRefusal as error:
                if error.status not in _PASSING:
                    raise
                what = str(error)
            failures += 1
            if failures == _TRIES:
                raise EndpointError(
                    f"the vLLM server {self.url} failed {failures} times (last: {what})",
                    hint="is it running? the same command goes on where this one stopped",
                )
            time.sleep(wait_s(failures))

    def _once(self, method: str, path: str, body: dict[str, Any] | None) -> Json:
        connection = self._connection()
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        before = urlsplit(self.url).path
        connection.request(method, before + path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if not 200 <= answer.status < 300:
            said = self._words(text)
            raise ServerRefusal(
                f"{self.url}{path} refused (status {answer.status}): {said}",
                status=answer.status,
                has_no_route=said in _NO_ROUTE,
            )
        if not (answer.getheader("content-type") or "").startswith("application/json"):
            return text.decode("utf-8", "replace")  # adapters are acknowledged in words
        try:
            return parse_json(text)
        except ValueError as error:
            raise ServerRefusal(
                f"{self.url}{path} sent damaged JSON ({error})",
                status=answer.status,
                hint="is it a vLLM server?",
            ) from None

    def _connection(self) -> http.client.HTTPConnection:
        """Return this thread's connection."""
        found: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if found is None:
            parts = urlsplit(self.url)
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            found = self._own.connection = kind(parts.hostname or "", parts.port, timeout=self._timeout_s)
            with self._lock:
                self._open.add(found)
        return found

    def _drop(self) -> None:
        """Forget this thread's connection: it is broken."""
        found = self._own.__dict__.pop("connection", None)
        if found is not None:
            found.close()
            with self._lock:
                self._open.discard(found)

    def _words(self, text: bytes) -> str:
        """Return what the server said went wrong, without the key."""
        try:
            told = parse_json(text)
        except ValueError:
            told = text.decode("utf-8", "replace")
        if isinstance(told, dict):
            inner = told.get("error", told.get("detail", told))
            told = inner.get("message", inner) if isinstance(inner, dict) else inner
        first = str(told).strip().partition("\n")[0]
        return line(without_key(first[:2000], self._key))[:300] or "nothing said"


def _said(error: BaseException) -> str:
    return line(str(error).partition("\n")[0])[:200] or type(error).__name__
