"""Write docs/results.md from the JSON that scripts wrote, so that no number in it was typed.

    python docs/make_results.py            write the page
    python docs/make_results.py --check    exit 1 when the page on disk is not what would be written

A result is a file under benchmarks/results/ and the page is a function of those files. A comparison gets there
by `cp runs/NAME/table.json benchmarks/results/compare_NAME.json` (and curves.png likewise); what was understood about a result is written by hand
into a file of the same name that ends in .md, and stands below it.
"""

from __future__ import annotations

import ast
import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from himac.compare.summary import KIND
from himac.compare.tables import cost_sentence, markdown_of, quotients, sentence
from himac.compare.verdicts import NOT_SHOWN
from himac.report.tables import markdown

_WORDS = runpy.run_path(str(Path(__file__).with_name("results_words.py")))

PAGE = Path(__file__).with_name("results.md")
PUBLISHED = Path(__file__).with_name("published.json")
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
RESULTS = BENCHMARKS / "results"

Json = dict[str, Any]


def page() -> str:
    """Return the whole page."""
    found = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    }
    compared = {name: told for name, told in found.items() if told.get("kind") == KIND}
    rest = {name: told for name, told in found.items() if name not in compared}
    against = "\n".join(f"- {line}." for line in _not_ahead(compared))
    head = _WORDS["HEAD"].format(
        verdict=_WORDS["verdict"](compared), against=f"{_WORDS['AGAINST']}\n\n{against}\n" if against else ""
    )
    parts = [head, *_claims(compared), "## HiMAC beside other methods, here\n"]
    parts += [
        f"{_warned(name, markdown_of(told, level=3))}{_understood(name)}" for name, told in compared.items()
    ]
    parts += [] if compared else [_WORDS["NOTHING"]]
    parts += [_published(), _machinery(rest)]
    return "\n".join(parts)


def _claims(compared: dict[str, Json]) -> list[str]:
    """Return every claim with its verdict as a table, where a comparison was judged with verdicts (after 0.1.0)."""
    rows = [
        [
            v["claim"],
            f"**{v['verdict']}**",
            f"{100 * v['mean']:+.1f} [{100 * v['low']:.1f}, {100 * v['high']:.1f}]",
            str(len(v["seeds"])),
            f"{told['name']} ({environment}, `{world['split']}`)",
        ]
        for told in compared.values()
        for environment, world in told["environments"].items()
        for v in world.get("verdicts", ())
    ]
    if not rows:
        return []
    head = ["claim", "verdict", "points, 95 % interval", "seeds", "where"]
    return [f"## What is shown, and what is not\n\n{markdown(head, rows)}\n"]


def _not_ahead(compared: dict[str, Json]) -> Iterator[str]:
    """Yield every verdict in which HiMAC is not ahead, and every target that cost it more than another method."""
    for told in compared.values():
        for environment, world in told["environments"].items():
            where = f"{told['name']} ({environment})"
            for v in world.get("verdicts", ()):
                lead = v["mean"] if v["of"] == "himac" else -v["mean"]
                if "himac" in (v["of"], v["to"]) and (v["verdict"] == NOT_SHOWN or lead < 0):
                    yield f"{where}: {v['sentence'].removesuffix('.')}"
            for d in world["differences"] if "verdicts" not in world else ():
                lead = d["mean"] if d["of"] == "himac" else -d["mean"]
                if "himac" in (d["of"], d["to"]) and not (d["is_clear"] and lead > 0):
                    yield f"{where}: {sentence(d)}"
            costs = world["to_target"]
            for name in costs if "himac" in costs else ():
                shares = quotients(costs["himac"], costs[name])
                if name != "himac" and max(shares.values(), default=0.0) > 1:
                    yield f"{where}, to {100 * world['target']:g} %: {cost_sentence('himac', name, shares)}"


def _published() -> str:
    told = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    parts = [_WORDS["PUBLISHED_HEAD"].format(models=told["models"], source=told["source"])]
    for key, words in (
        ("success", "Success in %:"),
        ("iterations", "Iterations to a target:"),
        ("ablations", "Ablations:"),
    ):
        parts.append(f"{words}\n\n{markdown(told[key]['columns'], told[key]['rows'])}\n")
    return "\n".join([*parts, told["since"] + "\n"])


