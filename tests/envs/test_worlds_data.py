"""Official files come whole, known and into their folder, from a server that breaks off, lies, or is not there."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.envs.alfworld import data as alfworld
from himac.envs.alfworld.generate import write_games
from himac.envs.fetch import Source, fetch, unpack
from himac.envs.webshop import data as webshop
from himac.envs.webshop.generate import write_catalogue
from himac.errors import DataError, RunError
from himac.files import owned


class Site(ThreadingHTTPServer):
    """Serves files from memory, as its switches say."""

    daemon_threads = True
    files: dict[str, bytes]
    asked: list[str]  # the range of each request
    stops_after: int | None = None  # bytes of an answer, after which the connection ends
    knows_ranges = True
    kind = "application/zip"

    def source(self, name: str, body: bytes) -> Source:
        self.files[f"/{name}"] = body
        url = f"http://127.0.0.1:{self.server_address[1]}/{name}"
        return Source(name=name, url=url, size=len(body), sha256=hashlib.sha256(body).hexdigest())


class Answers(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        site, wanted = self.server, self.headers.get("Range", "")
        site.asked.append(wanted)
        body = site.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and site.knows_ranges else 0
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Type", site.kind)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        self.wfile.write(body[begin:][: site.stops_after])
        self.close_connection = True

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site(("127.0.0.1", 0), Answers)
    server.files, server.asked = {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _zipped(folder: Path, prefix: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                packed.write(file, f"{prefix}/{file.relative_to(folder)}")
        packed.writestr(f"{prefix}/train/somewhere/traj_data.json", "{}")
        packed.writestr("logic/alfred.pddl", "not ours")
    return held.getvalue()


@pytest.fixture
def games(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A small archive like ALFWorld's: two real games in two splits."""
    for split in ("train", "valid_seen"):
        write_games(tmp_path / "made", 1, seed=0, split=split)
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path / "cache"))
    source = site.source(alfworld.GAMES.name, _zipped(tmp_path / "made", "json_2.1.1"))
    monkeypatch.setattr(alfworld, "GAMES", source)
    monkeypatch.setattr(alfworld.download, "__defaults__", (source,))
    return source


def test_alfworld_s_games_come_without_its_package(
    tmp_path: Path, games: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    assert main(["data", "alfworld", "--folder", str(home)]) == 0
    told = capsys.readouterr().out
    assert games.url in told and "train: 1 games" in told and "valid_seen: 1 games" in told
    found = {p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file() and p.name != ".lock"}
    assert len(found) == 2 and all(p.startswith("json_2.1.1/") and p.endswith("game.tw-pddl") for p in found)
    games_before = alfworld.GAMES
    assert (
        main(["data", "alfworld", "--folder", str(home)]) == 0
        and games_before.url not in capsys.readouterr().out
    )


def test_without_the_network_it_is_one_line_with_the_address_and_the_place(
    tmp_path: Path, games: Source, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    body = site.files.pop(f"/{games.name}")
    home = tmp_path / "home"
    assert main(["data", "alfworld", "--folder", str(home)]) == 2
    said = capsys.readouterr().err
    assert f"cannot fetch {games.url}: 404" in said and f"put it at {home / games.name}" in said
    site.shutdown()
    site.server_close()
    assert main(["data", "alfworld", "--folder", str(home)]) == 2
    assert f"cannot fetch {games.url}: Connection refused" in capsys.readouterr().err
    (home / games.name).write_bytes(body)  # brought by hand
    assert main(["data", "alfworld", "--folder", str(home)]) == 0


def test_a_broken_connection_is_gone_on_with(tmp_path: Path, site: Site) -> None:
    body = bytes(range(256)) * 4000
    source = site.source("a.bin", body)
    site.stops_after = 600_000
    with pytest.raises(DataError, match=r"broke off after 600,000 of 1,024,000 bytes"):
        fetch(source, tmp_path)
    assert not (tmp_path / "a.bin").exists()
    came: list[int] = []
    assert fetch(source, tmp_path, advance=came.append).read_bytes() == body
    assert site.asked == ["", "bytes=600000-"] and sum(came) == len(body)
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_server_without_ranges_begins_anew(tmp_path: Path, site: Site) -> None:
    body = b"x" * 5000 + b"y" * 5000
    source = site.source("a.bin", body)
    (tmp_path / ".part-a.bin").write_bytes(body[:5000])
    site.knows_ranges = False
    came: list[int] = []
    assert fetch(source, tmp_path, advance=came.append).read_bytes() == body and sum(came) == len(body)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda source: replace(source, sha256="0" * 64), "sent another file"),
        (lambda source: replace(source, size=4), "sent another file"),  # longer than it should be
        (lambda source: replace(source, size=4000), "broke off after 2,000 of 4,000 bytes"),
    ],
)
def test_another_file_is_refused(
    tmp_path: Path, site: Site, change: Callable[[Source], Source], said: str
) -> None:
    source = change(site.source("a.bin", b"z" * 2000))
    with pytest.raises(DataError, match=said):
        fetch(source, tmp_path)
    assert not (tmp_path / "a.bin").exists()
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 2000


