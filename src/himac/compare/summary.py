"""Runs side by side, judged: everything that tables, curves and documents say, as one JSON-ready dict.

Every number a reader meets is computed here, once, from the outcomes of tasks. Success after training is
judged on the final split, budgets and targets on the validation curves, and a difference only between runs of the same
seed on the same tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from himac.compare.criteria import Criteria, refuse_low_target
from himac.compare.naming import LABELS, Named, label, settings_of
from himac.compare.outcomes import (
    DIGITS,
    Outcomes,
    difference,
    matrix,
    minus,
    rounded,
    shared_index,
    success_of,
)
from himac.compare.reading import Evaluation, RunRecord
from himac.compare.statistics import interval, rate
from himac.compare.verdicts import verdicts
from himac.config import Config
from himac.errors import DataError, closest
from himac.types import Row

KIND = "himac comparison"
AXES = ("env_steps", "iteration", "tokens")
"""What curves are drawn over and targets cost; fields of an Evaluation."""

BUDGETS = (*AXES, "processed_tokens", "processor_s")
"""What methods are compared at equal amounts of; the last two where every run has counted them."""

_GRID = 41  # points of a curve


def summarise(named: Sequence[Named], terms: Criteria) -> Row:
    """Judge runs under the names they are compared by.

    Args:
        named: the runs.
        terms: what is asked of them.

    Returns:
        A JSON-ready dict; `tables.markdown_of` and `curves.plot_comparison` draw it.

    Raises:
        DataError: nothing to compare, or no method has the reference's name.
    """
    if not named:
        raise DataError("no run to compare", hint="give run folders, a folder that holds some, or a plan")
    methods = list(dict.fromkeys(item.method for item in named))
    reference = terms.reference or ("himac" if "himac" in methods else methods[0])
    if reference not in methods:
        raise DataError(
            f"no run of the reference {reference!r}; methods: {', '.join(methods)}{closest(reference, methods)}"
        )
    worlds = {}
    for environment in dict.fromkeys(item.environment for item in named):
        runs = _by_method([item for item in named if item.environment == environment], reference)
        worlds[environment] = _judge(runs, reference, environment, terms)
        _tell_starts(worlds[environment], runs, terms)
    all_runs = [item.run for item in named]
    return {
        "kind": KIND,
        "name": terms.name,
        "reference": reference,
        "budget": terms.budget,
        "machines": _machines(all_runs),
        "training_minutes": round(sum(_last(run).train_s for run in all_runs) / 60, 1),
        "environments": worlds,
    }


def _judge(runs: dict[str, list[RunRecord]], reference: str, environment: str, terms: Criteria) -> Row:
    """Judge one environment. `runs` has the reference first, when it is there, and seeds in order."""
    first = next(iter(runs.values()))[0].config
    has_final = any(run.final for group in runs.values() for run in group)
    judged = {method: _judged(group, has_final) for method, group in runs.items()}
    final = {m: {seed: success_of(e) for seed, e in by_seed.items()} for m, by_seed in judged.items()}
    gains = {m: _gains(group, final[m], has_final) for m, group in runs.items()}
    differences, gained = _differences(final, reference), _differences(gains, reference)
    curves = {axis: _curves(runs, axis) for axis in AXES}
    target = terms.target_of(environment)
    for group in runs.values() if target else ():
        for run in group:
            refuse_low_target(target, run.curve[0].row if run.curve else {}, run.folder.name)
    target, is_found = (target, False) if target else (_find_target(curves["iteration"]), True)
    return {
        "split": first.eval.final if has_final else first.eval.split,
        "validation": first.eval.split,
        "temperature": first.eval.temperature,
        "every": first.eval.every,
        "methods": {
            method: _method(method, group, judged[method], first, has_final) | _gain(gains[method])
            for method, group in runs.items()
        },
        "differences": differences,
        "gain_differences": gained,
        "verdicts": verdicts(differences, gained),
        "equal": {axis: _at_equal(runs, axis, reference) for axis in BUDGETS if _is_counted(runs, axis)},
        "target": target,
        "target_is_found": is_found,
        "to_target": {m: _to_target(group, target) for m, group in runs.items()} if target else {},
        "curves": curves,
        "kinds": _kinds(judged),
        "provenance": next(
            (e.row["provenance"] for by in judged.values() for e in by.values() if e.row.get("provenance")),
            {},
        ),
        "notes": _notes(runs, final, has_final, is_told=bool(terms.starts)),
    }


def _kinds(judged: dict[str, dict[int, Evaluation]]) -> dict[str, dict[str, float | None]]:
    """Return {kind of task: {method: success, mean over seeds}}; {} where there is one kind."""
    rows = {m: [e.row["kinds"] for e in by.values() if "kinds" in e.row] for m, by in judged.items()}
    kinds = sorted({kind for found in rows.values() for row in found for kind in row})
    return {
        kind: {m: _mean(row[kind]["success"] for row in found if kind in row) for m, found in rows.items()}
        for kind in kinds
    }


def _judged(group: list[RunRecord], has_final: bool) -> dict[int, Evaluation]:
    """Return {seed: the evaluation that the run is judged by}, of the runs that have one."""
    found = {run.seed: run.final if has_final else (run.curve or (None,))[-1] for run in group}
    return {seed: evaluation for seed, evaluation in found.items() if evaluation}


def _method(
    method: str, group: list[RunRecord], judged: dict[int, Evaluation], first: Config, has_final: bool
) -> Row:
    """Return one method's results, and what sets it apart from the environment's first."""
    own, base = settings_of(group[0].config), settings_of(first)
    lasts = [judged.get(run.seed) or _last(run) for run in group]
    success_ST, _ = matrix([success_of(e) for e in judged.values()])
    score_ST, _ = matrix([Outcomes(index_T=e.index_T, values_T=e.score_T) for e in judged.values()])
    firsts = [run.before if has_final else (run.curve or (None,))[0] for run in group]
    befores = [e.success for e in firsts if e and e.iteration == 0]
    return {
        "label": label(method),
        "settings": {key: own[key] for key in own if own[key] != base[key]},
        "seeds": sorted(judged),
        "tasks": success_ST.shape[1],
        "before": round(float(np.mean(befores)), DIGITS) if befores else None,
        "success": rounded(rate(success_ST)) if len(success_ST) else None,
        "score": rounded(interval(score_ST)) if len(score_ST) else None,
        "by_seed": {str(seed): round(e.success, DIGITS) for seed, e in sorted(judged.items())},
        "episode_env_steps": _mean(e.row["env_steps"] for e in lasts),
        "episode_tokens": _mean(e.row["tokens"] for e in lasts),
        "iterations": _mean(e.iteration for e in lasts),
        "env_steps": _mean(e.env_steps for e in lasts),
        "tokens": _mean(e.tokens for e in lasts),
        "processed_tokens": _mean(e.processed_tokens for e in lasts),
        "minutes": _mean(e.train_s / 60 for e in lasts),
        "runs": [run.folder.name for run in group],
    }


def _gains(group: list[RunRecord], final: dict[int, Outcomes], has_final: bool) -> dict[int, Outcomes]:
    """Return {seed: what its run gained over its start, task by task}, of the seeds that have both."""
    firsts = {run.seed: run.before if has_final else (run.curve or (None,))[0] for run in group}
    return {
        seed: minus(final[seed], success_of(first))
        for seed, first in firsts.items()
        if first and first.iteration == 0 and seed in final
    }


def _gain(gains: dict[int, Outcomes]) -> Row:
    """Return a method's gain with its interval over seeds and tasks, and seed by seed."""
    gains_ST, _ = matrix([gains[seed] for seed in sorted(gains)])
    return {
        "gain": rounded(interval(gains_ST)) if gains_ST.size else None,
        "gain_by_seed": {
            str(seed): round(float(gains[seed].values_T.mean()), DIGITS) for seed in sorted(gains)
        },
    }


