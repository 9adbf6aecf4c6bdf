"""Draw the README's figure of results, and take its pictures of a report from a run of your own.

    python docs/make_images.py             docs/img/results.png, from benchmarks/results
    python docs/make_images.py RUN         docs/img/report-run.png and report-episode.png

The figure's three panels are one story: how success grows, that the lead is there before training, and what is left of it from equal starts. A method
is told by its marker and dash, so that it needs no colour. The pictures are the run's page, and the latest episode of phase B that was solved better than its
peers, in several steps and under a blueprint of several sub-goals; they need Chromium with its driver, and selenium.
"""

from __future__ import annotations

import json
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
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
METHODS = {  # name, colour, dash, marker
    "himac": ("HiMAC", "#1f5fbf", "-", "o"),
    "grpo": ("GRPO", "#a34a00", "--", "s"),
    "gigpo_mean": ("GiGPO (mean)", "#4d4d4d", ":", "^"),
}


def main() -> None:
    if sys.argv[1:]:
        take_pictures()
    else:
        draw_results()


def draw_results() -> None:
    """Draw the three panels."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    long, equal = (
        json.loads((RESULTS / f"compare_alfworld_{name}.json").read_text(encoding="utf-8"))["environments"]["alfworld"]
        for name in ("two_passes", "equal_starts")
    )  # fmt: skip
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (a, b, c) = plt.subplots(1, 3, figsize=(11, 3.9), width_ratios=(1.15, 1, 1.15))
    seeds = len(long["methods"]["himac"]["seeds"])
    _curves(a, long, f"A  Each from its own warm start\n{seeds} seeds")
    _ends(b, long, "B  The lead is there before training\nkitchens never seen, 256 games")
    done = ", ".join(f"{METHODS[key][0]} {len(m['seeds'])}" for key, m in equal["methods"].items())
    _curves(c, equal, f"C  From equal starts, unfinished\nseeds: {done}")
    handles, names = a.get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1), w_pad=2)
    figure.savefig(IMAGES / "results.png", dpi=160)
    print(IMAGES / "results.png")


def _curves(axis: Any, judged: dict[str, Any], title: str) -> None:
    """Draw success over environment steps, with 95 % bands over seeds and tasks."""
    for key, curve in judged["curves"]["env_steps"].items():
        name, colour, dash, marker = METHODS[key]
        x, mean = [value / 1000 for value in curve["x"]], [100 * value for value in curve["mean"]]
        axis.plot(x, mean, color=colour, ls=dash, marker=marker, markevery=8, ms=4.5, label=name)
        low, high = ([100 * value for value in curve[bound]] for bound in ("low", "high"))
        axis.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
    _dress(axis, title)
    axis.set_xlabel("environment steps, thousands")
    axis.set_ylabel("success, %, kitchens known")


def _ends(axis: Any, judged: dict[str, Any], title: str) -> None:
    """Draw where each method started and where it ended."""
    for key, method in judged["methods"].items():
        _, colour, _, marker = METHODS[key]
        place = list(METHODS).index(key)
        ended = {bound: 100 * method["success"][bound] for bound in ("mean", "low", "high")}
        spread = [[ended["mean"] - ended["low"]], [ended["high"] - ended["mean"]]]
        axis.plot([place - 0.17], [100 * method["before"]], marker=marker, mfc="white", color=colour, ms=8)
        axis.errorbar(
            [place + 0.17], [ended["mean"]], yerr=spread, marker=marker, color=colour, ms=8, capsize=3
        )
        axis.annotate(
            f"{100 * method['before']:.1f}",
            (place - 0.17, 100 * method["before"] - 7),
            ha="center",
            fontsize=9,
        )
        axis.annotate(f"{ended['mean']:.1f}", (place + 0.25, ended["mean"]), va="center", fontsize=9)
    _dress(axis, title)
    axis.set_xlim(-0.6, len(METHODS) - 0.25)
    axis.set_xticks(range(len(METHODS)), [name.replace(" (", "\n(") for name, *_ in METHODS.values()])
    axis.set_xlabel("hollow: warm start, full: after training")
    axis.set_ylabel("success, %, 95 % interval")


def _dress(axis: Any, title: str) -> None:
    first, _, second = title.partition("\n")
    axis.set_title(f"{first}\n", loc="left", fontsize=10.5, fontweight="bold")
    axis.text(0, 1.03, second, transform=axis.transAxes, fontsize=9)
    axis.set_ylim(0, 80)
    axis.grid(axis="y", alpha=0.3)


def take_pictures() -> None:
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
