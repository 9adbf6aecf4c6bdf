"""How fast a report of 5,000 episodes is built and opened.

Episodes come from the real collector and a scripted model that plays Sokoban at random. Opening is timed by the
browser itself (headless Chromium): from navigation to the run page drawn, and to the list of episodes drawn.

    python benchmarks/report_speed.py [--episodes 5000]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import save

from himac.report.page import build_report
from himac.runs.folder import EPISODES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "report"))
from scripted import write_run

PEERS = 4 + 3  # episodes of a task in an iteration of the scripted run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=5000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "run"
        tasks = 16
        write_run(folder, iterations=-(-args.episodes // (tasks * PEERS)), tasks=tasks)
        target = folder / "report.html"
        began, began_cpu = time.perf_counter(), time.process_time()
        build_report([folder], target, most=10**9, most_bytes=10**9)
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
        results: dict[str, Any] = {
            "episodes": (folder / EPISODES).read_bytes().count(b"\n"),
            "episodes_jsonl_mb": round((folder / EPISODES).stat().st_size / 1e6, 1),
            "report_mb": round(target.stat().st_size / 1e6, 2),
            "build_wall_s": round(wall_s, 2),
            "build_cpu_s": round(cpu_s, 2),
            **{f"open_{name}_s": seconds for name, seconds in open_times(target).items()},
        }
    for name, value in results.items():
        print(f"{name:<20} {value}")
    print(save("report_speed", results))


def open_times(page: Path, repeats: int = 3) -> dict[str, float]:
    """Return the median seconds from navigation to each page drawn."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    found: dict[str, list[float]] = {"run": [], "episodes": []}
    try:
        for _ in range(repeats):
            for address, times in found.items():
                driver.get("about:blank")
                driver.get(f"{page.as_uri()}#{address}")
                drawn = "return document.body.dataset.ready && performance.getEntriesByType('paint').at(-1)?.startTime"
                while not (paint_ms := driver.execute_script(drawn)):
                    time.sleep(0.02)
                loaded_ms = driver.execute_script(
                    "return performance.timing.loadEventEnd - performance.timing.navigationStart"
                )
                times.append(max(paint_ms, loaded_ms) / 1000)
    finally:
        driver.quit()
    return {name: round(statistics.median(times), 3) for name, times in found.items()}


if __name__ == "__main__":
    main()