def _machinery(found: dict[str, Json]) -> str:
    """Return what was measured about the machinery: speeds, and agreement with the originals."""
    parts = ["## The machinery, here: speed, agreement with the originals, coverage of intervals\n"]
    for name, told in found.items():
        lines = "\n".join(f"- {line}" for line in _quoted(name, told))
        parts.append(f"### {name}\n\n{_summary_of(name)}\n\n{lines}\n\n{_where(told)}\n{_understood(name)}")
    return "\n".join(parts)


def _quoted(name: str, told: Json) -> list[str]:
    """Return what is quoted of a result; every number of one whose form nobody has chosen from."""
    try:
        return list(_HEADLINES.get(name, _scalars)(told))
    except (KeyError, TypeError):
        return list(_scalars(told))


def _where(told: Json) -> str:
    """Return machine, date, load and duration; a duration that nobody recorded is said to be missing."""
    m = told.get("machine", {})
    load = f", load {m['load_average'][0]:g}" if m.get("load_average") else ""
    versions = ", ".join(f"{key} {m[key]}" for key in ("python", "torch", "transformers") if m.get(key))
    took = f"took {m['took_s'] / 60:.1f} minutes" if "took_s" in m else "duration not recorded"
    gpu = f", {m['gpu']}" if m.get("gpu") else ""
    return (
        f"*{m.get('processor', 'machine not recorded')}, {m.get('cores', '?')} cores, {m.get('memory_gib', '?')} GiB{gpu}; "
        f"{versions}; {m.get('date', 'date not recorded')}{load}; {took}.*"
    )


def _summary_of(name: str) -> str:
    """Return the first sentence of the script that wrote a result."""
    script = BENCHMARKS / f"{name}.py"
    if not script.is_file():
        return ""
    doc = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.split("\n\n")[0].split())


def _warned(name: str, table: str) -> str:
    """Return a comparison with what is unfair in it below its heading."""
    heading, _, rest = table.partition("\n")
    return (
        f"{heading}\n\n> **Unfair** ([why](#what-is-unfair-in-the-comparisons-of-010)): {_WORDS['UNFAIR'][name]}.\n{rest}"
        if name in _WORDS["UNFAIR"]
        else table
    )


def _understood(name: str) -> str:
    """Return a result's picture and what was written by hand about it, where there are such files."""
    notes, picture = RESULTS / f"{name}.md", RESULTS / f"{name}.png"
    drawn = f"\n![{name}](../benchmarks/results/{picture.name})\n" if picture.is_file() else ""
    return drawn + (f"\n{notes.read_text(encoding='utf-8').strip()}\n" if notes.is_file() else "")


