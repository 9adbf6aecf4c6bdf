"""A judged comparison as Markdown.

It draws the dict of `summary.summarise` (or the JSON that holds it) and computes nothing a reader would quote
except a quotient. Every mean stands beside its interval, and every verdict is a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from himac.compare.naming import label
from himac.compare.seal import paragraph
from himac.compare.tuning import paragraphs_of
from himac.report.tables import markdown
from himac.types import Json

_AXES = {
    "env_steps": "{:,.0f} environment steps",
    "iteration": "{:,.0f} iterations",
    "tokens": "{:,.0f} generated tokens",
}
_BUDGETS = {
    **_AXES,
    "processed_tokens": "{:,.0f} processed tokens",
    "processor_s": "{:,.0f} processor seconds",
}
METHOD = (
    "Intervals are 95 %: a bootstrap that draws seeds and tasks again, each with replacement. Differences are paired, "
    "seed by seed and task by task; 'not shown' and 'not distinguishable' mean that the interval holds 0. Each interval is for "
    "itself: of twenty, one misses by chance. Where few seeds differ much, intervals hold the truth less often than 95 %; "
    "benchmarks/interval_coverage.py measures how often. Those of verdicts are widened towards 95 %, and "
    "the difference that could have been seen is told, both by simulation with the seeds' and tasks' own spread, "
    "which few seeds tell roughly."
)


def markdown_of(told: Mapping[str, Json], *, level: int = 1) -> str:
    """Return a comparison as a Markdown page.

    Args:
        told: what `summarise` returned.
        level: of its highest heading.
    """
    head = "#" * level
    parts = [f"{head} Comparison: {told['name']}", _what_was_run(told)]
    parts += [paragraph(told["sealed"])] if "sealed" in told else []
    parts += ["\n".join(paragraphs_of(told["tuned"]))] if "tuned" in told else []
    for environment, judged in told["environments"].items():
        parts.append(f"{head}# {environment}")
        parts += _environment(judged, told["reference"], head + "##")
    parts.append(METHOD)
    return "\n\n".join(parts) + "\n"


def sentence(difference: Mapping[str, Json]) -> str:
    """Return a difference and its verdict in one line.

    >>> sentence({"of": "himac", "to": "grpo", "mean": 0.041, "low": -0.008, "high": 0.09, "is_clear": False,
    ...     "seeds": [0, 1], "by_seed": [0.03, 0.052], "tasks": 512})
    'HiMAC - GRPO = +4.1 points, 95 % interval [-0.8, 9.0]: not distinguishable (2 seeds: +3.0, +5.2; 512 tasks)'
    """
    of, to = label(difference["of"]), label(difference["to"])
    ahead = of if difference["mean"] > 0 else to
    verdict = f"{ahead} is ahead" if difference["is_clear"] else "not distinguishable"
    low, high = 100 * difference["low"], 100 * difference["high"]
    by_seed = ", ".join(f"{100 * x:+.1f}" for x in difference["by_seed"])
    tasks = f"{difference['tasks']} tasks" if difference["tasks"] else "tasks unknown"
    return (
        f"{of} - {to} = {100 * difference['mean']:+.1f} points, 95 % interval [{low:.1f}, {high:.1f}]: {verdict} "
        f"({_seeds(len(difference['seeds']))}: {by_seed}; {tasks})"
    )


def success_table(judged: Mapping[str, Json]) -> str:
    """Return one environment's methods with what they reached and what it cost."""
    methods = judged["methods"].values()
    has_score = any(m["score"] and m["score"] != m["success"] for m in methods)
    has_gain = any(m.get("gain") for m in methods)  # a comparison judged before 0.2.0 has none
    head = ["method", "seeds", "before", "success", "95 % interval", *(["score"] if has_score else [])]
    head += ["gain", "95 % of gain"] if has_gain else []
    head += ["iterations", "env steps", "tokens", "minutes", "steps an episode"]
    cells = []
    for m in methods:
        s, score = m["success"], m["score"]
        cells.append(
            [
                m["label"],
                str(len(m["seeds"])),
                _percent(m["before"]),
                _percent(s and s["mean"]),
                f"{_percent(s['low'])} - {_percent(s['high'])}" if s else "",
                *([f"{100 * score['mean']:.1f}" if score else ""] if has_score else []),
                *(_gain_cells(m) if has_gain else ()),
                _number(m["iterations"], ".0f"),
                _number(m["env_steps"], ",.0f"),
                _number(m["tokens"], ",.0f"),
                _number(m["minutes"], ".1f"),
                _number(m["episode_env_steps"], ".1f"),
            ]
        )
    return markdown(head, cells)


def _gain_cells(method: Mapping[str, Json]) -> list[str]:
    """Return what training added, after less before, paired by seed and task, in points."""
    gain = method.get("gain")
    if not gain:
        return ["", ""]
    return [f"{100 * gain['mean']:+.1f}", f"[{100 * gain['low']:.1f}, {100 * gain['high']:.1f}]"]


def _what_was_run(told: Mapping[str, Json]) -> str:
    budget = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in told["budget"].items() if value)
    spoken = f"Each run ends with the iteration in which it has spent {budget}. " if budget else ""
    return (
        f"{spoken}Machines: {'; '.join(told['machines'])}. Training took {told['training_minutes']:,} minutes in all, "
        "evaluation and warm starts not counted."
    )


