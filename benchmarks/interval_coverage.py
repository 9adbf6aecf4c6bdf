"""How often the intervals of `himac compare` hold the truth, where the truth is known.

    python benchmarks/interval_coverage.py

Seeds and tasks are drawn from populations: a task has a difficulty, a seed a skill, an outcome is a coin between them. The
difference of two methods is then known exactly, and so is whether its 95 % interval holds it. Printed and saved: the share
that does, and the intervals' mean width, for 2 to 8 seeds that differ not at all, somewhat, or strongly. The same with the
seeds' spread left as it is (no small-sample correction) stands beside it, and the same for the intervals that verdicts rest on,
which are widened as `himac.compare.power` says, in fewer trials. Writes results/interval_coverage.json.
"""

from __future__ import annotations

import numpy as np
from _machine import save

from himac.compare import statistics
from himac.compare.power import power_of
from himac.seeds import generator

TASKS, TRIALS, DIFFICULTY = 128, 1000, 1.5
WIDENED_TRIALS = 200  # each simulates a thousand comparisons of its own
SKILLS = {"not at all": 0.0, "somewhat": 0.3, "strongly": 0.6}  # deviation between seeds, in logits
BEFORE, AFTER = 0.3, 0.6  # the two methods' mean skill, in logits: some 5 points of success


def success(logits: np.ndarray) -> np.ndarray:
    """Return the probability of solving."""
    return 1 / (1 + np.exp(-logits))


def measure(
    seeds: int, spread: float, *, corrected: bool = True, widened: bool = False, trials: int = TRIALS
) -> dict[str, float]:
    """Return how often the interval of the difference held the truth, and how wide it was."""
    rng = generator("coverage", seeds, str(spread))
    population = rng.normal(0, np.hypot(DIFFICULTY, spread), 1_000_000)
    truth = float((success(AFTER + population) - success(BEFORE + population)).mean())
    held, width = 0, 0.0
    for _ in range(trials):
        tasks_T = rng.normal(0, DIFFICULTY, TASKS)
        after, before = (
            rng.random((seeds, TASKS)) < success(mean + rng.normal(0, spread, (seeds, 1)) + tasks_T)
            for mean in (AFTER, BEFORE)
        )
        difference_ST = after.astype(float) - before
        if not corrected:  # undo what `interval` will do
            offsets_S = difference_ST.mean(axis=1, keepdims=True) - difference_ST.mean()
            difference_ST = difference_ST + (np.sqrt((seeds - 1) / seeds) - 1) * offsets_S
        found = statistics.interval(difference_ST)
        power = power_of(difference_ST) if widened else None
        found = power.widened(found) if power else found
        held += found.low <= truth <= found.high
        width += found.high - found.low
    return {"held": held / trials, "width_points": round(100 * width / trials, 1)}


def main() -> None:
    rows = []
    print("seeds  they differ   holds the truth   width   without correction   widened, width")
    for seeds in (2, 3, 5, 8):
        for words, spread in SKILLS.items():
            ours, plain = (measure(seeds, spread, corrected=c) for c in (True, False))
            wide = measure(seeds, spread, widened=True, trials=WIDENED_TRIALS)
            told = {"held_widened": wide["held"], "width_widened_points": wide["width_points"]}
            rows.append({"seeds": seeds, "differ": words, **ours, "held_uncorrected": plain["held"], **told})
            print(
                f"{seeds:<6} {words:<13} {ours['held']:<17.3f} {ours['width_points']:<7.1f} {plain['held']:<20.3f} "
                f"{wide['held']:<8.3f} {wide['width_points']:.1f}",
                flush=True,
            )
    save(
        "interval_coverage",
        {"tasks": TASKS, "trials": TRIALS, "widened_trials": WIDENED_TRIALS, "results": rows},
    )


if __name__ == "__main__":
    main()
