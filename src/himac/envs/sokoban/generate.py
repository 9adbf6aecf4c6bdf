"""Rooms by reverse play: start solved, pull the boxes away.

A level found by pulling is solvable, because every pull read backwards is a push. The procedure is
the usual one of gym-sokoban and the agents built on it: a random walk with small brushes carves the room,
player and targets are placed at random, a depth-first search pulls boxes and keeps the state with the
largest (changes of box) x (total displacement), and at last the player may take up to three steps.

Boards are bit masks here, which makes the search some twenty times as fast as on arrays. The same rules
and distribution, not the same random numbers.
"""

from __future__ import annotations

import random
from functools import lru_cache

from himac.envs.sokoban.rules import Level, border_mask, cells, offsets
from himac.envs.splits import pick
from himac.errors import ConfigError

_P_TURN = 0.35  # the carving walk changes direction
_BRUSHES = (  # cells that a brush carves, as (row, column) around its centre
    ((0, -1), (0, 0), (0, 1)),
    ((-1, 0), (0, 0), (1, 0)),
    ((0, -1), (0, 0), (1, 0)),
    ((0, -1), (0, 0), (1, -1), (1, 0)),
    ((0, 0), (0, 1), (1, 0)),
)
_MAX_STATES = 300_000  # explored by one reverse search
_MAX_TRIES = 10_000  # rooms tried before giving up


def generate_level(rng: random.Random, *, size: tuple[int, int], boxes: int, search_depth: int) -> Level:
    """Make one solvable level in which no box stands on a target.

    Args:
        rng: source of all randomness.
        size: rows and columns, walls included.
        boxes: number of boxes.
        search_depth: of the reverse search; deeper finds harder levels and takes longer.

    Raises:
        ConfigError: no such level was found, because the room is too small for its boxes.
    """
    for _ in range(_MAX_TRIES):
        room = _sample_room(rng, size, boxes)
        found = room and _best_pulled(*room, size, search_depth)
        if room and found:
            floor, targets, _ = room
            pulled, player, displacement = found
            p_start = 0.8 if displacement == 1 else 0.5
            player = _wander(rng, floor & ~pulled, player, size[1], p_start=p_start)
            return Level(
                height=size[0], width=size[1], floor=floor, targets=targets, boxes=pulled, player=player
            )
    raise ConfigError(
        f"found no {size[0]}x{size[1]} Sokoban level with {boxes} boxes",
        hint="use a larger env.size, fewer env.boxes or a larger env.search_depth",
    )


def _sample_room(rng: random.Random, size: tuple[int, int], boxes: int) -> tuple[int, int, int] | None:
    """Carve a room; return its floor, its targets and the player's cell, or None when there is no place."""
    floor = _carve(rng, size)
    free = list(cells(floor))
    if len(free) <= boxes + 1:
        return None
    player = free.pop(pick(rng, len(free)))
    targets = 0
    for _ in range(boxes):
        targets |= 1 << free.pop(pick(rng, len(free)))
    return floor, targets, player


def _carve(rng: random.Random, size: tuple[int, int]) -> int:
    height, width = size
    brushes = _brush_masks(width)
    steps = ((1, 0), (0, 1), (-1, 0), (0, -1))
    down, right = steps[pick(rng, 4)]
    row, column = 1 + pick(rng, height - 1), 1 + pick(rng, width - 1)
    floor = 0
    for _ in range(int(1.7 * (height + width))):
        if rng.random() < _P_TURN:
            down, right = steps[pick(rng, 4)]
        row = max(min(row + down, height - 2), 1)
        column = max(min(column + right, width - 2), 1)
        floor |= brushes[pick(rng, 5)] << (row - 1) * width + column - 1
    return floor & ~border_mask(height, width)


@lru_cache(maxsize=64)
def _brush_masks(width: int) -> tuple[int, ...]:
    return tuple(sum(1 << (r + 1) * width + c + 1 for r, c in brush) for brush in _BRUSHES)


def _best_pulled(
    floor: int, targets: int, player: int, size: tuple[int, int], search_depth: int
) -> tuple[int, int, int] | None:
    """Depth-first search over pulls; return boxes, player and total displacement of the best state.

    Every move pulls the box behind the player, if there is one. A state counts only when no target is
    covered by a box or by the player. Pulled boxes are told from untouched ones, as in the usual search.
    """
    height, width = size
    num_cells = height * width
    steps = tuple(offsets(width).values())
    homes = tuple(cells(targets))
    column_of = [cell % width for cell in range(num_cells)]
    row_of = [cell // width for cell in range(num_cells)]
    explored: set[tuple[int, int]] = set()
    best_score, best = 0, None
    # one entry: boxes (and above them, shifted by num_cells, the pulled ones), player, box cells in the
    # order of their homes, changes of box, last box pulled, total displacement, depth left
    todo = [(targets, player, homes, 0, -1, 0, search_depth - 1)]
    while todo:
        boxes, player, where, changes, last, displacement, depth = todo.pop()
        key = (boxes, player)
        if key in explored:
            continue
        if len(explored) >= _MAX_STATES:
            break
        explored.add(key)
        score = changes * displacement
        if score > best_score and not (boxes | 1 << player) & targets:
            best_score, best = score, (boxes & (1 << num_cells) - 1, player, displacement)
        if depth <= 1:
            continue
        free = floor & ~boxes
        for step in reversed(steps):
            ahead, behind = player + step, player - step
            if not free >> ahead & 1:
                continue
            if not boxes >> behind & 1:
                if (boxes, ahead) not in explored:
                    todo.append((boxes, ahead, where, changes, last, displacement, depth - 1))
                continue
            home = homes[box := where.index(behind)]
            moved = boxes & ~(1 << behind | 1 << behind + num_cells)
            moved |= 1 << player | 1 << player + num_cells
            if (moved, ahead) in explored:
                continue
            further = abs(row_of[player] - row_of[home]) + abs(column_of[player] - column_of[home])
            further -= abs(row_of[behind] - row_of[home]) + abs(column_of[behind] - column_of[home])
            todo.append(
                (
                    moved,
                    ahead,
                    (*where[:box], player, *where[box + 1 :]),
                    changes + (box != last),
                    box,
                    displacement + further,
                    depth - 1,
                )
            )
    return best


def _wander(rng: random.Random, free: int, player: int, width: int, *, p_start: float) -> int:
    """Let the player take up to three steps to cells it has not just left."""
    if rng.random() > p_start:
        return player
    visited = {player}
    for _ in range(3):
        ways = [player + step for step in offsets(width).values()]
        ways = [cell for cell in ways if free >> cell & 1 and cell not in visited]
        if not ways:
            break
        player = ways[pick(rng, len(ways))]
        visited.add(player)
        if rng.random() > 0.5:
            break
    return player
