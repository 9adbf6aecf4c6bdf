"""Pictures that agents saw: in the page, each once; in a terminal, as blocks, as themselves, or by name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import errors, find, find_all, open_page, wait
from rich.console import Console
from scripted import write_run

from himac.images import TAG, Album
from himac.report.page import build_report, kept_images
from himac.report.pictures import blocks, inline, print_told
from himac.report.show import show_episode
from himac.runs.folder import EPISODES, IMAGES, read_images, read_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    env = ("env=sokoban", "env.size=[6,6]", "env.boxes=1", "env.observation=image")
    return write_run(tmp_path_factory.mktemp("runs") / "seen", env=env, iterations=1)


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report([folder], tmp_path_factory.mktemp("page") / "report.html")


def test_the_page_holds_each_picture_once(folder: Path, page: Path) -> None:
    names = {name for row in read_rows(folder / EPISODES) for name in TAG.findall(str(row))}
    assert len(names) > 10
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == len(names)
    assert "img-src data:;" in text


def test_pictures_that_find_no_room_are_left_out(folder: Path) -> None:
    names = [row["image"] for row in read_rows(folder / IMAGES)]
    one = len(kept_images(folder, names[:1], 10**6)[names[0]])
    assert list(kept_images(folder, names, 2 * one)) == names[: len(kept_images(folder, names, 2 * one))]
    assert len(kept_images(folder, names, 2 * one)) < len(names)


def test_an_episode_shows_what_was_seen_at_each_step(browser: Any, folder: Path, page: Path) -> None:
    rows = list(read_rows(folder / EPISODES))
    place = next(n for n, row in enumerate(rows) if row["env_steps"] >= 3)
    seen = [TAG.findall(rows[place]["instruction"])[0]]
    seen += [
        TAG.findall(t["observation"])[0]
        for s in rows[place]["segments"]
        for t in s["turns"]
        if t["action"] is not None
    ]
    open_page(browser, page.as_uri(), f"episode/0/{place}")
    for name in seen[:4]:
        picture = find(browser, ".stage .shown img.picture")
        assert picture.get_attribute("data-image") == name
        assert browser.execute_script("return arguments[0].naturalWidth", picture) == 96
        find(browser, "#forth").click()
    assert errors(browser) == []


@pytest.mark.parametrize(("pixels", "thumb", "whole"), [(16, "pixelated", "pixelated"), (64, "auto", "auto")])
def test_squares_stay_sharp_and_what_is_shrunk_is_smooth(
    browser: Any, tmp_path: Path, pixels: int, thumb: str, whole: str
) -> None:
    env = (
        "env=sokoban",
        "env.size=[6,6]",
        "env.boxes=1",
        "env.observation=image",
        f"env.cell_pixels={pixels}",
    )
    folder = write_run(tmp_path / "seen", env=env, iterations=1)
    page = build_report([folder], tmp_path / "report.html")
    place = next(n for n, row in enumerate(read_rows(folder / EPISODES)) if row["env_steps"] >= 3)
    open_page(browser, page.as_uri(), f"episode/0/{place}")

    def drawn(css: str) -> str:
        picture = find(browser, css)
        wait(lambda: browser.execute_script("return arguments[0].complete", picture))
        look = "return getComputedStyle(arguments[0]).imageRendering"
        return str(browser.execute_script(look, picture))

    assert (drawn(".thumbs img.picture"), drawn(".stage .shown img.picture")) == (thumb, whole)
    assert errors(browser) == []


def test_a_group_begins_with_what_its_task_looks_like(browser: Any, folder: Path, page: Path) -> None:
    rows = list(read_rows(folder / EPISODES))
    place = next(n for n, row in enumerate(rows) if row["phase"] == "planner")
    open_page(browser, page.as_uri(), f"group/0/{place}")
    (shown,) = find_all(browser, ".task img")[:1]
    assert shown.get_attribute("data-image") == TAG.findall(rows[place]["instruction"])[0]
    assert find(browser, ".task .board").is_displayed()
    assert errors(browser) == []


def test_blocks_show_a_picture_s_colours() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :, 0], image[4:, :, 2] = 200, 100
    lines = blocks(image, 4)
    assert [line.plain for line in lines] == ["▀▀▀▀", "▀▀▀▀"]
    style: Any = lines[0].spans[0].style
    assert tuple(style.color.triplet) == (200, 0, 0) and tuple(style.bgcolor.triplet) == (200, 0, 0)
    below: Any = lines[1].spans[0].style
    assert tuple(below.color.triplet) == (0, 0, 100)


def test_a_terminal_that_draws_is_given_the_picture() -> None:
    png = b"x" * 5000
    kitty = inline(png, {"KITTY_WINDOW_ID": "1"})
    assert (
        kitty.startswith("\x1b_Gf=100,a=T,r=12,m=1;")
        and kitty.endswith("\x1b\\")
        and kitty.count("\x1b_G") == 2
    )
    assert inline(png, {"TERM_PROGRAM": "iTerm.app"}).startswith("\x1b]1337;File=inline=1;")
    assert inline(png, {"TERM": "xterm-256color"}) == ""


def test_without_colours_a_picture_is_named(folder: Path) -> None:
    held = io.StringIO()
    row = next(iter(read_rows(folder / EPISODES)))
    show_episode(row, Console(file=held, width=80, color_system=None), read_images(folder))
    assert f"(picture {TAG.findall(row['instruction'])[0][:8]})" in held.getvalue()
    assert "<image:" not in held.getvalue()


def test_with_colours_it_is_drawn_within_the_width() -> None:
    held, album = io.StringIO(), Album()
    tag = album.tag(np.full((96, 96, 3), 7, np.uint8))
    print_told(
        f"{tag}[bold]plain",
        album,
        Console(file=held, width=80, color_system="truecolor", force_terminal=True),
    )
    assert held.getvalue().count("▀") == 24 * 12 and "[bold]plain" in held.getvalue()
