"""Statistics of episodes: what training logs, evaluations report and comparisons compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from himac.algo.advantages import has_variance
from himac.algo.base import returns_of
from himac.types import Episode, Group, Row, StopReason, Task

FAILED = (StopReason.ENV_ERROR, StopReason.ENGINE_ERROR, StopReason.PROMPT_TOO_LONG)
"""Ends of episodes that could not be run."""


def conclude(episodes: Sequence[Episode]) -> Row:
    """Summarise a (possibly partial) evaluation. Each task counts once, with its best trial.

    Where tasks were tried more than once, "best_of" says how often at most and "after_trial" holds the summary after
    each trial, for as many as were completed: success is then a best of K, with the environment's own verdict as the
    reason to try again, and steps and tokens are sums over the trials.
    """
    trials_of: dict[Task, list[Episode]] = {}
    for episode in sorted(episodes, key=lambda e: e.replica):
        trials_of.setdefault(episode.task, []).append(episode)
    cut, rows = list(trials_of.values()), []
    for count in range(1, max(map(len, cut), default=0) + 1):
        at_most = [trials[:count] for trials in trials_of.values()]
        if any(len(trials) < count and not trials[-1].success for trials in at_most):
            break  # interrupted within this trial
        cut = at_most
        rows.append({"best_of": count, **summarise([best_of(trials) for trials in cut])})
    merged = [best_of(trials) for trials in cut]
    summary = summarise(merged) | {"outcomes": outcomes(merged)}
    kinds = sorted({e.task.kind for e in merged})
    if len(kinds) > 1:
        summary["kinds"] = {kind: summarise([e for e in merged if e.task.kind == kind]) for kind in kinds}
    if any(episode.replica for episode in episodes):
        summary |= {"best_of": len(rows), "after_trial": rows}
    return summary


def best_of(trials: Sequence[Episode]) -> Episode:
    """Return a task's trials as one: the best of them, with the steps, calls, tokens and turns of all."""
    if len(trials) == 1:
        return trials[0]
    return replace(
        max(trials, key=lambda e: (e.success, e.score, e.return_)),
        segments=tuple(segment for e in trials for segment in e.segments),
        env_steps=sum(e.env_steps for e in trials),
        calls=sum(e.calls for e in trials),
        tokens=sum(e.tokens for e in trials),
    )


def summarise(episodes: Sequence[Episode]) -> Row:
    """Return means over episodes; success with its 95 % Wilson interval.

    Steps, turns and tokens are means over executed episodes: a copy shares the execution of another one.
    """
    executed = [e for e in episodes if not e.is_copy]
    num = len(episodes)
    wins = sum(e.success for e in episodes)
    low, high = wilson(wins, num)
    segments = [s for e in episodes for s in e.segments]
    turns = [t for e in episodes for t in e.turns]
    acted = [t for t in turns if t.role == "executor"]
    planned = [e.blueprint for e in episodes if e.planning is not None and e.blueprint is not None]
    return {
        "episodes": num,
        "success": wins / max(num, 1),
        "success_low": low,
        "success_high": high,
        "score": _mean(e.score for e in episodes),
        "return": _mean(e.return_ for e in episodes),
        "env_steps": _mean(e.env_steps for e in executed),
        "turns": _mean(e.calls for e in executed),
        "tokens": _mean(e.tokens for e in executed),
        "subgoals": _mean(len(b.subgoals) for b in planned),
        "malformed": _mean(b.malformed for b in planned),
        "sub_done": _mean(s.stop is StopReason.SUB_DONE for s in segments),
        "fallback": _mean(s.stop is StopReason.BUDGET for s in segments),
        "unreadable": _mean(not t.readable for t in acted),
        "inadmissible": _mean(not t.admissible for t in acted),
        "failed": _mean(e.stop in FAILED for e in episodes),
        "trimmed": _mean(s.trimmed > 0 for s in segments),
    }


def outcomes(episodes: Sequence[Episode]) -> Row:
    """Return what became of each task, compactly: what comparisons pair, and bootstraps resample.

    Returns:
        {"index": the tasks' places in their split, "success": a character "0" or "1" a task, and, where scores say
        more than success, "score": one a task}.
    """
    row: Row = {
        "index": [e.task.index for e in episodes],
        "success": "".join(str(int(e.success)) for e in episodes),
    }
    if any(e.score != float(e.success) for e in episodes):
        row["score"] = [round(e.score, 4) for e in episodes]
    return row


def summarise_groups(groups: Sequence[Group]) -> dict[str, float]:
    """Return how much signal the groups carry, and how different their blueprints are."""
    peers = [[e for e in group if e.was_run] for group in groups]
    planned = [g for g in peers if g and g[0].planning is not None]
    distinct = [len({e.blueprint.subgoals for e in g if e.blueprint}) for g in planned]
    return {
        "groups": float(len(groups)),
        "zero_variance": sum(not has_variance(returns_of(g)) for g in peers) / max(len(groups), 1),
        "distinct_blueprints": sum(distinct) / len(distinct) if distinct else 0.0,
    }


def wilson(wins: int, num: int, *, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate.

    Source: E. B. Wilson, 1927: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). Why not scipy's: it is equal to nine
    digits, takes 1.3 ms a call, and is 114 MB (benchmarks/hand_written.py).

    >>> [round(x, 3) for x in wilson(8, 10)]
    [0.49, 0.943]
    >>> wilson(0, 0)
    (0.0, 1.0)
    """
    if num == 0:
        return 0.0, 1.0
    p = wins / num
    centre = p + z * z / (2 * num)
    spread = z * math.sqrt(p * (1 - p) / num + z * z / (4 * num * num))
    scale = 1 + z * z / num
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _mean(values: Any) -> float:
    numbers = [float(v) for v in values]
    return sum(numbers) / len(numbers) if numbers else 0.0
