"""The report in a browser while its run is still going: a server for one machine that only reads.

It listens on the loopback interface alone, knows two addresses (the page, and its data anew), takes GET and HEAD and
nothing else, and answers only requests that were sent to this machine by name: a page of somebody else's whose name
was turned to 127.0.0.1 (DNS rebinding) says its own name in the Host header, and is refused.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from himac import __version__
from himac.errors import HimacError, RunError
from himac.files import reason
from himac.report.packed import dumps
from himac.report.page import render, report_data
from himac.runs.folder import CONFIG, EPISODES, EVALUATIONS, IMAGES, MACHINE, METRICS
from himac.runs.rows import Broken
from himac.types import Row

HOST, PORT = "127.0.0.1", 8765
_NAMES = {"127.0.0.1", "localhost", "::1"}  # any port: an ssh tunnel may have another one at its other end
_REST = 10  # reading takes at most one part in so many of the time
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # beside the page's own, which has the rest
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LiveReport:
    """A report of runs that is read again when their files have changed.

    Args:
        folders: run directories.
        most: episodes to show, shared by the runs.
        most_bytes: how large the episodes may make the page, shared by the runs.
        broken: counts the lines that cannot be read at first.
        imports: as `build_report` has it.
    """

    def __init__(
        self, folders: Sequence[Path], *, most: int, most_bytes: int, broken: Broken, imports: bool = False
    ) -> None:
        self._folders, self._most, self._most_bytes, self._imports = folders, most, most_bytes, imports
        self._lock = threading.Lock()
        self._rested_s = 0.0  # when it may be read again
        self._data = self._read(broken)

    def data(self) -> Row:
        """Return what the page shows, with a "tag" that changes when it does."""
        with self._lock:
            if time.monotonic() >= self._rested_s and self._tag() != self._data["tag"]:
                try:
                    self._data = self._read(Broken())
                except HimacError:  # a file between two states; what was read before is still true
                    self._rested_s = time.monotonic() + 1
            return self._data

    def _read(self, broken: Broken) -> Row:
        tag, began_s = (
            self._tag(),
            time.monotonic(),
        )  # before the files are read: what comes meanwhile is news
        data = report_data(self._folders, self._most, self._most_bytes, broken, imports=self._imports)
        now_s = time.monotonic()
        self._rested_s = now_s + _REST * (now_s - began_s)
        return data | {"tag": tag}

    def _tag(self) -> str:
        """Return a word for the state that the files are in."""
        state = [
            (str(path), _size_and_time(path))
            for folder in self._folders
            for path in (
                *(folder / name for name in (CONFIG, METRICS, EPISODES, IMAGES, MACHINE)),
                *sorted((folder / EVALUATIONS).glob("*.json")),
            )
        ]
        return hashlib.sha256(repr(state).encode()).hexdigest()[:16]


def serve(report: LiveReport, *, port: int = PORT, say: Callable[[str], object] = print) -> None:
    """Serve a report on this machine until Ctrl-C.

    Args:
        report: what is served.
        port: where it listens; 0 takes a free one.
        say: is told the address once the server listens.

    Raises:
        RunError: the port is in use, or may not be had.
    """
    server = listen(report, port)
    try:
        say(f"http://{HOST}:{server.server_port}/")
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


def listen(report: LiveReport, port: int) -> ThreadingHTTPServer:
    """Return a server that listens, and answers once its `serve_forever` runs.

    Raises:
        RunError: the port is in use, or may not be had.
    """

    class Handler(_Handler):
        source = report

    try:
        return _Server((HOST, port), Handler)
    except OSError as error:
        hint = "--port N takes another one, --port 0 a free one"
        raise RunError(f"cannot listen on port {port}: {reason(error)}", hint=hint) from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name != "nt"  # there it would share a port that is in use


class _Handler(BaseHTTPRequestHandler):
    source: LiveReport
    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"himac/{__version__}", ""
    timeout = 30  # seconds that a silent connection is kept

    def do_GET(self) -> None:
        """Answer the page or its data."""
        if not _is_local(self.headers.get_all("Host") or []):
            return self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "this server is for this machine alone")
        path = urlsplit(self.path).path
        if path == "/":
            return self._answer("text/html", render(self.source.data(), live=True))
        if path != "/data.json":
            return self._refuse(HTTPStatus.NOT_FOUND, "there is the page at /, and nothing else")
        if self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return self._refuse(HTTPStatus.FORBIDDEN, "the data are for the report's own page")
        data = self.source.data()
        if self.headers.get("If-None-Match") == data["tag"]:
            return self._send(HTTPStatus.NOT_MODIFIED, {"ETag": data["tag"]})
        return self._answer("application/json", dumps(data | {"live": True}), data["tag"])

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self.do_GET()

    def _no_write(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "this server only reads", {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_CONNECT = do_TRACE = _no_write

    def _answer(self, kind: str, text: str, tag: str = "") -> None:
        headers = {"Content-Type": f"{kind}; charset=utf-8"} | ({"ETag": tag} if tag else {})
        self._send(HTTPStatus.OK, headers, text.encode("utf-8", "replace"))

    def _refuse(self, status: HTTPStatus, why: str, headers: dict[str, str] | None = None) -> None:
        self.close_connection = True  # a body that came with it is not read
        told = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"} | (headers or {})
        self._send(status, told, f"{why}\n".encode())

    def _send(self, status: HTTPStatus, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (_HEADERS | headers).items():
            self.send_header(name, value)
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal belongs to whoever started it."""


def _is_local(hosts: Sequence[str]) -> bool:
    """Whether a request names this machine, once, as where it was sent.

    >>> _is_local(["localhost:8765"]), _is_local(["127.0.0.1"]), _is_local(["evil.example:8765"]), _is_local([])
    (True, True, False, False)
    """
    if len(hosts) != 1:
        return False
    try:
        parts = urlsplit(f"//{hosts[0]}")
        return parts.hostname in _NAMES and parts.netloc == hosts[0] and "@" not in hosts[0]
    except ValueError:
        return False


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns
