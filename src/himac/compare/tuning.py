"""The same search for every method: a small grid, tried on the validation split before anything is compared.

    [tuning]
    seeds = [100]                        # none of the plan's
    trials = 8                           # of the grid's points, the same ones for all; left out: all
    budget = { iterations = 10 }         # of one trial
    [tuning.grid]
    optimizer.lr = [1e-4, 2e-4, 4e-4]
    rollout.temperature = [0.7, 1.0]
    algo.kl_coef = [0.01, 0.05]

Trials are ordinary runs in the comparison's folder under tuning/, carried out and gone on with like all others. They never see a
final split. For each environment and method the point with the best last validation success wins, the mean over the
search's seeds, and the first of those that are level. What was tried, what it cost and who won stands in tuned.json and in the table.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from himac.compare.terms import Budget, budget_of, refuse_unknown, seeds_of
from himac.errors import ConfigError, DataError, RunError
from himac.files import read_json, write_text
from himac.report.reading import read_metrics
from himac.seeds import generator
from himac.toml import flat
from himac.types import Json, Row

if TYPE_CHECKING:
    from himac.compare.comparison import Comparison, PlannedRun

FILE, FOLDER = "tuned.json", "tuning"
_SECTIONS = ("optimizer", "rollout", "algo")
"""What may be searched: nothing that changes what a warm start is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """A search that every method gets."""

    grid: dict[str, list[Json]]  # {dotted key: values}
    seeds: tuple[int, ...]
    budget: Budget  # of one trial
    trials: int  # points that are tried

    def points(self) -> list[Row]:
        """Return the settings that are tried, in the grid's order."""
        every = [
            dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())
        ]
        chosen = generator("tuning", len(every), self.trials).permutation(len(every))[: self.trials]
        return [every[index] for index in sorted(chosen.tolist())]

    def told(self) -> Row:
        """Return it for JSON."""
        budget = {key: value for key, value in asdict(self.budget).items() if value}
        return {"grid": self.grid, "seeds": list(self.seeds), "budget": budget, "trials": self.trials}


def tuning_of(table: Json, seeds: Sequence[int]) -> Tuning:
    """Read a plan's [tuning].

    Args:
        table: the table.
        seeds: the plan's own, which the search may not use.

    Raises:
        ConfigError: no grid, a setting that is not a method's to tune, or a seed of the comparison.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"[tuning] must be a table, got {table!r}")
    refuse_unknown(table, ("grid", "seeds", "budget", "trials"), "of [tuning]")
    tree = table.get("grid")
    grid = flat(tree) if isinstance(tree, dict) else {}
    if not grid:
        raise ConfigError("[tuning] needs a [tuning.grid]", hint="for example optimizer.lr = [1e-4, 2e-4]")
    for key, values in grid.items():
        if key.partition(".")[0] not in _SECTIONS:
            raise ConfigError(f"[tuning.grid] cannot search {key}; allowed sections: {', '.join(_SECTIONS)}")
        if not isinstance(values, list) or not values:
            raise ConfigError(f"[tuning.grid] {key} must be a list of values to try, got {values!r}")
    own = seeds_of(table.get("seeds", [100]))
    shared = sorted(set(own) & set(seeds))
    if shared:
        raise ConfigError(
            f"[tuning] seeds has {shared[0]}, a seed of the comparison",
            hint="what is chosen with a seed is not judged with it",
        )
    size = 1
    for values in grid.values():
        size *= len(values)
    trials = table.get("trials", size)
    if type(trials) is not int or not 1 <= trials <= size:
        raise ConfigError(f"[tuning] trials must be from 1 to the grid's {size} points, got {trials!r}")
    return Tuning(grid=grid, seeds=own, budget=budget_of(table.get("budget", {})), trials=trials)


def search_of(plan: Comparison) -> Comparison:
    """Return a plan's search as a plan: every method at every point, judged on validation alone."""
    assert plan.tuning is not None
    methods = {
        f"{method}.{number}": _laid(tree, point)
        for method, tree in plan.methods.items()
        for number, point in enumerate(plan.tuning.points())
    }
    worlds = tuple(
        replace(world, settings=_laid(world.settings, {"eval.final": ""}), target=0.0)
        for world in plan.worlds
    )
    return replace(
        plan,
        name=f"{plan.name} ({FOLDER})",
        worlds=worlds,
        methods=methods,
        seeds=plan.tuning.seeds,
        budget=plan.tuning.budget,
        reference=next(iter(methods)),
        target=0.0,
        tuning=None,
        is_search=True,
    )