def test_what_lies_there_and_is_another_file_is_not_taken(tmp_path: Path, site: Site) -> None:
    source = site.source("a.bin", b"right")
    (tmp_path / "a.bin").write_bytes(b"wrong")
    with pytest.raises(DataError, match="is not the published file"):
        fetch(source, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"wrong" and not site.asked


def test_a_page_instead_of_a_file_is_told(tmp_path: Path, site: Site) -> None:
    site.kind = "text/html; charset=utf-8"  # as Google Drive answers when a file was asked for too often
    with pytest.raises(DataError, match="answered with a page, not a file"):
        fetch(site.source("a.bin", b"<html>"), tmp_path)


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/tmp/out", "C:\\out", "a\\..\\out"])
def test_no_archive_writes_outside_its_folder(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("good", "1")
        packed.writestr(name, "2")
    with pytest.raises(DataError, match="no ordinary file inside it"):
        unpack(tmp_path / "a.zip", tmp_path / "in", lambda path: True)
    assert not (tmp_path / "out").exists() and not (tmp_path / "in" / "good").exists()


def test_no_archive_makes_links(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="no ordinary file"):
        unpack(tmp_path / "a.zip", tmp_path, lambda path: True)


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as packed:
        packed.writestr("a", "hello" * 100)
        packed.writestr("b", "world" * 100)
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(b"world", b"wirld", 1))
    with pytest.raises(DataError, match="is damaged: Bad CRC-32"):
        unpack(tmp_path / "a.zip", tmp_path / "in", lambda path: True)
    assert not (tmp_path / "in" / "a").exists()


def test_webshop_s_files_come_and_one_may_shop(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    items, instructions = write_catalogue(tmp_path / "made", 1600, 0)
    site.kind = "application/octet-stream"
    files = (
        site.source("items_shuffle_1000.json", items.read_bytes()),
        site.source("items_ins_v2_1000.json", instructions.read_bytes()),
    )
    monkeypatch.setattr(webshop, "FILES", files)
    monkeypatch.setattr(webshop.download, "__defaults__", (files,))
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path / "cache"))
    assert main(["data", "webshop"]) == 0
    home = tmp_path / "cache" / "webshop"
    told = capsys.readouterr().out
    assert (
        files[0].url in told and f"env.items={home / 'items_shuffle_1000.json'}" in told and "test: " in told
    )
    assert json.loads((home / "items_shuffle_1000.json").read_text())
    site.shutdown()
    assert main(["data", "webshop"]) == 0  # nothing is asked again
    assert main(["data", "webshop", "--folder", str(tmp_path / "elsewhere")]) == 2


def test_two_fetches_into_one_folder_do_not_meet(tmp_path: Path, games: Source) -> None:
    with owned(tmp_path / "home", "himac data"), pytest.raises(RunError, match="is in use"):
        from himac.cli.data import prepare

        prepare("alfworld", folder=str(tmp_path / "home"), generate=None, split="train", seed=0)


def test_the_addresses_are_the_published_ones() -> None:
    for source in (alfworld.GAMES, *webshop.FILES):
        assert source.url.startswith("https://") and len(source.sha256) == 64


def test_the_known_sums_are_those_of_the_files(shared_data: Path) -> None:
    (known,) = [file for file in webshop.FILES if file.name == "items_ins_v2_1000.json"]
    body = (shared_data / "webshop/data" / known.name).read_bytes()
    assert (len(body), hashlib.sha256(body).hexdigest()) == (known.size, known.sha256)
