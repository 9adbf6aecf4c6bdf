"""The rules of Sokoban on bit masks: one board, one step, one reward.

A set of cells is an integer whose bit `row * width + column` is set, so a board is four small
integers, copies cost nothing, and equal boards are equal values. Everything else in this package (text,
images, solver, generator, batch) is built on, or tested against, the two functions `play` and `reward`.

Rules and rewards are gym-sokoban's: a step costs 0.1, a box pushed onto a target earns 1, one pushed off
costs 1, all boxes on targets earn 10 and end the episode. A direction both walks and pushes, as its push
actions do. Left out: its walk-only actions and its "no operation".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from himac.errors import DataError

ACTIONS = ("up", "down", "left", "right")
REWARD_STEP = -0.1
REWARD_BOX = 1.0  # onto a target; the same is lost when a box leaves one
REWARD_SOLVED = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What moves: the boxes and the player."""

    boxes: int  # cells, as a mask
    player: int  # cell number: row * width + column


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One board at its start. Its border is wall, so nothing ever leaves it."""

    height: int  # rows
    width: int  # columns
    floor: int  # mask of the cells that are not walls
    targets: int  # mask
    boxes: int  # mask at the start; as many as there are targets
    player: int  # cell number at the start

    def __post_init__(self) -> None:
        border = border_mask(self.height, self.width)
        if self.floor & border:
            cell = next(cells(self.floor & border))
            raise DataError(f"the level is not closed: no wall at {self.name_of(cell)}")
        if not self.boxes or self.boxes.bit_count() != self.targets.bit_count():
            raise DataError(
                "a level needs as many boxes as targets and at least one, "
                f"got {self.boxes.bit_count()} boxes and {self.targets.bit_count()} targets"
            )
        placed = self.boxes | self.targets | 1 << self.player
        if placed & ~self.floor or self.boxes >> self.player & 1:
            raise DataError("a box, a target or the player stands on a wall or on another")

    @property
    def start(self) -> State:
        """The state in which an episode begins."""
        return State(boxes=self.boxes, player=self.player)

    @property
    def num_boxes(self) -> int:
        """How many boxes there are."""
        return self.boxes.bit_count()

    def row_column(self, cell: int) -> tuple[int, int]:
        """Return a cell's row and column, counted from 1 at the top left, walls included."""
        return cell // self.width + 1, cell % self.width + 1

    def name_of(self, cell: int) -> str:
        """Return a cell in words: "row 2 column 3"."""
        row, column = self.row_column(cell)
        return f"row {row} column {column}"


def play(level: Level, state: State, action: str) -> State:
    """Return the state after walking or pushing in one direction; the same state when blocked."""
    step = offsets(level.width)[action]
    ahead = state.player + step
    if not level.floor >> ahead & 1:
        return state
    if not state.boxes >> ahead & 1:
        return State(boxes=state.boxes, player=ahead)
    beyond = ahead + step
    if not (level.floor & ~state.boxes) >> beyond & 1:
        return state
    return State(boxes=state.boxes ^ (1 << ahead | 1 << beyond), player=ahead)


def reward(level: Level, before: State, after: State) -> float:
    """Return the reward of the step that led from `before` to `after`."""
    change = num_on_target(level, after) - num_on_target(level, before)
    value = REWARD_STEP + change * REWARD_BOX
    return value + REWARD_SOLVED if is_solved(level, after) else value


def num_on_target(level: Level, state: State) -> int:
    """Return how many boxes stand on targets."""
    return (state.boxes & level.targets).bit_count()


def is_solved(level: Level, state: State) -> bool:
    """Return whether every box stands on a target."""
    return state.boxes == level.targets


@lru_cache(maxsize=64)
def offsets(width: int) -> dict[str, int]:
    """Return the change of cell number for each action on a board of this width."""
    return {"up": -width, "down": width, "left": -1, "right": 1}


@lru_cache(maxsize=64)
def border_mask(height: int, width: int) -> int:
    """Return the mask of the outermost cells."""
    row = (1 << width) - 1
    column = sum(1 << r * width for r in range(height))
    return row | row << (height - 1) * width | column | column << width - 1


def cells(mask: int) -> Iterator[int]:
    """Yield the cell numbers of a mask in increasing order.

    >>> list(cells(0b1010))
    [1, 3]
    """
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def shift(mask: int, step: int) -> int:
    """Return the mask with every cell moved by `step` cell numbers."""
    return mask << step if step > 0 else mask >> -step