def _scalars(told: Json, prefix: str = "") -> Iterator[str]:
    """Yield every number of a result that nobody has chosen from."""
    for key, value in told.items():
        if isinstance(value, dict) and key != "machine":
            yield from _scalars(value, f"{prefix}{key}: ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key.replace('_', ' ')} {_short(value)}"


def _alfworld_distributions(told: Json) -> Iterator[str]:
    for name, part in told.items():
        if name != "machine":
            won = f"{part['expert']['won']} of {part['games']}"
            yield f"{name}: {part['games']} games, shortest win {part['shortest_win_mean']:.2f} steps, expert won {won}"


def _alfworld_parity(told: Json) -> Iterator[str]:
    for name, part in told["parity"].items():
        yield f"{name}: {part['same']} of {part['plays']} plays the same, {part['steps']:,} steps"


def _alfworld_speed(told: Json) -> Iterator[str]:
    yield f"{_short(told['steps_per_s'])} steps a second; TextWorld in the same run {_short(told['textworld']['steps_per_s'])}"
    yield f"loading a game takes {told['load_ms']['mean']:.1f} ms; TextWorld {told['textworld']['load_ms']:.0f} ms"


def _rollout_speed(told: Json) -> Iterator[str]:
    for r in told["results"]:
        yield f"{r['work']}, {r['model']} parameters: {r['ratio']:.1f} times as fast as `generate`"


def _vllm_speed(told: Json) -> Iterator[str]:
    for r in told["results"]:
        yield (
            f"{r['work']}, {r['model']} parameters, {r['groups'] * r['peers']} episodes: himac {r['himac_tokens_per_s']:,.0f} tokens/s, "
            f"vLLM {r['vllm_tokens_per_s']:,.0f}: {r['ratio']:.2f} times; gap {r['gap_nats']:.0e} nats"
        )
    load = told["machine"]["load_average"][0]
    yield f"one core of a machine that others were using (load {load:.0f} on {told['machine']['cores']} cores)"


def _alfworld_warm_starts(told: Json) -> Iterator[str]:
    for r in told["results"]:
        yield f"seed {r['seed']}, {r['changed']}: {100 * r['success']:.1f} % of {r['episodes']} tasks; {r['plans_that_name']} of {r['plans']} plans name what the task names"
    for r in told["crossed"]:
        yield f"planner of {r['planner']}, executor of {r['executor']}: {100 * r['success']:.1f} % of {r['episodes']}"


def _smollm2(told: Json) -> Iterator[str]:
    for name, r in told["untrained"].items():
        yield f"untrained, asked as {name}: {100 * r['success']:.1f} % of {r['episodes']}, {100 * r['unreadable']:.0f} % of its turns unreadable"
    for name, rows in told["runs"].items():
        for r in rows:
            yield (
                f"{name}, iteration {r['iteration']}, {r['env_steps']:,} steps, {r['split']}: {100 * r['success']:.1f} % of {r['episodes']} "
                f"({100 * r['success_low']:.1f} - {100 * r['success_high']:.1f})"
            )
    for name, r in told["phases"].items():
        yield (
            f"{name}, {r['iterations']} iterations: {100 * r['groups_without_variance']:.0f} % of the groups without variance, "
            f"{r['distinct_blueprints']:.1f} distinct blueprints a group, {r['without_a_sample']} iterations without a sample, engine and "
            f"learner {r['gap_mean']:.3f} nats apart, {r['gap_max']:.2f} at most"
        )


def _gpu_fit(told: Json) -> Iterator[str]:
    for r in told["results"]:
        how = f"LoRA of rank {r['lora_rank']}" if r["lora_rank"] else "all weights"
        card = f"fits {r['fits']} GB" if r["fits"] else "fits none of 24, 48, 80 GB"
        yield f"{r['model']}, {how}, packs of {r['pack_tokens']:,}: {r['gb']['learning']:.1f} GB to learn, {r['gb']['collecting']:.1f} to collect; {card}"


def _gpu(told: Json) -> Iterator[str]:
    yield f"matrix products at {told['ceilings']['tflops']:.0f} TFLOP/s, copies at {told['ceilings']['gb_per_s']:,.0f} GB/s"
    for name, r in told["decode"].items():
        if isinstance(r, dict):
            again = r["again"]
            yield (
                f"Qwen2.5-1.5B's architecture, {name}: {again['tokens_per_s']:,.0f} tokens/s, {again['ms_a_step']:.1f} ms a step; prompts "
                f"{again['prompt_tokens_per_s']:,.0f} tokens/s; {r['peak_gb']:.1f} GB at most"
            )
    for name in ("piece by piece", "pieces in one call"):
        r = told["learn"][name]
        yield f"learning, {name}: {r['tokens_per_s']:,.0f} packed tokens/s, {r['tflops']:.0f} TFLOP/s, {r['peak_gb']:.1f} GB at most without an optimizer"
    for name, r in told.get("hours", {}).items():
        if isinstance(r, dict):
            yield (
                f"from these rates, not run: recipes/{name}.toml, {r['turns']} turns of 100 tokens: {r['collect_s']:.0f} s to collect and "
                f"{r['learn_s']:.0f} s to learn an iteration, {r['hours']:.1f} hours for {r['iterations']}"
            )


def _ranks_speed(told: Json) -> Iterator[str]:
    r = told["ratios"]
    yield f"two ranks on two cores against one: collecting {r['collecting']:.2f} times, learning {r['learning']:.2f} times, an iteration {r['iteration']:.2f} times as fast"


def _campaign(told: Json) -> Iterator[str]:
    for section in told["sections"].values():
        yield f"{section['what']}: {section['good']:,} of {section['trials']:,} ({section['took_s'] / 60:.1f} minutes)"


def _vision_speed(told: Json) -> Iterator[str]:
    g, r = told["generation"], told["learning"]
    yield (
        f"generation, {g['sampled_tokens']:,} tokens: {g['himac_tokens_per_s']:,.0f} tokens/s, {g['ratio']:.1f} times `generate`; the vision tower "
        f"took {g['tower_s'] / g['himac_s']:.0%} of it"
    )
    yield (
        f"learning, {r['packed_tokens']:,} packed tokens: {r['over_padded_turns']:.1f} times padded turns, {r['over_padded_segments']:.1f} times padded "
        f"segments; the tower's forward took {r['tower_forward_s'] / r['himac_s']:.0%}"
    )


def _vision_describing(told: Json) -> Iterator[str]:
    for r in told["results"]:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in r["right"].items())
        yield f"{r['order']}, seed {r['seed']}, {told['describe']:,} pictures, {r['processor_s']:.0f} s: {shares}"