def _differences(outcomes: dict[str, dict[int, Outcomes]], reference: str) -> list[Row]:
    """Return the reference's lead over each other method, of levels or of gains."""
    found = []
    for method in outcomes if reference in outcomes else ():
        lead = (
            difference(outcomes[reference], outcomes[method], is_verdict=True)
            if method != reference
            else None
        )
        if lead:
            found.append({"of": reference, "to": method, **lead})
    return found


def _is_counted(runs: dict[str, list[RunRecord]], axis: str) -> bool:
    ended = [run.curve[-1] for group in runs.values() for run in group if len(run.curve) > 1]
    return axis in AXES or (bool(ended) and all(_axis(e, axis) > 0 for e in ended))


def _at_equal(runs: dict[str, list[RunRecord]], axis: str, reference: str) -> Row:
    """Compare on the curves at the largest budget that every run has reached."""
    drawn = {method: [run for run in group if run.curve] for method, group in runs.items()}
    drawn = {method: group for method, group in drawn.items() if group}
    if not drawn:
        return {}
    at = min(_axis(run.curve[-1], axis) for group in drawn.values() for run in group)
    outcomes = {m: {run.seed: _at(run, axis, at) for run in group} for m, group in drawn.items()}
    told = {}
    for method, by_seed in outcomes.items():
        own = rounded(rate(matrix(list(by_seed.values()))[0]))
        ahead = (
            difference(outcomes[reference], by_seed)
            if reference in outcomes and method != reference
            else None
        )
        told[method] = own | {"difference": ahead}
    return {"at": at, "methods": told}


