"""What every benchmark shares: the machine's description and where results are saved."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
_BEGAN_S = time.monotonic()


def describe() -> dict[str, Any]:
    """Return what a reader needs to judge a number: processor, cores, memory, versions, date."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
        memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (OSError, ValueError):
        memory_gib = float("nan")
    found: dict[str, Any] = {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_gib, 1),
        "python": platform.python_version(),
        "system": platform.system(),
        "date": time.strftime("%Y-%m-%d"),
        "load_average": [round(x, 2) for x in os.getloadavg()],
    }
    for package in ("torch", "transformers", "numpy"):
        try:
            from importlib.metadata import version

            found[package] = version(package)
        except Exception:
            found[package] = None
    return found


def save(name: str, results: dict[str, Any]) -> Path:
    """Write `results/NAME.json` with the machine, and how long the script took, beside the numbers."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    machine = describe() | {"took_s": round(time.monotonic() - _BEGAN_S, 1)}
    path.write_text(json.dumps({"machine": machine, **results}, indent=1) + "\n")
    print(f"wrote {path}; now run docs/make_results.py")
    return path
