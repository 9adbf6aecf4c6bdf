"""The words of docs/results.md that no JSON holds: its head, the verdict, what is unfair.

Sentences are written here, numbers come from the comparisons' JSON. What is called clear is what the comparison itself calls clear: its 95 % interval
over seeds and tasks does not hold 0.
"""

from __future__ import annotations

from typing import Any

from himac.compare.tables import label

Json = dict[str, Any]
LONG, SHORT, EQUAL = (f"compare_alfworld_{name}" for name in ("two_passes", "natural", "equal_starts"))
WANTED_SEEDS = 5

HEAD = """# Results

*Written by `docs/make_results.py` from `benchmarks/results/*.json` and `docs/published.json`; do not edit it here.*

{verdict}
{against}
## What was run

What was run here, on which machine and for how long. What the paper published stands in tables of its own. Success is in %.

## What is unfair in the comparisons of 0.1.0

**All comparisons on this page but compare-alfworld-natural, compare-alfworld-two-passes, compare-alfworld-equal-starts and compare-alfworld-phases are those of version 0.1.0. They are
unfair to the flat methods, and no claim rests on them.** They are kept as a record of what ran. What is unfair:

- **The prompt.** The flat agents read one growing stream. The published flat agent gets a fresh prompt each turn: the task again, and its last
  two steps (`agent.context = "step"`). With that prompt the same 3,000 ALFWorld demonstrations start at 20 % of unseen kitchens instead of
  7 %, above every *trained* flat method below. GRPO from there comes to 35.2 % (three seeds: 39.1, 26.6, 39.8), where the table has 12.2, and
  49.6 for HiMAC. The gains by training are then 14.9 points for GRPO and 18.7 for HiMAC. These runs were made by hand, from the demo's recipe
  with `algo.method=flat agent.context=step sft.style=flat`; there is no JSON of them here, the new comparison will have it.
- **The phases.** They shared one optimizer state, so phase B moved the planner too.
- **The KL term.** It acted only in groups whose returns differ, so it was absent where plans drift.
- **Two ablations.** No `<sub_done>` and full context compare a start with a prompt that it never saw; the second is a plan that was not run.
- **Two starts.** Those of Sokoban and WebShop have a made-up bad habit (`sft.careless`), and it is one that phase A happens to repair.
- **The test split.** It was looked at while recipes were chosen.
- **The seeds.** Several rows have one.

The tables call settings what 0.1.0 called them; the [changelog](../CHANGELOG.md) has today's names.
"""
UNFAIR = {
    "compare_alfworld": "the flat methods read one growing stream; with the published prompt GRPO comes to 35.2 %, and 14 points of the 37 are left; "
    "phases shared one optimizer state; one row has one seed",
    "compare_alfworld_ablations": "GRPO reads one growing stream; the row without `<sub_done>` starts from a model that never saw its prompt; one seed",
    "compare_alfworld_long": "GRPO reads one growing stream, not the published prompt; phases shared one optimizer state",
    "compare_sokoban": "the flat methods read one growing stream; the start has a made-up habit, which phase A happens to repair; two rows have one seed",
    "compare_webshop": "the flat methods read one growing stream; the start has a made-up habit, which phase A happens to repair; one seed",
}
"""What a reader has to know before the table of a comparison; the head says it at length."""
AGAINST = """## What does not favour HiMAC

Every comparison below in which it is not clearly ahead, and every target that it reached at a higher cost than another method."""
NOTHING = """No comparison over seeds has been recorded yet. `himac compare compare-sokoban` makes one;
[the diary](diary.md) has what single runs looked like. Until then this project shows no success rate of its own.
"""
PUBLISHED_HEAD = """## Published by the paper: other models, other machines

**None of these numbers was measured here.** {models}. Source: {source}. They are what the
method is claimed to do at full size. Do not compare the tables above with them.
"""

TABLE = """## Verdict

Generated ALFWorld kitchens, a model of 0.2 million parameters, 100,000 environment steps a run, success in % on 256 games in kitchens never seen,
flat agents with the published prompt.

| question | answer | how sure |
|---|---|---|
| Does HiMAC learn? | {learns} | {learns_sure} |
| Does it end ahead of flat agents? | {ahead} | {ahead_sure} |
| Is it the hierarchical *credit*? | {credit} | {credit_sure} |
| Is it the hierarchical *format*? | {form} | {form_sure} |
| Do these numbers bear on the paper's? | No. They are from other models and other kitchens; the paper's are [not reproduced](#published-by-the-paper-other-models-other-machines). | |

**What weakens all of it:** one tiny model, one world, settings chosen while `valid_unseen` was looked at, and that HiMAC needs a second pass over its
demonstrations was found by looking at its failures. The [older comparisons](#what-is-unfair-in-the-comparisons-of-010) are worse, and no claim rests on them.
"""


def verdict(compared: dict[str, Json]) -> str:
    """Return the section; nothing where a comparison that it speaks of is not there."""
    if not {LONG, SHORT, EQUAL} <= compared.keys():
        return ""
    long, short, equal = (compared[name]["environments"]["alfworld"] for name in (LONG, SHORT, EQUAL))
    ours = long["methods"]["himac"]
    ended = ours["success"]
    finished = min(len(method["seeds"]) for method in equal["methods"].values())
    rises = ended["low"] > ours["before"]
    return TABLE.format(
        learns=f"{'Yes' if rises else 'It may'}: {_percent(ours['before'])} before training, {_percent(ended['mean'])} after it.",
        learns_sure=f"95 % interval {_interval(ended)}, {len(ours['seeds'])} seeds; {_link(LONG)}",
        ahead=f"It depends on the warm start. After two passes over the demonstrations: {_leads(long)}. After one pass: {_leads(short)}.",
        ahead_sure=f"{len(ours['seeds'])} seeds each; after one pass some of HiMAC's starts failed, which is why its interval is wide; {_link(SHORT)}",
        credit=f"Not shown. After two passes training adds {_gains(long)}. From starts that are equally good: {_leads(equal)}.",
        credit_sure=f"open: {finished} of {WANTED_SEEDS} seeds are finished; {_link(EQUAL)}",
        form=f"Its starts are: {_starts(long)} after two passes over the same demonstrations, {_starts(short)} after one.",
        form_sure="two passes speak for it, one pass does not; "
        f"both used {ours['start']['demonstrations']:,} demonstrations",
    )  # fmt: skip


def _leads(judged: Json) -> str:
    """Return HiMAC's lead over each flat method, in one clause."""
    found = []
    for d in judged["differences"]:
        clear = "" if d["is_clear"] else ", not distinguishable"
        found.append(f"{100 * d['mean']:+.1f} points {_interval(d)} over {_name(d['to'])}{clear}")
    return "; ".join(found)


def _gains(judged: Json) -> str:
    """Return what training added to each method."""
    methods = judged["methods"].items()
    return ", ".join(
        f"{100 * (m['success']['mean'] - m['before']):.1f} points to {_name(k)}" for k, m in methods
    )


def _starts(judged: Json) -> str:
    methods = judged["methods"]
    flat = next(name for name in methods if name != "himac")
    return f"{_percent(methods['himac']['before'])} against {_percent(methods[flat]['before'])}"


def _name(key: str) -> str:
    """Return a method's name as a person says it."""
    return "GiGPO (mean)" if key == "gigpo_mean" else label(key)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(told: Json) -> str:
    return f"[{100 * told['low']:.1f}, {100 * told['high']:.1f}]"


def _link(name: str) -> str:
    title = name.replace("_", "-")
    return f"[{title}](#comparison-{title})"