def _curves(runs: dict[str, list[RunRecord]], axis: str) -> dict[str, dict[str, list[float]]]:
    """Return each method's mean curve with its band, on points that all methods share, as far as all its seeds go."""
    ends = {
        method: min(_axis(run.curve[-1], axis) for run in group if run.curve)
        for method, group in runs.items()
        if any(run.curve for run in group)
    }
    grid = np.linspace(0.0, max(ends.values(), default=0.0), _GRID)
    told = {}
    for method, end in ends.items():
        points = [x for x in grid if x < end] + [end]
        group = [run for run in runs[method] if run.curve]
        found = [rate(matrix([_at(run, axis, x) for run in group])[0]) for x in points]
        told[method] = {"x": [round(float(x), 2) for x in points]} | {
            key: [round(getattr(i, key), DIGITS) for i in found] for key in ("mean", "low", "high")
        }
    return told


def _at(run: RunRecord, axis: str, x: float) -> Outcomes:
    """Return a run's outcomes at a budget, straight lines between its evaluations."""
    xs = np.array([_axis(e, axis) for e in run.curve], float)
    right = int(np.clip(np.searchsorted(xs, x), 1, len(xs) - 1)) if len(xs) > 1 else 0
    after, before = run.curve[right], run.curve[max(right - 1, 0)]
    width = xs[right] - xs[max(right - 1, 0)]
    share = float(np.clip((x - xs[max(right - 1, 0)]) / width, 0.0, 1.0)) if width else 1.0
    pair_ST, is_by_task = matrix([success_of(before), success_of(after)])
    index_T = shared_index([before.index_T, after.index_T]) if is_by_task else None
    return Outcomes(index_T=index_T, values_T=(1 - share) * pair_ST[0] + share * pair_ST[1])


def _find_target(curves: dict[str, dict[str, list[float]]]) -> float:
    """Return the highest multiple of 0.05 that every method's mean curve reaches and none starts at; 0 without one.

    >>> _find_target({"a": {"mean": [0.1, 0.62]}, "b": {"mean": [0.2, 0.83, 0.5]}})
    0.6
    >>> _find_target({"a": {"mean": [0.1, 0.32]}, "b": {"mean": [0.3, 0.83]}})
    0.0
    """
    least = min((max(curve["mean"]) for curve in curves.values()), default=0.0)
    found = round(int(least * 20 + 1e-9) / 20, 2)
    return found if found > max((curve["mean"][0] for curve in curves.values()), default=0.0) else 0.0


def _to_target(group: list[RunRecord], target: float) -> Row:
    """Return what it cost each seed to be evaluated at the target for the first time."""
    reached = {
        run.seed: next((e for e in run.curve if e.success >= target - 1e-9), None)
        for run in group
        if run.curve
    }
    hits = [e for e in reached.values() if e]
    return {
        "seeds": len(reached),
        "reached": len(hits),
        **{axis: _mean(_axis(e, axis) for e in hits) for axis in AXES},
        "minutes": _mean(e.train_s / 60 for e in hits),
        "by_seed": {str(seed): e.iteration if e else None for seed, e in reached.items()},
    }


