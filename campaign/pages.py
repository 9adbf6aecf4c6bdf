"""The report of runs whose every text is hostile, in a real browser: every page walked through, nothing executed."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from campaign.kills import made, recipe_in, run
from campaign.sections import Section, fault_of
from himac.runs.folder import CONFIG, EPISODES, MACHINE, METRICS

_WORLDS = {
    "toy": ["env=toy", "env.doors=1"],
    "sokoban": ["env=sokoban"],
    "alfworld": ["env=alfworld", "env.path=generated", "env.games=12", "split=valid_seen"],
    "webshop": ["env=webshop", "env.generated=60", "env.num_types=6"],
}
_KEPT = frozenset(
    ["role", "stop", "phase", "env"]
)  # the page takes these for its own words, and so do readers of rows
_WAIT_S = 60.0
_WALK = """
const bad = [];
for (const node of document.querySelectorAll("*")) {
  for (const { name, value } of node.attributes) {
    if (/^on/i.test(name)) bad.push(`${node.tagName} ${name}`);
    if (/^(href|src|action|formaction|xlink:href|data|srcdoc)$/i.test(name) && !/^(#|data:image\\/png;)/.test(value)) bad.push(`${node.tagName} ${name}=${value}`);
    if (name === "style" && /url|expression|@import/i.test(value)) bad.push(`${node.tagName} style`);
  }
}
for (const node of document.querySelectorAll("main :is(script, iframe, object, embed, base, meta, link, style, svg script, foreignObject)")) bad.push(node.tagName);
if (document.scripts.length !== 2 || window.pwned !== undefined) bad.push(`scripts ${document.scripts.length}, canary ${window.pwned}`);
return bad;
"""


def hostile(folder: Path, *, every: int) -> Section:
    """Report hostile runs of each world, and open each page that the report has; skipped where no browser is."""
    section = Section("pages of hostile runs in a real browser: nothing executed, nothing fetched")
    with contextlib.ExitStack() as stack:
        asked: list[str] = []
        here = stack.enter_context(_listener(asked))
        driver = stack.enter_context(_browser())
        if driver is None:
            return section
        runs = _runs(folder, payloads_for(here))
        page = folder / "page.html"
        if fault := fault_of(["report", *map(str, runs), "--out", str(page)], allowed=(0,)):
            section.add(fault)
            return section
        title, seen = "", 0
        for address in _addresses(driver, page.as_uri(), every):
            fault = _opened(driver, page.as_uri(), address)
            title = title or driver.title
            fault = fault or ("the title was changed" if driver.title != title else "")
            fault = fault or (f"asked for {asked[0]}" if asked else "")
            section.add(f"{address}: {fault}" if fault else "")
            seen += "pwned" in driver.execute_script("return document.body.innerText")
        section.add("" if seen > len(runs) else "the hostile texts are nowhere to be seen: nothing was tried")
    return section


def payloads_for(here: str) -> list[str]:
    """Return texts that try to run, to fetch from an address, or to hide."""
    act = f"window.pwned=1;document.title='pwned';fetch('{here}/pwned')"
    return [
        f"<script>{act}</script>", f"</script><script>{act}</script>", f'<img src="{here}/pwned.png" onerror="{act}">', f"<svg onload={act}><script>{act}</script></svg>",
        f"javascript:{act}", f'<a href="javascript:{act}">pwned</a>', f'"><iframe srcdoc="<script>{act}</script>"></iframe>', f"'-{act}-'", f"`${{{act}}}`",
        f"<!--<script>{act}", "]]>--></title></style></textarea></main></body></html>pwned", f'<base href="{here}/"><meta http-equiv="refresh" content="0;url={here}/pwned">',
        f"<style>@import '{here}/pwned.css';</style>", f"\u2028{act}\u2029", "\u202epwned\u202c\u2066x\u2069\u200f\ufeff", "\x1b[2J\x00\x07\x85pwned", "{{SCRIPT}}{{DATA}}pwned", "__proto__", "constructor",
        f"&lt;script&gt;{act}&lt;/script&gt;", f"\\u003cscript\\u003e{act}", f"<math><mtext><table><mglyph><style><img src=x onerror={act}>", f"data:text/html,<script>{act}</script>",
        f"url({here}/pwned)", "a" * 3000 + "pwned", "\ud800pwned", "é" * 50 + "😀pwned", "%0a%3cscript%3epwned", f"#episode/0/0\" onclick=\"{act}",
    ]  # fmt: skip


def _runs(folder: Path, payloads: list[str]) -> list[Path]:
    """Make a run of each world and one of training; replace their texts."""
    model, found = made(folder) / "start", []
    for world, words in _WORLDS.items():
        name = f"{world}<b onclick=window.pwned=1>"
        told = run(["eval", str(model), *words, "eval.tasks=3", "agent.max_steps=4", "agent.think=false", f"run.dir={folder}", f"run.name={name}"], counted=folder / "count")  # fmt: skip
        found.append(folder / name)
        if told[0]:
            raise RuntimeError(told[1][-300:])
    name = "x'\"><img src=x onerror=window.pwned=1>"
    words = ["train", str(recipe_in(folder)), f"run.dir={folder}", f"run.name={name}"]
    status, said = run(words, counted=folder / "count")
    if status:
        raise RuntimeError(said[-300:])
    found.append(folder / name)
    for number, home in enumerate(found):
        _poison(home, payloads, random.Random(number))
    return found


def _poison(home: Path, payloads: list[str], rng: random.Random) -> None:
    """Put hostile texts into every file of a run that the report reads."""
    turn = itertools.cycle(payloads)

    def evil(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: evil(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [evil(part, key) for part in value]
        if not isinstance(value, str) or key in _KEPT or value.startswith("data:"):
            return value
        return next(turn) if rng.random() < 0.3 else value + next(turn)

    for name in (EPISODES, METRICS):
        if (home / name).is_file():
            rows = [evil(json.loads(line)) for line in (home / name).read_text(encoding="utf-8").splitlines()]
            (home / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    if (home / MACHINE).is_file():
        (home / MACHINE).write_text(json.dumps(evil(json.loads((home / MACHINE).read_text()))))
    with open(home / CONFIG, "a", encoding="utf-8") as file:
        file.write("\n[hostile]\n" + "".join(f"{json.dumps(text.encode('utf-8', 'replace').decode())} = {json.dumps(text.encode('utf-8', 'replace').decode())}\n" for text in payloads if "\x7f" not in text))  # fmt: skip
    tokenizer = home / "start" / "tokenizer.json"
    if tokenizer.is_file():
        text = tokenizer.read_text(encoding="utf-8")
        tokenizer.write_text(text.replace("<|im_end|>", json.dumps(payloads[1])[1:-1]), encoding="utf-8")


def _addresses(driver: Any, url: str, every: int) -> list[str]:
    """Return every address that the report has: its pages, each episode, each group."""
    _opened(driver, url, "run")
    script = "return [...new Set([...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.getAttribute('href').slice(1)))]"
    _opened(driver, url, "episodes")
    linked = [a for a in driver.execute_script(script) if a not in ("run", "episodes")]
    odd = [
        *(f"episodes?kind={text}" for text in ("<script>window.pwned=1</script>", "javascript:window.pwned=1", "__proto__")),
        "episodes?constructor=1", "episodes?__proto__=1", "%", "%00", "episode/0/999999", "group/99/0", "<img src=x onerror=window.pwned=1>",
    ]  # fmt: skip
    return ["run", "episodes", *odd, *linked[::every]]


def _opened(driver: Any, url: str, address: str) -> str:
    """Open an address and click through it; return what is wrong with what it shows."""
    from selenium.webdriver.common.by import By

    driver.get("about:blank")
    driver.get(f"{url}#{address}")
    until = time.monotonic() + _WAIT_S
    while driver.execute_script("return document.body.dataset.ready") is None:
        if time.monotonic() > until:
            return f"not drawn after {_WAIT_S:.0f} s"
        time.sleep(0.05)
    for button in driver.find_elements(By.CSS_SELECTOR, "main button, main summary")[:12]:
        with contextlib.suppress(Exception):  # what is hidden cannot be clicked
            button.click()
    if "could not be drawn" in driver.find_element(By.ID, "main").text:
        return driver.find_element(By.ID, "main").text[-200:]
    bad = driver.execute_script(_WALK)
    lines = [line["message"] for line in driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
    return f"{bad[:3]}" if bad else f"console: {lines[0][:200]}" if lines else ""


@contextlib.contextmanager
def _browser() -> Iterator[Any]:
    """A headless Chromium; None where there is none, with a line that says so."""
    try:
        from selenium import webdriver
    except ImportError:
        print("  skipped: selenium is not installed", file=sys.stderr)
        yield None
        return
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        print("  skipped: chromium and chromedriver are not installed", file=sys.stderr)
        yield None
        return
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@contextlib.contextmanager
def _listener(asked: list[str]) -> Iterator[str]:
    """A server that notes whatever is asked of it; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        listener.server_close()