def _memory_model(told: Json) -> Iterator[str]:
    for r in told["results"]:
        yield (
            f"{told['model']}, LoRA of rank {told['lora_rank']}, {r['what']}: {r['measured_gb']:.2f} GB measured, "
            f"{r['calculated_gb']:.2f} calculated ({r['calculated_over_measured']:.2f})"
        )


def _no_rounds(told: Json) -> Iterator[str]:
    for r in told["results"]:
        size = f"{r['episodes']} episodes, {r['places']} at a time, " if "episodes" in r else ""
        yield f"{r['work']}, {r['model']} parameters, {size}{r['tokens']:,} tokens: {r['ratio']:.2f} times as fast as in rounds"


def _large_vocabulary(told: Json) -> Iterator[str]:
    for r in told["head"]:
        how = "in chunks" if r["way"] == "chunked" else "whole logits"
        yield f"{r['dtype']}, {r['tokens']:,} tokens, {how}: {r['gb_above']:.2f} GB above states and weights, {r['cpu_s']:.0f} s"
    step = told["step"]
    yield f"a learner step of Qwen2.5-1.5B's architecture, {step['tokens']:,} tokens: chunks take {step['chunked_over_whole']:.2f} times as long as whole logits"


def _sokoban_speed(told: Json) -> Iterator[str]:
    for r in told["steps"]:
        size = "x".join(map(str, r["size"]))
        yield f"{size}, {r['boxes']} boxes: {_short(r['batch_1024_per_s'])} steps a second in a batch of 1,024"
    for r in told["generation"]:
        yield f"a room of {'x'.join(map(str, r['size']))}, {r['boxes']} boxes, in {r['ms_per_room']:.2f} ms ({r['ratio']:.1f} times as fast as gym-sokoban's generator)"


def _interval_coverage(told: Json) -> Iterator[str]:
    for r in told["results"]:
        yield (
            f"{r['seeds']} seeds that differ {r['differ']}: {100 * r['held']:.1f} % of the intervals hold the truth, "
            f"mean width {r['width_points']:.1f} points ({100 * r['held_uncorrected']:.1f} % without the correction)"
        )


def _time_split(told: Json) -> Iterator[str]:
    shares = ", ".join(f"{key.removesuffix('_s')} {100 * part:.1f} %" for key, part in told["share"].items())
    spent = told["seconds"]["total_s"]
    yield f"{told['episodes']} episodes, {told['parameters']:,} parameters, {spent:.1f} s: {shares}"


def _train_speed(told: Json) -> Iterator[str]:
    for r in told["results"]:
        if r["method"] != "tree packed":
            yield f"{r['work']}, {r['model']} parameters: trees are {r['tree_is_faster']:.1f} times as fast as {r['method']}"


def _trl_iteration(told: Json) -> Iterator[str]:
    for size, part in told["sizes"].items():
        yield f"{size} parameters: {part['ratio_median']:.1f} times as fast as TRL (median of the pairs)"


def _webshop_search(told: Json) -> Iterator[str]:
    for name, part in told.items():
        if name != "machine":
            ours = part["ours"]
            yield f"{name}: the same first ten as Lucene for {100 * ours['exact_top_10']:.1f} % of {ours['queries']} queries, {_short(ours['queries_per_cpu_s'])} queries a second"


