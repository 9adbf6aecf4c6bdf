"""The demo's evidence: HiMAC and flat GRPO from the same warm start, at equal environment steps.

    python benchmarks/sokoban_demo.py --seeds 0 1 2 --jobs 2

For each seed: one warm start, then HiMAC as in configs/demo.toml, then flat GRPO from the same model until it
has taken as many environment steps. Both are evaluated greedily on the whole test split (512 levels never
trained on) before and after. Runs that are already there are read, not run again. Writes
results/sokoban_demo.json and results/sokoban_demo.png.
"""

from __future__ import annotations

from _demo import Demo, run

DEMO = Demo(
    name="sokoban_demo",
    recipe="configs/demo.toml",
    curve="val",
    final="test",
    tasks="validation levels",
)

if __name__ == "__main__":
    run(DEMO, __doc__)
