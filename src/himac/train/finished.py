"""Whether a run has anything left to do."""

from __future__ import annotations

from pathlib import Path

from himac.config import Config
from himac.errors import DataError
from himac.learner import checkpoint as ckpt
from himac.report.tables import TABLE
from himac.runs.folder import CURVE, EPISODES, IMAGES, METRICS, rows_since


def finished(folder: Path, config: Config) -> ckpt.TrainState | None:
    """Return how far a run came that is finished; None where anything of it is missing, and resuming would mend it.

    Finished is a run whose newest checkpoint is whole and trained to the end, and behind which its files hold the final
    evaluation and nothing else: its row, every episode of it, curve and table.

    Args:
        folder: the run's.
        config: as the folder has it.
    """
    saved = ckpt.find(folder)
    if saved is None or ckpt.damage(saved):
        return None
    try:
        state = ckpt.read_state(saved)
    except DataError:
        return None
    is_trained = state.done(config.run.iterations, config.budget) or state.out_of_time(config.budget)
    is_drawn = all(_size(folder / name) for name in (CURVE, TABLE))
    has_pictures = _size(folder / IMAGES) >= state.lengths.get(IMAGES, 0)
    if not (is_trained and is_drawn and has_pictures and METRICS in state.lengths):
        return None
    split, played = config.eval.final, 0
    judged = ("eval", state.iteration, split)
    for row in rows_since(
        folder / EPISODES, state.lengths.get(EPISODES, 0)
    ):  # one at a time: there may be gigabytes
        if row is None or (row["phase"], row["iteration"], row.get("split")) != judged:
            return None
        played += 1
    told = [
        row and (row["phase"], row["iteration"], row.get("split"), row.get("episodes"))
        for row in rows_since(folder / METRICS, state.lengths[METRICS])
    ]
    wanted = [(*judged, played)] if split else []
    return state if told == wanted and bool(split) == bool(played) else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
