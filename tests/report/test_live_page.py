"""`himac report --serve`: it reads, answers this machine alone, and a page that is open follows the run."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driving import errors, find, find_all, open_page, wait

from himac.report.serve import LiveReport, listen
from himac.runs.folder import CONFIG, EPISODES, METRICS, read_rows
from himac.runs.rows import Broken

FEW = 14  # episodes that are there at first


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Path:
    """A run that has just begun: its first lines."""
    folder = tmp_path / "live"
    folder.mkdir()
    shutil.copytree(run_folder / "start", folder / "start")
    (folder / CONFIG).write_bytes((run_folder / CONFIG).read_bytes())
    for name, count in ((METRICS, 2), (EPISODES, FEW)):
        lines = (run_folder / name).read_bytes().splitlines(keepends=True)
        (folder / name).write_bytes(b"".join(lines[:count]))
    return folder


def grow(folder: Path, run_folder: Path) -> None:
    """Let the run be as far as the other one."""
    for name in (METRICS, EPISODES):
        with open(folder / name, "ab") as file:
            file.write((run_folder / name).read_bytes()[(folder / name).stat().st_size :])


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    report = LiveReport([folder], most=5000, most_bytes=8_000_000, broken=Broken())
    server = listen(report, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def _told(browser: Any, name: str) -> str:
    """Return what the list of episodes says of itself, in one step: it may be drawn anew between two."""
    return str(browser.execute_script("return document.getElementById('count')?.dataset[arguments[0]]", name))


def ask(
    port: int,
    path: str = "/",
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body=body or None, headers=headers or {})
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    return answer, told


def test_it_answers_the_page_and_its_data_and_nothing_else(port: int) -> None:
    page, text = ask(port)
    assert page.status == 200 and b"connect-src 'self'" in text
    answer, told = ask(port, "/data.json")
    assert answer.status == 200 and len(json.loads(told)["runs"][0]["episodes"]["rows"]) == FEW
    for path in ("/config.toml", "/../config.toml", "/%2e%2e/etc/passwd", "//etc/passwd", "/data.json/.."):
        assert ask(port, path)[0].status == 404, path
    for part in (page, answer):
        assert part.getheader("X-Content-Type-Options") == "nosniff"
        assert part.getheader("Access-Control-Allow-Origin") is None
        assert "frame-ancestors 'none'" in str(part.getheader("Content-Security-Policy"))


def test_it_listens_on_this_machine_alone(folder: Path) -> None:
    server = listen(LiveReport([folder], most=50, most_bytes=10**6, broken=Broken()), 0)
    assert server.server_address[0] == "127.0.0.1"
    server.server_close()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_it_only_reads(port: int, folder: Path, method: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    answer, _ = ask(port, "/data.json", method=method, body=b'{"rows": []}')
    assert answer.status == 405 and answer.getheader("Allow") == "GET, HEAD"
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_head_has_no_body(port: int) -> None:
    answer, told = ask(port, method="HEAD")
    assert answer.status == 200 and told == b"" and int(answer.getheader("Content-Length") or 0) > 1000


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:{port}", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:{port}", 200),
        ("localhost:9000", 200),  # the other end of an ssh tunnel
        ("[::1]:{port}", 200),
        ("evil.example:{port}", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:{port}", 421),
        ("localhost@evil.example", 421),
        ("evil.example@localhost", 421),
        ("localhost/evil.example", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
def test_a_name_that_was_turned_to_this_machine_is_refused(port: int, host: str, status: int) -> None:
    for path in ("/", "/data.json"):
        answer, told = ask(port, path, headers={"Host": host.format(port=port)})
        assert answer.status == status
        assert status == 200 or b"episodes" not in told


def test_a_request_names_its_host_once(port: int) -> None:
    for lines in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
            link.sendall(b"GET /data.json HTTP/1.1\r\n" + lines + b"\r\n")
            assert link.recv(100).split(b" ")[1] == b"421"


def test_another_site_does_not_get_the_data(port: int) -> None:
    assert ask(port, "/data.json", headers={"Sec-Fetch-Site": "cross-site"})[0].status == 403
    assert ask(port, "/data.json", headers={"Sec-Fetch-Site": "same-origin"})[0].status == 200


def test_what_is_known_is_not_sent_again_and_what_is_new_is(
    port: int, folder: Path, run_folder: Path
) -> None:
    answer, _ = ask(port, "/data.json")
    known = {"If-None-Match": str(answer.getheader("ETag"))}
    again, told = ask(port, "/data.json", headers=known)
    assert again.status == 304 and told == b""
    grow(folder, run_folder)
    wait(lambda: ask(port, "/data.json", headers=known)[0].status == 200)
    rows = json.loads(ask(port, "/data.json")[1])["runs"][0]["episodes"]["rows"]
    assert len(rows) == len(list(read_rows(run_folder / EPISODES))) > FEW


def test_a_run_that_goes_away_leaves_what_was_read(port: int, folder: Path) -> None:
    for name in (EPISODES, METRICS):
        (folder / name).unlink()
    assert ask(port, "/data.json")[0].status == 200


def test_an_open_page_follows_the_run_and_stays_where_it_is(
    browser: Any, port: int, folder: Path, run_folder: Path
) -> None:
    open_page(browser, f"http://localhost:{port}/", "episodes")
    box = find(browser, "#search")
    box.send_keys("ahead")
    wait(lambda: _told(browser, "words") == "ahead")
    first = int(_told(browser, "count"))
    browser.execute_script("scrollTo(0, 150)")
    grow(folder, run_folder)
    wait(lambda: int(_told(browser, "count")) > first)
    assert browser.execute_script(
        "return [document.activeElement.id, document.activeElement.value, scrollY]"
    ) == [
        "search",
        "ahead",
        150,
    ]
    box = find(browser, "#search")
    box.send_keys("x")  # the caret stood at the end
    assert box.get_attribute("value") == "aheadx"
    assert errors(browser) == []


def test_the_curves_of_an_open_page_grow(browser: Any, port: int, folder: Path, run_folder: Path) -> None:
    open_page(browser, f"http://localhost:{port}/", "run")
    ends = "return document.querySelector('.chart svg').getAttribute('aria-label')"
    before = browser.execute_script(ends)
    browser.execute_script("document.querySelector('#main input[type=checkbox]').click(); scrollTo(0, 300)")
    drawn = browser.execute_script(ends)
    assert drawn != before
    grow(folder, run_folder)
    wait(lambda: browser.execute_script(ends) != drawn)
    ticked = browser.execute_script(
        "return [...document.querySelectorAll('#main input[type=checkbox]')].map((box) => box.checked)"
    )
    assert ticked == [False, True, True]  # the first by hand; phase B has come meanwhile
    assert browser.execute_script("return scrollY") == 300
    assert errors(browser) == []


def test_an_open_episode_stays_open(browser: Any, port: int, folder: Path, run_folder: Path) -> None:
    open_page(browser, f"http://localhost:{port}/", "episode/0/7")
    find(browser, "#forth").click()
    step, made = find(browser, ".stage .label").text, find(browser, "#live").get_attribute("title")
    grow(folder, run_folder)
    wait(lambda: find(browser, "#live").get_attribute("title") != made)
    count = "return document.querySelectorAll('.turn.now').length"
    assert find(browser, ".stage .label").text == step and browser.execute_script(count) == 1
    find(browser, "nav a[href='#episodes']").click()
    wait(lambda: len(find_all(browser, "#count")) == 1)
    wait(lambda: int(_told(browser, "count")) > FEW)
    assert errors(browser) == []


def _start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "himac", "report", str(folder), "--serve", *words]
    hears = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - a job in the background does not
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hears
    )


def test_ctrl_c_ends_it_and_a_port_in_use_is_one_line(folder: Path) -> None:
    server = _start(folder, "--port", "0")
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        port = address.removesuffix("/").rpartition(":")[2]
        assert ask(int(port))[0].status == 200
        second = _start(folder, "--port", port)
        out, err = second.communicate(timeout=60)
        assert second.returncode == 2 and out == ""
        lines = err.strip().splitlines()
        assert len(lines) == 2 and f"port {port}: Address already in use" in lines[0] and "--port" in lines[1]
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=20)
        assert (server.returncode, err) == (0, "")
    finally:
        server.kill()
        server.communicate()
    assert not list(folder.glob("*.html"))


def test_a_page_says_when_the_server_is_gone(browser: Any, folder: Path) -> None:
    server = _start(folder, "--port", "0")
    try:
        assert server.stdout is not None
        open_page(browser, server.stdout.readline().split()[0], "run")
        assert find(browser, "#live").text == "live"
    finally:
        server.kill()
        server.communicate()
    wait(lambda: find(browser, "#live").text == "not live")
    assert len(find_all(browser, ".chart")) >= 8  # what it knew stays
    browser.get("about:blank")  # else it goes on asking
    browser.get_log("browser")  # the refused connections


def test_a_line_that_is_half_written_is_left_for_later(port: int, folder: Path, run_folder: Path) -> None:
    with open(folder / EPISODES, "ab") as file:
        file.write((run_folder / EPISODES).read_bytes().splitlines(keepends=True)[FEW][:200])
    rows = json.loads(ask(port, "/data.json")[1])["runs"][0]["episodes"]["rows"]
    assert len(rows) == FEW
