"""A small OpenAI-compatible endpoint for tests: it answers, fails, dawdles and talks nonsense as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]  # status, headers, body
Behaviour = Callable[[dict[str, Any], int], Answer]  # (request body, its number from 0) -> answer


def says(text: Any, *, finish: str = "stop", usage: bool = True, **more: Any) -> Answer:
    """A well-formed chat completion."""
    body: dict[str, Any] = {
        "id": "x", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **more}}],
    }  # fmt: skip
    if usage:
        body["usage"] = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    return 200, {"content-type": "application/json"}, json.dumps(body).encode()


def fails(status: int, message: str = "no", *, code: str = "", param: str = "", **headers: str) -> Answer:
    """An error as OpenAI words it."""
    error = {"message": message, "type": "error", "code": code or None, "param": param or None}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"content-type": "application/json", **named}, json.dumps({"error": error}).encode()


class Endpoint:
    """A server on a port of its own, to be used as a context manager.

    Args:
        behave: what to answer; called in many threads at once.
        port: 0 takes a free one.
    """

    def __init__(self, behave: Behaviour, *, port: int = 0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.most_at_once = 0
        self._at_once, self._lock = 0, threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                names = [
                    {"id": name, "object": "model", "created": 0, "owned_by": "t"} for name in endpoint.models
                ]
                body = json.dumps({"object": "list", "data": names}).encode()
                self._send((200, {"content-type": "application/json"}, body))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with endpoint._lock:
                    number = len(endpoint.requests)
                    endpoint.requests.append(body)
                    endpoint.headers.append({k.lower(): v for k, v in self.headers.items()})
                    endpoint.times.append(time.monotonic())
                    endpoint._at_once += 1
                    endpoint.most_at_once = max(endpoint.most_at_once, endpoint._at_once)
                try:
                    answer = behave(body, number)
                finally:
                    with endpoint._lock:
                        endpoint._at_once -= 1
                self._send(answer)

            def _send(self, answer: Answer) -> None:
                status, headers, body = answer
                try:
                    self.send_response(status)
                    for name, value in {**headers, "content-length": str(len(body))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the client has given up waiting

            def log_message(self, *_: Any) -> None: ...

        self.models = ["m"]
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Endpoint:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