def _notes(
    runs: dict[str, list[RunRecord]],
    final: dict[str, dict[int, Outcomes]],
    has_final: bool,
    *,
    is_told: bool,
) -> list[str]:
    """Return what a reader must know before believing the numbers; `is_told`: a plan says where runs started."""
    notes = []
    if not has_final:
        notes.append(
            "No run has a final split; success is that of the last evaluation on the validation split."
        )
    every = sorted({run.seed for group in runs.values() for run in group})
    for method, group in runs.items():
        absent = sorted(set(every) - set(final[method]))
        if absent:
            notes.append(f"{label(method)}: no finished run of seed {', '.join(map(str, absent))}.")
        if any(run.curve and run.curve[0].index_T is None for run in group):
            notes.append(f"{label(method)}: outcomes by task were not kept; its intervals know seeds alone.")
    if len(every) == 1:
        notes.append("One seed: intervals are over tasks alone and say nothing about another training run.")
    for seed in () if is_told else every:
        starts = {run.start for group in runs.values() for run in group if run.seed == seed}
        if len(starts) > 1:
            notes.append(f"Seed {seed} did not start from one model: {', '.join(sorted(starts))}.")
    spent = [_last(run).env_steps for group in runs.values() for run in group]
    if max(spent) > 1.1 * min(spent):
        notes.append(
            f"The runs did not spend alike: {min(spent):,} to {max(spent):,} environment steps. "
            "Compare at equal budgets."
        )
    return notes


def _tell_starts(judged: Row, runs: dict[str, list[RunRecord]], terms: Criteria) -> None:
    """Say which methods share a warm start, and that all were taught as much."""
    begins: dict[str, list[str]] = {}
    sizes = {}
    for method, group in runs.items():
        for start in [terms.starts[run.folder.name] for run in group if run.folder.name in terms.starts][:1]:
            judged["methods"][method]["start"] = start
            begins.setdefault(start["name"], []).append(label(method))
            sizes[start["name"]] = (start["demonstrations"], start["steps"])
    if not begins:
        return
    told = "; ".join(f"`{name}` for {', '.join(methods)}" for name, methods in begins.items())
    effort = {
        name: f"{shown:,} demonstrations, {steps:,} optimizer steps" for name, (shown, steps) in sizes.items()
    }
    if len(set(effort.values())) == 1:
        each = f"each {next(iter(effort.values()))}"
    else:
        each = "not alike: " + "; ".join(f"`{name}` {words}" for name, words in effort.items())
    judged["notes"].append(f"Warm starts, in the format of those who start there: {told}; {each}.")


def _by_method(named: Sequence[Named], reference: str) -> dict[str, list[RunRecord]]:
    """Return {method: its runs by seed}, the reference first, then the known methods, then the others as they came."""
    order = [reference, *LABELS, *(item.method for item in named)]
    groups = {m: sorted((i.run for i in named if i.method == m), key=lambda r: r.seed) for m in order}
    return {method: group for method, group in groups.items() if group}


def _machines(runs: Sequence[RunRecord]) -> list[str]:
    """Return each machine in words, with how many runs it did."""
    names = []
    for run in runs:
        m = run.machine
        parts = [
            m.get("processor", "unknown machine"),
            f"{m['cores']} cores" if "cores" in m else "",
            m.get("gpu", ""),
        ]
        names.append(", ".join(part for part in parts if part))
    return [f"{name} ({n} run{'s' * (n > 1)})" for name, n in Counter(names).items()]


def _last(run: RunRecord) -> Evaluation:
    found = [e for e in (run.final, *run.curve, run.before) if e]
    return max(found, key=lambda e: e.iteration)


def _axis(evaluation: Evaluation, axis: str) -> float:
    return float(getattr(evaluation, axis))


def _mean(values: Any) -> float | None:
    numbers = [float(v) for v in values]
    return round(sum(numbers) / len(numbers), DIGITS) if numbers else None