def _webshop_shops(told: Json) -> Iterator[str]:
    for shop, buyers in told["buyers"].items():
        for buyer in ("shopper", "naive"):
            part = buyers[buyer]
            yield f"{shop} shop, {buyer} buyer: success {100 * part['success']:.1f} %, score {100 * part['score']:.1f} of 100, {part['goals']} goals"


def _webshop_speed(told: Json) -> Iterator[str]:
    yield f"{_short(told['walk_text']['steps_per_cpu_s'])} steps a second of processor time ({told['catalogue']})"
    yield f"{_short(told['search_100k']['searches_per_cpu_s'])} searches a second among 100,000 products"


def _optimizers(told: Json) -> Iterator[str]:
    for row in told["warm_starts"]:
        yield (
            f"warm start, {told['demonstrations']:,} demonstrations, {row['optimizer']}: {100 * row['success']:.1f} % "
            f"({100 * row['low']:.1f} - {100 * row['high']:.1f})"
        )
    for row in told["training"]:
        curve = ", ".join(f"{100 * success:.1f}" for _, _, success in row["curve"])
        yield f"training, {row['optimizer']}: {curve} %"


def _taste(told: Json) -> Iterator[str]:
    for run in told["runs"]:
        before, after = run["evaluations"][0], run["evaluations"][-1]
        ends = " to ".join(
            f"{100 * end['success']:.1f} % ({100 * end['success_low']:.1f} - {100 * end['success_high']:.1f})"
            for end in (before, after)
        )
        yield f"seed {run['seed']}: {ends} of {after['episodes']} test levels, {run['processor_s']:.0f} s of one core"


def _alfworld_plans_phases(told: Json) -> Iterator[str]:
    yield "Plans as the expert's, of 256, before and after, and how many plans at least have other verbs afterwards:"
    for run, ends in told["runs"].items():
        before, after = ends["before"], ends["after"]
        forms = {key for key in before | after if ":" in key}
        moved = sum(abs(after.get(key, 0) - before.get(key, 0)) for key in forms) // 2
        wanted = "as the expert's"
        yield f"{run.removeprefix('alfworld-')}: {before[wanted]}, {after[wanted]}; {moved}"


def _phase_displacement(told: Json) -> Iterator[str]:
    yield f"nats, mean of {told['iterations']} iterations; {told['tasks']} tasks:"
    for run, moved in told["runs"].items():
        yield f"{run}: " + ", ".join(f"{key} {value:.3f}" for key, value in moved.items())


_HEADLINES: dict[str, Callable[[Json], Iterator[str]]] = {
    "alfworld_distributions": _alfworld_distributions, "alfworld_parity": _alfworld_parity,
    "alfworld_plans_phases": _alfworld_plans_phases, "phase_displacement": _phase_displacement,
    "alfworld_speed": _alfworld_speed, "interval_coverage": _interval_coverage, "optimizers": _optimizers, "rollout_speed": _rollout_speed, "vllm_speed": _vllm_speed, "rollout_speed_real": _rollout_speed, "train_speed_real": _train_speed, "memory_model": _memory_model, "no_rounds": _no_rounds, "no_rounds_real": _no_rounds, "smollm2": _smollm2, "gpu_fit": _gpu_fit, "gpu": _gpu, "ranks_speed": _ranks_speed, "campaign": _campaign, "vision_speed": _vision_speed, "vision_describing": _vision_describing, "alfworld_warm_starts": _alfworld_warm_starts, "large_vocabulary": _large_vocabulary, "sokoban_speed": _sokoban_speed,
    "time_split": _time_split, "train_speed": _train_speed, "trl_iteration": _trl_iteration, "webshop_search": _webshop_search,
    "taste": _taste, "webshop_shops": _webshop_shops, "webshop_speed": _webshop_speed,
}  # fmt: skip
"""What is quoted of a result; of any other, every number."""


def _short(value: float) -> str:
    """Return a number as a reader wants it.

    >>> _short(99729.27), _short(16.568), _short(0.0123)
    ('99,729', '16.6', '0.0123')
    """
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        print(
            "docs/results.md is up to date" if fresh else "docs/results.md is stale: run docs/make_results.py"
        )
        sys.exit(not fresh)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
