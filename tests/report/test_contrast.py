"""WCAG AA: every text of the report stands out from its ground by 4.5 to 1 (3 to 1 where it is large)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from driving import find, find_all, open_page

from himac.report.page import build_report

ADDRESSES = (
    "run", "episodes", "episodes?phase=planner&success=0", "group/0/6", "episode/0/6", "episode/1/4", "episode/2/6",
    "tasks", "task/0/0", "group/0/6?with=6,7&by=subgoal",
    "episodes?q=go", "episodes?sort=-surprise",
)  # fmt: skip

# Every visible text node with the colours as drawn: what lies under it is composed layer by layer, opacity included.
# Ratios after WCAG 2.1, 1.4.3. Disabled controls are exempt there and here.
MEASURE = """
const parse = (text) => {
  const n = (text.match(/-?[\\d.]+(?:e-?\\d+)?/g) ?? []).map(Number);
  if (text.startsWith('color(srgb')) return [n[0], n[1], n[2], n[3] ?? 1];
  if (!text.startsWith('rgb')) throw new Error('a colour this test cannot read: ' + text);
  return [n[0] / 255, n[1] / 255, n[2] / 255, n[3] ?? 1];
};
const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
const light = (c) => c.slice(0, 3).map((p) => p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4)
  .reduce((sum, p, i) => sum + p * [0.2126, 0.7152, 0.0722][i], 0);
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let text = walk.nextNode(); text; text = walk.nextNode()) {
  const node = text.parentElement, style = getComputedStyle(node);
  if (!text.data.trim() || !node.checkVisibility({ visibilityProperty: true }) || node.closest(':disabled, script')) continue;
  const line = [];
  for (let at = node; at; at = at.parentElement) line.unshift(getComputedStyle(at));
  let ground = [1, 1, 1], alpha = 1;
  for (const layer of line) {
    alpha *= Number(layer.opacity);
    const colour = parse(layer.backgroundColor);
    ground = over([...colour.slice(0, 3), colour[3] * alpha], ground);
  }
  const own = parse(node instanceof SVGElement ? style.fill : style.color);
  const shown = over([...own.slice(0, 3), own[3] * alpha], ground), size = parseFloat(style.fontSize);
  const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  found.push([ratio(shown, ground), needed, node.tagName + '.' + (node.getAttribute('class') ?? ''), text.data.trim().slice(0, 40)]);
}
return found;
"""


@pytest.fixture(scope="module")
def page(
    run_folder: Path, household_folder: Path, shop_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    folders = [run_folder, household_folder, shop_folder]
    return build_report(folders, tmp_path_factory.mktemp("page") / "report.html").as_uri()


def _theme(browser: Any, name: str) -> None:
    browser.execute_script("document.documentElement.dataset.theme = arguments[0]", name)


def _weak(browser: Any) -> list[tuple[str, str, float]]:
    measured = browser.execute_script(MEASURE)
    assert len(measured) > 20
    return sorted({(where, text, round(has, 2)) for has, needs, where, text in measured if has < needs})


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_every_text_has_the_contrast_of_wcag_aa(browser: Any, page: str, theme: str, address: str) -> None:
    open_page(browser, page, address)
    _theme(browser, theme)
    assert _weak(browser) == []
    if address.startswith("episode/"):
        for _ in range(6):
            browser.execute_script("document.querySelector('#forth').click()")
            assert _weak(browser) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_tokens_keep_their_contrast_at_every_depth_of_every_colour(
    browser: Any, page: str, theme: str
) -> None:
    """By advantage (good, bad) and by log-probability (sure), on the page's ground and on the current turn's."""
    open_page(browser, page, "episode/0/6")
    _theme(browser, theme)
    browser.execute_script("document.querySelector('#forth').click()")
    assert find_all(browser, ".turn.now .token") and find_all(browser, ".turn:not(.now) .token")
    set_all = """for (const node of document.querySelectorAll('.timeline .token')) {
      node.classList.remove('good', 'bad', 'sure'); node.classList.add(arguments[0]); node.style.setProperty('--depth', arguments[1]); }"""
    grounds = set()
    for kind in ("good", "bad", "sure"):
        for depth in (0, 0.25, 0.5, 0.75, 1):
            browser.execute_script(set_all, kind, depth)
            assert _weak(browser) == [], (kind, depth)
            grounds |= set(
                browser.execute_script(
                    "return [...document.querySelectorAll('.timeline .token')].map((n) => getComputedStyle(n).backgroundColor)"
                )
            )
    assert len(grounds) >= 13  # the depths are drawn: three colours at four depths, and none


def test_the_system_s_theme_is_followed_until_the_button_is_pressed(browser: Any, page: str) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    paper = {"light": "rgb(252, 251, 248)", "dark": "rgb(23, 22, 20)"}
    for name, other in (("light", "dark"), ("dark", "light")):
        wish = {"features": [{"name": "prefers-color-scheme", "value": name}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
        open_page(browser, page, "run")
        assert browser.execute_script(ground) == paper[name]
        for shown in (other, name):
            find(browser, "#theme").click()
            assert browser.execute_script(ground) == paper[shown]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_measure_sees_a_weak_text(browser: Any, page: str) -> None:
    open_page(browser, page, "run")
    browser.execute_script(
        "const p = document.querySelector('.lead'); p.style.color = '#999999'; p.style.backgroundColor = 'white'"
    )
    assert [where for where, _, _ in _weak(browser)] == ["P.lead"]
