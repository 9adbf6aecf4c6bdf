"""What the demos' evidence shares: runs of both methods from one warm start, their numbers, a table and a picture.

One idea: everything is asked of the command line (`himac sft`, `train`, `eval`) and read back from the run
folders, so that what is measured is what a user runs, and a benchmark that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _machine import RESULTS, save

from himac.evaluate import wilson
from himac.runs import EPISODES, METRICS, read_rows

METHODS = {"himac": ("HiMAC", "#d1782f", "-"), "flat": ("flat GRPO", "#4a4a4a", "--")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One recipe and what is measured of it."""

    name: str  # of the results, results/NAME.json and results/NAME.png
    recipe: str
    curve: str  # the recipe's eval.split: drawn over training
    final: str  # the recipe's eval.final: never trained on, evaluated before and after
    also: tuple[str, ...] = ()  # further splits to evaluate before and after
    tasks: str = "tasks"  # what the picture calls them
    has_score: bool = False  # the world grades what falls short of success: told and drawn as well


def run(demo: Demo, doc: str) -> None:
    """Run a demo's benchmark from the command line: `--seeds`, `--jobs`, `--root`, settings."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="seeds run side by side, one thread each")
    parser.add_argument("--root", type=Path, default=Path("runs") / demo.name.replace("_", "-"))
    parser.add_argument("extra", nargs="*", metavar="key=value", help="settings laid over the recipe")
    args = parser.parse_args()
    with ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(lambda seed: run_seed(demo, seed, args.root, args.extra), args.seeds))
    print(table(results))
    if demo.has_score:
        print("\n" + score_table(results))
    if any("kinds" in result["himac"]["after"] for result in results):
        print("\n" + kinds_table(results))
    save(demo.name, {"recipe": demo.recipe, "settings": args.extra, "jobs": args.jobs, "results": results})
    draw(demo, results, RESULTS / f"{demo.name}.png")


def run_seed(demo: Demo, seed: int, root: Path, extra: list[str]) -> dict[str, Any]:
    """Run, or read, one seed's warm start, HiMAC run and flat run at as many environment steps."""
    start = root / f"start-{seed}"
    common = [f"run.dir={root}", f"run.seed={seed}", *extra]
    if not (start / "start").is_dir():
        himac("sft", demo.recipe, *common, f"run.name={start.name}")
    given = [f"model.name={start / 'start'}", "sft.demonstrations=0"]
    ours = _finish(demo, root / f"himac-{seed}", [demo.recipe, *common, *given])
    budget = [f"run.max_env_steps={ours['env_steps']}", "run.max_minutes=0"]
    budget.append(f"run.iterations={8 * ours['iterations']}")  # unreadable answers take no step
    flat = _finish(demo, root / f"flat-{seed}", [demo.recipe, *common, *given, *budget, "algo.method=flat"])
    return {"seed": seed, "himac": ours, "flat": flat}


def _finish(demo: Demo, folder: Path, words: list[str]) -> dict[str, Any]:
    """Run or resume a training run and read what it came to."""
    if not folder.is_dir():
        himac("train", *words, f"run.name={folder.name}")
    elif not (folder / "table.md").is_file():  # written when a run ends
        himac("train", "--resume", str(folder))
    rows = evaluations(folder, demo.final)
    if len(rows) < 2:  # a run that was told not to evaluate it
        rows = [_evaluated(folder, checkpoint, demo.final) for checkpoint in ("start", "last")]
    before, after = rows[0], rows[-1]
    last = [row for row in read_rows(folder / METRICS) if "total_env_steps" in row][-1]
    found = {
        "before": _short(before),
        "after": _short(after),
        "iterations": last["iteration"],
        "env_steps": last["total_env_steps"],
        "tokens": last["total_tokens"],
        "training_minutes": round(last["total_train_s"] / 60, 2),
        "curve": [(r["iteration"], r["total_env_steps"], r["success"], r["score"]) for r in evaluations(folder, demo.curve)],
    }  # fmt: skip
    if "provenance" in after:
        found["provenance"] = after["provenance"]
    for split in demo.also:
        found[split] = {
            when: _short(_evaluated(folder, checkpoint, split))
            for when, checkpoint in (("before", "start"), ("after", "last"))
        }
    return found


