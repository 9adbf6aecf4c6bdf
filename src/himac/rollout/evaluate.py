"""Evaluation: each task of a fixed split once, with an interval.

One idea: a number without its interval and its budget is half a number. So success comes with a Wilson
interval, per task kind where there are several, beside return, environment steps, turns and tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from himac.rollout.phases import Phases, Progress
from himac.rollout.summary import conclude
from himac.types import Episode, Task


def evaluate(
    phases: Phases,
    tasks: Sequence[Task],
    *,
    temperature: float,
    seed: int = 0,
    progress: Progress | None = None,
    known: Sequence[Episode] = (),
    keep: Callable[[Episode], None] | None = None,
) -> tuple[dict[str, Any], list[Episode]]:
    """Run every task once and summarise.

    Args:
        phases: runs the episodes with the configured method's agent.
        tasks: the split.
        temperature: 0 is greedy.
        seed: of the sampling.
        progress: called with the number of episodes that have just finished.
        known: episodes of an earlier, interrupted evaluation; they count and are not run again.
        keep: called with each new episode the moment it is finished.

    Returns:
        (summary, episodes).
    """
    began = time.perf_counter()
    episodes = phases.evaluate(
        tasks, temperature=temperature, seed=seed, progress=progress, known=known, keep=keep
    )
    spent = {"temperature": temperature, "seconds": round(time.perf_counter() - began, 2)}
    return conclude(episodes) | spent, episodes
