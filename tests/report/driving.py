"""Driving the report in a real browser: open an address, wait until it is drawn, look things up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def open_page(browser: Any, page: str, address: str) -> None:
    """Open an address of the report and wait until it is drawn."""
    browser.get("about:blank")
    browser.get(f"{page}#{address}")
    wait(lambda: browser.execute_script("return document.body.dataset.ready") == address)


def wait(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 40
    while not is_so():
        assert time.monotonic() < until, "the page did not get there in 40 s"
        time.sleep(0.05)


def find(browser: Any, css: str) -> Any:
    return browser.find_element("css selector", css)


def find_all(browser: Any, css: str) -> list[Any]:
    return browser.find_elements("css selector", css)


def errors(browser: Any) -> list[str]:
    """Return what the console complained of since the last call."""
    return [line["message"] for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]


@contextmanager
def width_of(browser: Any, width: int) -> Iterator[None]:
    """Give the page this width, in CSS pixels, for as long as the block lasts."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
