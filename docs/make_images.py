"""Take the README's two pictures of a report, from a run of your own.

    python docs/make_images.py RUN

Writes docs/img/report-run.png and docs/img/report-episode.png: the run's page, and the latest episode of phase B that was
solved better than its peers, in several steps and under a blueprint of several sub-goals. Needs Chromium with its driver, and selenium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from himac.report.page import build_report
from himac.report.reading import COLUMNS, sample_episodes
from himac.runs.folder import find_run

IMAGES = Path(__file__).with_name("img")


def main() -> None:
    run = find_run(sys.argv[1])
    _, packed = sample_episodes(run, 5000, 8_000_000)
    chosen = choose([dict(zip(COLUMNS, row)) for row in packed["rows"]])
    with tempfile.TemporaryDirectory() as made:
        page = build_report([run], Path(made) / "report.html").resolve().as_uri()
        browser = start()
        try:
            take(browser, f"{page}#run", IMAGES / "report-run.png")
            take(browser, f"{page}#episode/0/{chosen}", IMAGES / "report-episode.png")
        finally:
            browser.quit()


def choose(rows: list[dict[str, Any]]) -> int:
    """Return the place of the episode to show."""
    fitting = [
        place
        for place, row in enumerate(rows)
        if row["phase"] == "executor" and row["success"] and (row["advantage"] or 0) > 0 and not row["copy"]
        and row["subgoals"] > 1 and 3 <= row["env_steps"] <= 8
    ]  # fmt: skip
    if not fitting:
        raise SystemExit(
            "no episode of phase B fits: solved, better than its peers, 3 to 8 steps, 2 sub-goals or more"
        )
    return fitting[-1]


def start() -> Any:
    """Return a headless browser with a light theme."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-color-profile=srgb"):
        options.add_argument(word)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def take(browser: Any, address: str, target: Path) -> None:
    """Open an address, go two thirds through the episode where it is one, and save what is seen."""
    size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get(address)
    while not browser.execute_script("return document.body?.dataset.ready"):
        time.sleep(0.05)
    browser.execute_script("""
      const slider = document.querySelector('.stage input');
      if (slider) { slider.value = Math.ceil(slider.max * 2 / 3); slider.dispatchEvent(new Event('input')); }
      scrollTo(0, 0);""")
    time.sleep(0.3)
    browser.save_screenshot(str(target))
    print(target)


if __name__ == "__main__":
    main()
