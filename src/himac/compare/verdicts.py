"""Verdicts: sentences written from the numbers, the same for every comparison.

A claim is that the reference ends above another method (level), or that training adds more to it (gain). It is *shown* when
the widened interval of the paired difference lies above 0, *shown the other way* when it lies below, and else *not shown*.
With one seed nothing is shown: tasks drawn again say nothing about another training run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from himac.compare.naming import label
from himac.types import Json, Row

SHOWN, NOT_SHOWN, OTHER_WAY = "shown", "not shown", "shown the other way"
_CLAIMS = {"level": "{of} ends above {to}", "gain": "training adds more to {of} than to {to}"}


def verdicts(levels: Sequence[Mapping[str, Json]], gains: Sequence[Mapping[str, Json]]) -> list[Row]:
    """Return every claim with its verdict, levels first.

    Args:
        levels: the reference's leads after training, from `outcomes.difference`.
        gains: its leads in what training added.
    """
    told = (("level", levels), ("gain", gains))
    return [_verdict(what, lead) for what, leads in told for lead in leads]


def _verdict(what: str, lead: Mapping[str, Json]) -> Row:
    names = {"of": label(lead["of"]), "to": label(lead["to"])}
    claim = _CLAIMS[what].format(**names)
    found = word_of(lead)
    return {
        "claim": claim,
        "what": what,
        "of": lead["of"],
        "to": lead["to"],
        "verdict": found,
        **{key: lead[key] for key in ("mean", "low", "high", "seeds", "tasks")},
        "sentence": f"{claim}: {found}. {numbers(lead)}",
    }


def word_of(lead: Mapping[str, Json]) -> str:
    """Return "shown", "not shown" or "shown the other way".

    >>> lead = {"mean": 0.1, "low": 0.02, "high": 0.2, "is_clear": True, "seeds": [0, 1]}
    >>> word_of(lead), word_of({**lead, "seeds": [0]}), word_of({**lead, "mean": -0.1, "low": -0.2, "high": -0.02})
    ('shown', 'not shown', 'shown the other way')
    """
    if len(lead["seeds"]) < 2 or not lead["is_clear"]:
        return NOT_SHOWN
    return SHOWN if lead["mean"] > 0 else OTHER_WAY


def numbers(lead: Mapping[str, Json]) -> str:
    """Return a difference with its interval, its seeds, and what could have been seen.

    >>> print(numbers({"mean": 0.041, "low": -0.008, "high": 0.09, "seeds": [0, 1, 2], "by_seed": [0.03, 0.05, 0.043],
    ...     "tasks": 256, "power": {"coverage": 0.89, "stretch": 1.42, "detectable": 0.061}}))
    +4.1 points, 95 % interval [-0.8, 9.0] (3 seeds: +3.0, +5.0, +4.3; 256 tasks). With these seeds 6.1 points would have \
been seen in four of five tries; the interval is widened 1.42 times, as drawn it holds the truth in 89 % of simulated trials.
    """
    by_seed = ", ".join(f"{100 * x:+.1f}" for x in lead["by_seed"])
    seeds = "1 seed" if len(lead["seeds"]) == 1 else f"{len(lead['seeds'])} seeds"
    tasks = f"{lead['tasks']} tasks" if lead["tasks"] else "tasks unknown"
    told = (
        f"{100 * lead['mean']:+.1f} points, 95 % interval [{100 * lead['low']:.1f}, {100 * lead['high']:.1f}] "
        f"({seeds}: {by_seed}; {tasks})."
    )
    if len(lead["seeds"]) == 1:
        return f"{told} One seed shows nothing about other runs."
    power = lead.get("power")
    if not power:
        return told
    wide = f"is widened {power['stretch']:.2f} times, as drawn it" if power["stretch"] > 1 else "as drawn"
    return (
        f"{told} With these seeds {100 * power['detectable']:.1f} points would have been seen in four of five tries; "
        f"the interval {wide} holds the truth in {100 * power['coverage']:.0f} % of simulated trials."
    )