def choose(plan: Comparison, runs: Sequence[PlannedRun]) -> Row:
    """Read a search's finished runs; return what tuned.json says.

    Raises:
        RunError: a run has no evaluation.
    """
    assert plan.tuning is not None
    points = plan.tuning.points()
    trials: dict[tuple[str, str, int], list[Row]] = {}
    for run in runs:
        rows = [
            r
            for r in read_metrics(run.folder)
            if r["phase"] == "eval" and r["split"] == run.config.eval.split
        ]
        if not rows or not rows[-1]["iteration"]:
            raise RunError(f"run {run.folder.name} of the search has no evaluation after training")
        method, _, number = run.method.rpartition(".")
        trials.setdefault((run.environment, method, int(number)), []).append(rows[-1])
    found = [
        {
            "environment": environment,
            "method": method,
            "settings": points[number],
            "success": round(sum(r["success"] for r in rows) / len(rows), 5),
            "env_steps": sum(r.get("total_env_steps", 0) for r in rows),
            "processor_s": round(sum(r.get("total_processor_s", 0.0) for r in rows), 1),
        }
        for (environment, method, number), rows in trials.items()
    ]
    winners: dict[str, dict[str, Row]] = {}
    for trial in found:
        best = winners.setdefault(trial["environment"], {}).get(trial["method"])
        if best is None or trial["success"] > best["success"]:
            winners[trial["environment"]][trial["method"]] = trial
    return {"tuning": plan.tuning.told(), "trials": found, "winners": winners}


def with_tuned(plan: Comparison, out: Path) -> Comparison:
    """Return a plan whose methods have what their search found; as it is where there was none.

    Raises:
        DataError: the search was another one.
    """
    path = out / FILE
    if plan.tuning is None or not path.is_file():
        return plan
    told = read_json(path)
    if told["tuning"] != json.loads(json.dumps(plan.tuning.told())):
        raise DataError(
            f"{str(path)!r} holds the winners of another search than the plan's",
            hint="another --out, or move the old search away",
        )
    tuned = {
        (environment, method): trial["settings"]
        for environment, methods in told["winners"].items()
        for method, trial in methods.items()
    }
    return replace(plan, tuned=tuned)


def write_tuned(told: Mapping[str, Json], out: Path) -> None:
    """Save what was chosen beside the runs."""
    write_text(out / FILE, json.dumps(told, indent=1) + "\n")


def paragraphs_of(told: Mapping[str, Json]) -> list[str]:
    """Return the lines of a table that say what was searched, what it cost and who won."""
    tuning = told["tuning"]
    grid = ", ".join(f"`{key}` {json.dumps(values)}" for key, values in tuning["grid"].items())
    budget = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in tuning["budget"].items())
    lines = [
        f"Every method was tuned alike on the validation split: {tuning['trials']} points of {grid}, seeds "
        f"{', '.join(map(str, tuning['seeds']))}, {budget} a trial."
    ]
    for environment, methods in told["winners"].items():
        for method, best in methods.items():
            tried = [t for t in told["trials"] if (t["environment"], t["method"]) == (environment, method)]
            steps, seconds = (sum(t[key] for t in tried) for key in ("env_steps", "processor_s"))
            chosen = ", ".join(f"{key} = {json.dumps(value)}" for key, value in best["settings"].items())
            lines.append(
                f"- {method} in {environment}: `{chosen}`, {100 * best['success']:.1f} % (the worst point "
                f"{100 * min(t['success'] for t in tried):.1f}); the search took {steps:,} environment steps, {seconds / 60:,.1f} "
                "processor minutes."
            )
    return lines


def _laid(tree: Mapping[str, Json], point: Mapping[str, Json]) -> Row:
    """Return nested tables with dotted settings laid over them."""
    laid: Row = {key: dict(value) if isinstance(value, dict) else value for key, value in tree.items()}
    for key, value in point.items():
        section, _, name = key.partition(".")
        laid[section] = {**laid.get(section, {}), name: value}
    return laid
