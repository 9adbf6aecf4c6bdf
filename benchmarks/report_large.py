"""How long and how much memory it takes to look at a run whose episodes.jsonl has gigabytes.

A run's own rows are repeated, as further iterations, until the file is large enough; then `himac report`, `himac show`
and `himac watch` are run on it as a person would run them, and the system says the most memory each ever had. Beside
them stands the same on the run as it was: what is left between the two is what the size costs.

Reports are opened in headless Chromium (selenium, chromedriver): the time from the address to the page that is drawn,
and from a letter in the search field to the answers, the first of which has to unpack what was said. `--episodes` is
how many a report shows at most; the search is over those.

    python benchmarks/report_large.py --run runs/himac-0 [--gigabytes 2]

Without --run the rows come from the real collector and a scripted model that plays Sokoban at random.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _machine import save

from himac.runs.folder import EPISODES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "report"))
from scripted import write_run

ITERATION = re.compile(rb'^\{"iteration":(\d+)')


VERB = """
import sys, time
from himac.cli.main import main
status = main(sys.argv[1:])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak, time.process_time(), file=sys.stderr)
sys.exit(status)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="whose rows are repeated")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--episodes", type=int, default=5000, help="that a report shows at most")
    parser.add_argument(
        "--megabytes", type=float, default=8.0, help="that the episodes of a report have at most"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        small, large = Path(made) / "small", Path(made) / "large"
        source = args.run or write_run(small, iterations=8, tasks=16)
        shutil.copytree(source, large, ignore=shutil.ignore_patterns(EPISODES, "*.html", "checkpoints"))
        last = repeat(source / EPISODES, large / EPISODES, args.gigabytes * 1e9)
        results: dict[str, Any] = {}
        for name, folder, iteration in (("as_it_was", source, 0), ("large", large, last)):
            target = Path(made) / "report.html"
            results[name] = {
                "episodes_jsonl_mb": round((folder / EPISODES).stat().st_size / 1e6, 1),
                "episodes": count_lines(folder / EPISODES),
                "report": measured("report", str(folder), "--out", str(target), "--episodes", str(args.episodes), "--megabytes", str(args.megabytes)),
                "report_mb": round(target.stat().st_size / 1e6, 2),
                "in_the_browser": in_chromium(target),
                "show_first": measured("show", str(folder)),
                "show_of_the_last_iteration": measured("show", str(folder), "--iteration", str(iteration)),
                "show_all_failures_of_phase_b": measured("show", str(folder), "--phase", "executor", "--no-success", "--skip", "1000000"),
                "watch": measured("watch", str(folder), "--once"),
            }  # fmt: skip
    for name, part in results.items():
        print(name)
        for key, value in part.items():
            print(f"  {key:<30} {value}")
    print(save("report_large", results))


def repeat(source: Path, target: Path, most_bytes: float) -> int:
    """Write the source's rows again and again, each time as later iterations; return the last iteration."""
    written, round_of, last, longest = 0, 0, 0, 0
    with open(target, "wb") as out:
        while written < most_bytes:
            shift = longest + 1 if round_of else 0
            with open(source, "rb") as file:
                for line in file:
                    found = ITERATION.match(line)
                    if found is None or not line.endswith(b"\n"):
                        continue
                    last = int(found[1]) + shift * round_of
                    longest = longest if round_of else max(longest, last)
                    written += out.write(b'{"iteration":%d' % last + line[found.end() :])
                    if written >= most_bytes:
                        break
            round_of += 1
    return last


def measured(*words: str) -> dict[str, float]:
    """Run a verb in a process of its own; return its seconds and the most memory it had."""
    began = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-c", VERB, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if ran.returncode:
        raise SystemExit(f"himac {' '.join(words)} failed: {ran.stderr}")
    peak_kb, cpu_s = ran.stderr.splitlines()[-1].split()
    return {
        "peak_memory_mb": round(float(peak_kb) * 1024 / 1e6, 1),
        "cpu_s": round(float(cpu_s), 2),
        "wall_s": round(time.perf_counter() - began, 2),
    }


SEARCH = """
const [words, done] = arguments, box = document.getElementById("search"), began = performance.now();
box.value = words;
box.dispatchEvent(new Event("input"));
const look = () => {
  const told = document.getElementById("count");
  if (told.dataset.words !== words) return requestAnimationFrame(look);
  requestAnimationFrame(() => done([performance.now() - began, Number(told.dataset.count)]));
};
look();
"""
WORDS = ("box", "push the box", "the", "no such words", "e")
"""What is searched: the first search unpacks, the last one finds most."""


def in_chromium(page: Path) -> dict[str, Any]:
    """Open a report and search it; return seconds, and how many episodes it holds."""
    with chromium() as browser:
        opened = [round(open_page(browser, page, address), 2) for address in ("run", "episodes")]
        count = browser.execute_script("return Number(document.getElementById('count').dataset.count)")
        found = {}
        if browser.execute_script("return Boolean(document.getElementById('search'))"):
            found = {words: browser.execute_async_script(SEARCH, words) for words in WORDS}
    return {
        "open_run_s": opened[0],
        "open_episodes_s": opened[1],
        "episodes": count,
        "search_s": {words: round(ms / 1000, 3) for words, (ms, _) in found.items()},
        "found": {words: number for words, (_, number) in found.items()},
    }


def open_page(browser: Any, page: Path, address: str) -> float:
    """Return the seconds until a page of the report is drawn."""
    browser.get("about:blank")
    began = time.perf_counter()
    browser.get(f"{page.as_uri()}#{address}")
    while browser.execute_script("return document.body.dataset.ready") != address:
        time.sleep(0.02)
    return time.perf_counter() - began


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Headless Chromium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(word)
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or "")
    )
    driver.set_script_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


if __name__ == "__main__":
    main()
