"""Many levels at once: the rules of Sokoban on arrays.

A cell is a byte (bit 0 floor, bit 1 target, bit 2 box) and all boards lie in one flat array, so a
step of B levels is a dozen look-ups of B numbers and never touches the rest of the boards. A test plays
random episodes here and through `rules` and demands the same boards, rewards and endings.

Left out: text (use the single environment) and automatic resets (call `reset` with the rows to restart).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from himac.envs.sokoban.rules import (
    ACTIONS,
    REWARD_BOX,
    REWARD_SOLVED,
    REWARD_STEP,
    Level,
    offsets,
)
from himac.errors import EnvError

_FLOOR, _TARGET, _BOX = 1, 2, 4
_CODES = np.array([0, 1, 0, 2, 0, 4, 0, 3], dtype=np.uint8)  # byte of a cell -> cell code


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStep:
    """What one step of a batch returned."""

    rewards_B: np.ndarray  # (B,) float64; 0 for a level that was over already
    terminated_B: np.ndarray  # (B,) bool; solved, now or before
    truncated_B: np.ndarray  # (B,) bool; out of steps, now or before


class SokobanBatch:
    """B levels of one size, stepped together. A level that is over stays as it is until it is reset."""

    def __init__(self, levels: Sequence[Level], *, max_steps: int) -> None:
        self.max_steps = max_steps
        self.height, self.width = levels[0].height, levels[0].width
        num_levels, num_cells = len(levels), self.height * self.width
        self._cells = np.zeros(num_levels * num_cells, dtype=np.uint8)
        self._cells_BC = self._cells.reshape(num_levels, num_cells)  # a view
        self._first_B = np.arange(num_levels) * num_cells  # where each board begins in the flat array
        self._player_B = np.zeros(num_levels, dtype=np.int64)  # flat cell number
        self._missing_B = np.zeros(num_levels, dtype=np.int64)  # boxes not on a target
        self._steps_B = np.zeros(num_levels, dtype=np.int64)
        self._active_B = np.ones(num_levels, dtype=bool)
        self._offsets = np.array([offsets(self.width)[action] for action in ACTIONS])
        self.reset(levels)

    def reset(self, levels: Sequence[Level], rows: np.ndarray | None = None) -> None:
        """Start these levels, in all rows or in the given ones.

        Raises:
            EnvError: a level has another size, or there are not as many levels as rows.
        """
        rows = np.arange(len(self._first_B)) if rows is None else np.asarray(rows)
        if len(levels) != len(rows):
            raise EnvError(f"got {len(levels)} levels for {len(rows)} rows of the batch")
        if not levels:
            return
        wrong = {(level.height, level.width) for level in levels} - {(self.height, self.width)}
        if wrong:
            height, width = wrong.pop()
            raise EnvError(
                f"all levels of a batch must be {self.height}x{self.width}, got one of {height}x{width}"
            )
        self._cells_BC[rows] = np.stack([_cell_bytes(level) for level in levels])
        self._missing_B[rows] = [(level.boxes & ~level.targets).bit_count() for level in levels]
        self._player_B[rows] = self._first_B[rows] + np.array([level.player for level in levels])
        self._steps_B[rows] = 0
        self._active_B[rows] = self._missing_B[rows] > 0

    def step(self, actions_B: np.ndarray) -> BatchStep:
        """Carry out one action in every level.

        Args:
            actions_B: (B,) integers, indices into `ACTIONS`.
        """
        cells, active_B = self._cells, self._active_B
        step_B = self._offsets[actions_B] * active_B  # a level that is over stands still
        ahead_B = self._player_B + step_B
        beyond_B = ahead_B + step_B
        here_B = cells.take(ahead_B)
        there_B = cells.take(beyond_B, mode="clip")  # beyond a wall may lie outside; it is not used then
        is_box_B = here_B & _BOX != 0
        pushes_B = is_box_B & (there_B & (_FLOOR | _BOX) == _FLOOR) & active_B
        moves_B = pushes_B | (here_B & (_FLOOR | _BOX) == _FLOOR)
        self._player_B += step_B * moves_B
        pushed = np.flatnonzero(pushes_B)
        cells[ahead_B[pushed]] ^= _BOX
        cells[beyond_B[pushed]] ^= _BOX
        change_B = ((there_B & _TARGET).astype(np.int64) - (here_B & _TARGET)) // _TARGET * pushes_B
        self._missing_B -= change_B
        solved_B = self._missing_B == 0
        self._steps_B += active_B
        rewards_B = (REWARD_STEP + change_B * REWARD_BOX) + solved_B * REWARD_SOLVED
        rewards_B *= active_B
        truncated_B = (self._steps_B >= self.max_steps) & ~solved_B
        self._active_B = ~(solved_B | truncated_B)
        return BatchStep(rewards_B=rewards_B, terminated_B=solved_B, truncated_B=truncated_B)

    def codes(self) -> np.ndarray:
        """Return all boards as cell codes, (B, height, width) uint8, see `text.SYMBOLS`."""
        codes = _CODES[self._cells]
        codes[self._player_B] = 5 + (self._cells[self._player_B] & _TARGET) // _TARGET
        return codes.reshape(-1, self.height, self.width)


@lru_cache(maxsize=65536)
def _cell_bytes(level: Level) -> np.ndarray:
    """Return a level's cells as bytes, (C,) uint8."""
    floor, targets, boxes = (
        _bits(mask, level.height * level.width) for mask in (level.floor, level.targets, level.boxes)
    )
    packed: np.ndarray = floor * _FLOOR | targets * _TARGET | boxes * _BOX
    return packed


def _bits(mask: int, num_cells: int) -> np.ndarray:
    """Return a mask as an array of zeros and ones, (num_cells,) uint8."""
    raw = np.frombuffer(mask.to_bytes((num_cells + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(raw, bitorder="little", count=num_cells)
