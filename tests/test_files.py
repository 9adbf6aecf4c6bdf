"""The door to files: whole or not there, one owner a folder, one line for whatever goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from himac.errors import DataError, RunError
from himac.files import (
    LOCK,
    as_usual,
    make_folder,
    owned,
    parse_json,
    parse_toml,
    read_json,
    read_text,
    write_text,
)

_HOLDS = """
import sys, time
from pathlib import Path
from himac.files import owned
with owned(Path(sys.argv[1]), "himac train"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_has_one_owner_and_a_dead_one_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", _HOLDS, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(RunError) as caught, owned(folder, "himac eval"):
            pass
        process.kill()
    told = str(caught.value)
    assert "is in use by 'himac train'" in told and f"process {process.pid} on " in told
    assert f"since {time.strftime('%Y')}-" in told and "\n" not in told
    assert str(process.pid) in (folder / LOCK).read_text()  # of the dead: taken over
    with owned(folder, "himac eval"):
        assert f'"pid": {os.getpid()}' in (folder / LOCK).read_text()
    assert (folder / LOCK).read_text() == ""


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):  # a mistake of ours, not the disk's
        write_text(path, "\ud800")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["no\0name", "x" * 300, "file/below/a/file"])
def test_what_the_system_refuses_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    for action in (lambda: make_folder(tmp_path / name), lambda: write_text(tmp_path / name, "x")):
        with pytest.raises(RunError, match="cannot write") as caught:
            action()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": ' + "1" * 5000 + "}", "\ufeff{", "nul"])
def test_bad_json_and_toml_are_one_kind_of_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json' is damaged: ") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"."):
        parse_toml("a = " + "[" * 100_000)


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf[run]\n")
    assert read_text(path) == "[run]\n"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is damaged"):
        read_text(path)
    with pytest.raises(DataError, match="cannot read"):
        read_text(tmp_path / "nothing")


@pytest.mark.skipif(os.name == "nt", reason="there are no permissions of this kind")
@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700)]
)
def test_what_a_library_wrote_for_its_owner_alone_gets_the_usual_permissions(
    tmp_path: Path, umask: int, file: int, folder: int
) -> None:
    home = tmp_path / "model"
    home.mkdir(mode=0o700)
    (home / "sub").mkdir(mode=0o700)
    for name in ("a.safetensors", "sub/b.safetensors"):
        (home / name).touch(mode=0o600)
    (home / "run.sh").touch()
    (home / "run.sh").chmod(0o711)
    before = os.umask(umask)
    try:
        as_usual(home)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (home, *home.rglob("*"))}
    assert modes == {
        "model": folder, "sub": folder, "a.safetensors": file, "b.safetensors": file, "run.sh": 0o711 | file,
    }  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="there are no permissions of this kind")
def test_a_file_alone_gets_them_and_its_folder_is_left(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    own = tmp_path / "rank.safetensors"
    own.touch(mode=0o600)
    before = os.umask(0o022)
    try:
        as_usual(own)
    finally:
        os.umask(before)
    assert (own.stat().st_mode & 0o777, tmp_path.stat().st_mode & 0o777) == (0o644, 0o700)
    assert [path.name for path in tmp_path.iterdir()] == ["rank.safetensors"]
