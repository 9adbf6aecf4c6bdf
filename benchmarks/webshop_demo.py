"""WebShop's evidence: HiMAC and flat GRPO from the same warm start, at equal environment steps.

    python benchmarks/webshop_demo.py --seeds 0 1 2 --jobs 2 run.max_minutes=45

For each seed: one warm start, then HiMAC as in configs/webshop-demo.toml, then flat GRPO from the same model
until it has taken as many environment steps. Both are evaluated greedily on the whole test split (500 goals
never trained on) before and after, success and score. Runs that are already there are read, not run again.
Writes results/webshop_demo.json, with the shop's provenance, and results/webshop_demo.png.
"""

from __future__ import annotations

from _demo import Demo, run

DEMO = Demo(
    name="webshop_demo",
    recipe="configs/webshop-demo.toml",
    curve="val",
    final="test",
    tasks="validation goals",
    has_score=True,
)

if __name__ == "__main__":
    run(DEMO, __doc__)
