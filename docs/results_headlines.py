"""What docs/results.md quotes of each result file, a line each; of a file that is not named here it quotes every number.

`make_results.py` runs this file; no line of it is typed by hand into the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]


def _alfworld_distributions(told: Json) -> Iterator[str]:
    for name, part in told.items():
        if name != "machine":
            won = f"{part['expert']['won']} of {part['games']}"
            yield f"{name}: {part['games']} games, shortest win {part['shortest_win_mean']:.2f} steps, expert won {won}"


def _alfworld_parity(told: Json) -> Iterator[str]:
    for name, part in told["parity"].items():
        yield f"{name}: {part['same']} of {part['plays']} plays the same, {part['steps']:,} steps"


def _alfworld_speed(told: Json) -> Iterator[str]:
    yield f"{short(told['steps_per_s'])} steps a second; TextWorld in the same run {short(told['textworld']['steps_per_s'])}"
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


def _ray_overhead(told: Json) -> Iterator[str]:
    for r in told["results"]:
        yield (
            f"{r['layout']}: {r['processor_s']:.1f} processor seconds an iteration ({100 * r['over_one_process']['processor_s']:+.0f} %), "
            f"{r['iteration_s']:.1f} s by the clock; the first collection {r['first_collect_s']:.0f} s"
        )
    load = told["machine"]["load_average"][0]
    yield f"Ray {told['ray']}; load {load:.1f} on {told['machine']['cores']} cores: " + (
        "nobody else used the machine"
        if load < 2.5
        else "others were using the machine, so the clock says little"
    )


def _overlap_speed(told: Json) -> Iterator[str]:
    for r in told["results"]:
        size = f"{r['model']} weights, {r['tasks']} tasks"
        for when, f in r["faster"].items():
            yield f"{size}, {f['turns']} turns with {when}: an iteration with `overlap` {f['overlap']:.2f} times as fast, with `behind` {f['behind']:.2f}"
        seconds = ", ".join(f"{way} {r[way]['iteration_s']:.1f} s ({r[way]['processor_s']:.1f} s of the processor)" for way in ("without", "overlap", "behind"))  # fmt: skip
        yield f"{size}: {seconds}; if neither side slowed the other, {r['at_best']['overlap']:.2f} and {r['at_best']['behind']:.2f} times as fast"
    yield "with no free core a ratio tells little: a second thread also gets a larger share of a crowded processor"
    yield f"a free core: two threads multiply matrices at least {told['free_from']:.1f} times as fast as one; {told['iterations']} turns each, median"


def _scale_model(told: Json) -> Iterator[str]:
    yield "calculated, not run; rates of one H100, memory as `himac train --check` counts it, links and disks assumed. Against what was measured:"
    for what, r in told["against"].items():
        if not what.startswith("kB"):
            yield f"{what}: {r['predicted']:.2f} predicted, {r['measured']:.2f} measured ({r['ratio']:.2f})"
    for what, value in told["assumed"].items():
        yield f"assumed: {what} {short(value)}"
    for gpus in (1, 8, 64):
        for model in dict.fromkeys(c["model"] for c in told["cells"]):
            fits = [c for c in told["cells"] if (c["model"], c["gpus"], c["fits"]) == (model, gpus, True)]
            if fits:
                c = min(fits, key=lambda cell: cell["iteration_s"])
                yield f"{model}, {gpus} GPU{'s' * (gpus > 1)}: fastest is {c['layout']}, {c['iteration_s']:.0f} s an iteration, most of it {c['most']}; {c['gb']:.0f} GB"
            else:
                yield f"{model}, {gpus} GPU{'s' * (gpus > 1)}: no layout fits {told['assumed']['GiB of a GPU']:.0f} GiB"


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
        yield f"{size}, {r['boxes']} boxes: {short(r['batch_1024_per_s'])} steps a second in a batch of 1,024"
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
            yield f"{name}: the same first ten as Lucene for {100 * ours['exact_top_10']:.1f} % of {ours['queries']} queries, {short(ours['queries_per_cpu_s'])} queries a second"


def _webshop_shops(told: Json) -> Iterator[str]:
    for shop, buyers in told["buyers"].items():
        for buyer in ("shopper", "naive"):
            part = buyers[buyer]
            yield f"{shop} shop, {buyer} buyer: success {100 * part['success']:.1f} %, score {100 * part['score']:.1f} of 100, {part['goals']} goals"


def _webshop_speed(told: Json) -> Iterator[str]:
    yield f"{short(told['walk_text']['steps_per_cpu_s'])} steps a second of processor time ({told['catalogue']})"
    yield f"{short(told['search_100k']['searches_per_cpu_s'])} searches a second among 100,000 products"


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


HEADLINES: dict[str, Callable[[Json], Iterator[str]]] = {
    "alfworld_distributions": _alfworld_distributions, "alfworld_parity": _alfworld_parity,
    "alfworld_plans_phases": _alfworld_plans_phases, "phase_displacement": _phase_displacement,
    "alfworld_speed": _alfworld_speed, "interval_coverage": _interval_coverage, "optimizers": _optimizers, "rollout_speed": _rollout_speed, "vllm_speed": _vllm_speed, "rollout_speed_real": _rollout_speed, "train_speed_real": _train_speed, "memory_model": _memory_model, "no_rounds": _no_rounds, "no_rounds_real": _no_rounds, "smollm2": _smollm2, "gpu_fit": _gpu_fit, "gpu": _gpu, "ranks_speed": _ranks_speed, "ray_overhead": _ray_overhead, "scale_model": _scale_model, "overlap_speed": _overlap_speed, "campaign": _campaign, "vision_speed": _vision_speed, "vision_describing": _vision_describing, "alfworld_warm_starts": _alfworld_warm_starts, "large_vocabulary": _large_vocabulary, "sokoban_speed": _sokoban_speed,
    "time_split": _time_split, "train_speed": _train_speed, "trl_iteration": _trl_iteration, "webshop_search": _webshop_search,
    "taste": _taste, "webshop_shops": _webshop_shops, "webshop_speed": _webshop_speed,
}  # fmt: skip
"""What is quoted of a result; of any other, every number."""


def short(value: float) -> str:
    """Return a number as a reader wants it.

    >>> short(99729.27), short(16.568), short(0.0123)
    ('99,729', '16.6', '0.0123')
    """
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