def _evaluated(folder: Path, checkpoint: str, split: str) -> dict[str, Any]:
    """Evaluate a run's checkpoint on a whole split, or read what that gave."""
    target = folder / "evaluations" / f"demo-{split}-{checkpoint}.json"
    if not target.is_file():
        words = [f"split={split}", "eval.tasks=0", "--checkpoint", checkpoint, "--out", str(target)]
        himac("eval", str(folder), *words)
    row: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return row


def himac(*words: str) -> None:
    """Run one himac command; its log goes to this script's stderr."""
    subprocess.run([sys.executable, "-m", "himac", *words], check=True, stdout=subprocess.DEVNULL)


def evaluations(folder: Path, split: str) -> list[dict[str, Any]]:
    return [r for r in read_rows(folder / METRICS) if r["phase"] == "eval" and r["split"] == split]


def count_both_ends(doc: str, name: str, count: Callable[[list[dict[str, Any]]], dict[str, int]]) -> None:
    """Count the episodes of each run's first and last evaluation of a split, print and save: `RUN... [--split]`."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--split", default="valid_unseen")
    args = parser.parse_args()
    found = {}
    for run in args.runs:
        episodes: dict[int, list[dict[str, Any]]] = {}
        for row in read_rows(run / EPISODES):
            if row["phase"] == "eval" and row["split"] == args.split:
                episodes.setdefault(row["iteration"], []).append(row)
        found[run.name] = {
            "before": count(episodes[min(episodes)]),
            "after": count(episodes[max(episodes)]),
        }
        print(run.name, found[run.name])
    save(name, {"split": args.split, "runs": found})


def _short(row: dict[str, Any]) -> dict[str, Any]:
    keys = ("episodes", "success", "success_low", "success_high", "score", "return", "env_steps", "tokens")
    short: dict[str, Any] = {key: row[key] for key in keys}
    if "kinds" in row:
        short["kinds"] = {
            kind: {"episodes": part["episodes"], "success": part["success"], "score": part["score"]}
            for kind, part in row["kinds"].items()
        }
    return short


def table(results: list[dict[str, Any]]) -> str:
    """Return what a reader wants first."""
    lines = ["seed  method  before  after   95 % interval    steps     minutes"]
    for result in results:
        for method in METHODS:
            r = result[method]
            low, high = wilson(round(r["after"]["success"] * r["after"]["episodes"]), r["after"]["episodes"])
            lines.append(
                f"{result['seed']:<5} {method:<7} {r['before']['success']:.3f}   {r['after']['success']:.3f}   "
                f"{low:.3f} - {high:.3f}   {r['env_steps']:<9} {r['training_minutes']:.1f}"
            )
    return "\n".join(lines)


def score_table(results: list[dict[str, Any]]) -> str:
    """Return the mean score, "before > after"."""
    lines = ["seed  method  score"]
    for result in results:
        for method in METHODS:
            before, after = (result[method][when]["score"] for when in ("before", "after"))
            lines.append(f"{result['seed']:<5} {method:<7} {before:.3f} > {after:.3f}")
    return "\n".join(lines)


def kinds_table(results: list[dict[str, Any]]) -> str:
    """Return success per task type, "before > after" in percent."""
    kinds = sorted(results[0]["himac"]["after"]["kinds"])
    lines = ["seed  method  " + "".join(f"{kind:<12}" for kind in kinds)]
    for result in results:
        for method in METHODS:
            before, after = (result[method][when]["kinds"] for when in ("before", "after"))
            cells = [f"{before[k]['success']:.0%} > {after[k]['success']:.0%}" for k in kinds]
            lines.append(f"{result['seed']:<5} {method:<7} " + "".join(f"{cell:<12}" for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


def draw(demo: Demo, results: list[dict[str, Any]], target: Path) -> None:
    """Draw success, and the score where there is one, over environment steps, a thin line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = ["success", "score"] if demo.has_score else ["success"]
    figure, panels = plt.subplots(1, len(names), figsize=(7.2 * len(names), 4.2), dpi=150, squeeze=False)
    for column, (name, axes) in enumerate(zip(names, panels[0]), start=2):
        for method, (label, colour, dash) in METHODS.items():
            for result in results:
                points = [(point[1], point[column]) for point in result[method]["curve"]]
                shown = label if result is results[0] else None
                axes.plot(*zip(*points), dash, color=colour, marker="o", markersize=3, label=shown)
        axes.set(
            xlabel="environment steps of training", ylabel=f"{name} on {demo.tasks}, greedy", ylim=(0, 1)
        )
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(target)