def _environment(judged: Mapping[str, Json], reference: str, head: str) -> list[str]:
    tasks = max((m["tasks"] for m in judged["methods"].values()), default=0)
    sampled = "greedily" if not judged["temperature"] else f"at temperature {judged['temperature']:g}"
    of_tasks = f" ({tasks} tasks)" if tasks > 1 else ""
    parts = [
        f"Success in % on `{judged['split']}`{of_tasks} after training, {sampled}; 'before' is the model that the method's runs start from. "
        "What it cost is the mean of a method's runs.",
        success_table(judged),
    ]
    if judged["provenance"]:
        parts.append(
            "World: " + ", ".join(f"{key} {value}" for key, value in judged["provenance"].items()) + "."
        )
    told = [v["sentence"] for v in judged.get("verdicts", ())]
    if told or judged["differences"]:
        parts.append("\n".join(f"- {t}" for t in told or [f"{sentence(d)}." for d in judged["differences"]]))
    if judged["kinds"]:
        parts += [f"{head} By kind of task", _kinds_table(judged)]
    parts += [f"{head} At equal budgets", _equal_table(judged, reference)]
    if judged["to_target"]:
        parts += [
            f"{head} To {100 * judged['target']:g} % on `{judged['validation']}`",
            *_target(judged, reference),
        ]
    changed = [
        f"- {m['label']}: {_settings(m['settings'])}" for m in judged["methods"].values() if m["settings"]
    ]
    if changed:
        first = next(iter(judged["methods"].values()))["label"]
        parts += [f"{head} What differs from {first}", "\n".join(changed)]
    if judged["notes"]:
        parts += [f"{head} Mind", "\n".join(f"- {note}" for note in judged["notes"])]
    return parts


def _kinds_table(judged: Mapping[str, Json]) -> str:
    """Return success by kind of task, mean over seeds."""
    kinds = judged["kinds"]
    rows = [
        [m["label"], *(_percent(by_method.get(name)) for by_method in kinds.values())]
        for name, m in judged["methods"].items()
    ]
    return markdown(["method", *kinds], rows)


def _equal_table(judged: Mapping[str, Json], reference: str) -> str:
    """Return success on the validation curves at the largest budgets that all runs have reached."""
    equal = {axis: table for axis, table in judged["equal"].items() if table}
    if not equal:
        return "No run has a learning curve."
    head = ["method", *(_BUDGETS[axis].format(table["at"]) for axis, table in equal.items())]
    rows = [
        [m["label"], *(_at_cell(table["methods"].get(name), reference) for table in equal.values())]
        for name, m in judged["methods"].items()
    ]
    told = (
        f"Success in % on `{judged['validation']}`, read from the learning curves at the largest budget that all runs have "
        f"reached; behind it {label(reference)}'s lead in points, with * where its interval does not hold 0."
    )
    return f"{told}\n\n{markdown(head, rows)}"


def _at_cell(found: Mapping[str, Json] | None, reference: str) -> str:
    if not found:
        return ""
    own = f"{_percent(found['mean'])} [{_percent(found['low'])}, {_percent(found['high'])}]"
    lead = found["difference"]
    if not lead:
        return own
    mark = " *" if lead["is_clear"] else ""
    return f"{own}; {100 * lead['mean']:+.1f} [{100 * lead['low']:.1f}, {100 * lead['high']:.1f}]{mark}"


def _target(judged: Mapping[str, Json], reference: str) -> list[str]:
    """Return what the target cost each method, and the sentence about who was faster."""
    chosen = "; no target was given, this is the highest multiple of 5 % that every mean curve reaches"
    told = (
        f"First evaluation (every {judged['every']} iterations) at or above the target, mean over the seeds that reached it"
        f"{chosen if judged['target_is_found'] else ''}."
    )
    rows, costs = [], judged["to_target"]
    for name, cost in costs.items():
        cells = [
            _number(cost[axis], form)
            for axis, form in (("iteration", ".1f"), ("env_steps", ",.0f"), ("tokens", ",.0f"))
        ]
        seeds = f"{cost['reached']} of {cost['seeds']}"
        rows.append([judged["methods"][name]["label"], seeds, *cells, _number(cost["minutes"], ".1f")])
    table = markdown(
        ["method", "seeds that reached it", "iterations", "env steps", "tokens", "minutes"], rows
    )
    others = [name for name in costs if reference in costs and name != reference]
    shares = {name: quotients(costs[reference], costs[name]) for name in others}
    lines = [f"- {cost_sentence(reference, name, found)}." for name, found in shares.items() if found]
    return [told, table, *(["\n".join(lines)] if lines else [])]


def quotients(own: Mapping[str, Json], other: Mapping[str, Json]) -> dict[str, float]:
    """Return {axis: own cost of the target over the other's}; {} where a seed of either did not get there."""
    if own["reached"] < own["seeds"] or other["reached"] < other["seeds"]:
        return {}
    return {axis: own[axis] / other[axis] for axis in _AXES if other[axis]}


def cost_sentence(of: str, to: str, shares: Mapping[str, float]) -> str:
    """Return two costs' quotients in one line.

    >>> cost_sentence("himac", "grpo", {"iteration": 0.75, "env_steps": 1.5})
    'HiMAC took 0.75 of the iterations and 1.50 of the environment steps that GRPO took'
    """
    words = {"iteration": "iterations", "env_steps": "environment steps", "tokens": "generated tokens"}
    told = [f"{shares[axis]:.2f} of the {word}" for axis, word in words.items() if axis in shares]
    return f"{label(of)} took {', '.join(told[:-1])}{' and ' if len(told) > 1 else ''}{told[-1]} that {label(to)} took"


def _settings(changed: Mapping[str, Json]) -> str:
    return ", ".join(f"`{key} = {json.dumps(value)}`" for key, value in changed.items())


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
