"""ALFWorld's evidence: HiMAC and flat GRPO from the same warm start, at equal environment steps.

    python benchmarks/alfworld_demo.py --seeds 0 1 2 --jobs 2 run.max_minutes=45

For each seed: one warm start, then HiMAC as in configs/alfworld-demo.toml, then flat GRPO from the same model
until it has taken as many environment steps. Both are evaluated greedily on every game of the unseen layouts
and of the seen ones, per task type, before and after. Runs that are already there are read, not run
again. Writes results/alfworld_demo.json and results/alfworld_demo.png.
"""

from __future__ import annotations

from _demo import Demo, run

DEMO = Demo(
    name="alfworld_demo",
    recipe="configs/alfworld-demo.toml",
    curve="valid_seen",
    final="valid_unseen",
    also=("valid_seen",),
    tasks="games in known rooms",
)

if __name__ == "__main__":
    run(DEMO, __doc__)
