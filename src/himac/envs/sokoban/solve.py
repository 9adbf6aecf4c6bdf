"""Push A*: the solver behind the expert, and a check on every level.

Search over pushes, not steps. Between two pushes the player may be anywhere its walk reaches, so a
state is the boxes and where the player stands; a flood fill on bit masks gives all pushes at once. The
estimate is the cheapest assignment of boxes to targets; boxes that can never leave a cell, or that freeze
one another off target, end a branch.

`minimize="moves"` finds a solution with the fewest steps. `minimize="pushes"` finds one with the fewest
pushes, treats all places of the player that are one walk apart as the same, and is therefore much faster on
large levels; its number of steps is small but not always the smallest. Left out: corrals, tunnels, macros.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from himac.envs.sokoban.rules import ACTIONS, Level, State, cells, offsets, shift

_PUSH_WEIGHT = 1 << 20  # what a push costs beside the walk when pushes are minimised
_FAR = 1 << 40  # stands for "cannot be reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One push of one box by one cell."""

    box: int  # cell of the box before the push
    action: str  # direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A way to solve a level."""

    moves: tuple[str, ...]  # every step, walks and pushes
    pushes: tuple[Push, ...]  # the pushes among them, in order
    nodes: int  # states expanded to find it


def solve(
    level: Level,
    state: State | None = None,
    *,
    minimize: Literal["moves", "pushes"] = "moves",
    max_nodes: int = 300_000,
) -> Solution | None:
    """Solve a level from a state (default: its start).

    Returns:
        The solution, or None when there is none or `max_nodes` states were expanded without finding it.
    """
    state = state or level.start
    ground = _ground(level.height, level.width, level.floor, level.targets)
    push_cost = _PUSH_WEIGHT + 1 if minimize == "pushes" else 1
    estimates: dict[int, int] = {}

    def estimate(boxes: int) -> int:
        if boxes not in estimates:
            estimates[boxes] = ground.assignment(boxes)
        return estimates[boxes] * push_cost

    start = (state.boxes, _place(level, state.boxes, state.player, minimize))
    first = estimate(state.boxes)
    costs, parents = {start: 0}, {start: (start, -1, "")}
    # estimated total, minus cost so far (deeper first), order of creation, cost, place, player
    todo = [(first, 0, 0, 0, start, state.player)] if first < _FAR else []
    closed: set[tuple[int, int]] = set()
    num_created = 0
    while todo and len(closed) < max_nodes:
        _, _, _, cost, node, player = heapq.heappop(todo)
        if node in closed:
            continue
        closed.add(node)
        boxes = node[0]
        if boxes == level.targets:
            return _replay(level, state, _trace(parents, node), len(closed))
        for box, action, walk in _pushes(level, ground, boxes, player):
            to = box + offsets(level.width)[action]
            after = boxes ^ (1 << box | 1 << to)
            remaining = estimate(after)
            if remaining >= _FAR or ground.frozen_off_target(after, to):
                continue
            child = (after, _place(level, after, box, minimize))
            total = cost + walk + push_cost
            if child in closed or total >= costs.get(child, _FAR * 2):
                continue
            costs[child], parents[child] = total, (node, box, action)
            num_created += 1
            heapq.heappush(todo, (total + remaining, -total, num_created, total, child, box))
    return None


def walk(level: Level, state: State, goal: int) -> tuple[str, ...] | None:
    """Return the shortest walk of the player to a cell without pushing; None when there is none."""
    layers = _layers(level.floor & ~state.boxes, state.player, level.width)
    distance = next((d for d, layer in enumerate(layers) if layer >> goal & 1), None)
    if distance is None:
        return None
    way: list[str] = []
    for layer in reversed(layers[:distance]):
        action = next(a for a in ACTIONS if layer >> goal - offsets(level.width)[a] & 1)
        way.append(action)
        goal -= offsets(level.width)[action]
    return tuple(reversed(way))


def _layers(free: int, player: int, width: int) -> list[int]:
    """Return masks of the cells at walking distance 0, 1, 2, ..."""
    frontier = seen = 1 << player
    layers = []
    while frontier:
        layers.append(frontier)
        near = frontier << 1 | frontier >> 1 | frontier << width | frontier >> width
        frontier = near & free & ~seen
        seen |= frontier
    return layers


def _place(level: Level, boxes: int, player: int, minimize: str) -> int:
    """Return what identifies the player's place: its cell, or the lowest cell it can walk to."""
    if minimize == "moves":
        return player
    reach = sum(_layers(level.floor & ~boxes, player, level.width))
    return (reach & -reach).bit_length() - 1


def _pushes(level: Level, ground: _Ground, boxes: int, player: int) -> Iterator[tuple[int, str, int]]:
    """Yield (box, direction, steps to walk before) for every push that is possible and not hopeless."""
    free = level.floor & ~boxes
    layers = _layers(free, player, level.width)
    reach = sum(layers)
    for action, step in offsets(level.width).items():
        for box in cells(boxes & shift(reach, step) & shift(free & ground.alive, -step)):
            behind = 1 << box - step
            yield box, action, next(d for d, layer in enumerate(layers) if layer & behind)


def _trace(
    parents: dict[tuple[int, int], tuple[tuple[int, int], int, str]], node: tuple[int, int]
) -> list[Push]:
    pushes = []
    while parents[node][1] >= 0:
        node, box, action = parents[node]
        pushes.append(Push(box=box, action=action))
    return pushes[::-1]


def _replay(level: Level, state: State, pushes: list[Push], nodes: int) -> Solution:
    moves: list[str] = []
    for push in pushes:
        step = offsets(level.width)[push.action]
        way = walk(level, state, push.box - step)
        assert way is not None, "a push that was found cannot be reached"
        moves += [*way, push.action]
        state = State(boxes=state.boxes ^ (1 << push.box | 1 << push.box + step), player=push.box)
    return Solution(moves=tuple(moves), pushes=tuple(pushes), nodes=nodes)


class _Ground:
    """What walls and targets alone decide: distances to targets, and cells from which none can be reached."""

    def __init__(self, height: int, width: int, floor: int, targets: int) -> None:
        self.width, self.floor, self.targets = width, floor, targets
        self.distances = [self._distances_to(target, height * width) for target in cells(targets)]
        self.alive = sum(1 << cell for cell in cells(floor) if min(to[cell] for to in self.distances) < _FAR)

    def _distances_to(self, target: int, num_cells: int) -> list[int]:
        """Return, per cell, how many pushes bring a lone box from it to the target."""
        distances = [_FAR] * num_cells
        distances[target] = 0
        todo = [target]
        for cell in todo:
            for step in offsets(self.width).values():
                came_from, player = cell - step, cell - 2 * step
                if (
                    self.floor >> came_from & 1
                    and player >= 0
                    and self.floor >> player & 1
                    and distances[came_from] == _FAR
                ):
                    distances[came_from] = distances[cell] + 1
                    todo.append(came_from)
        return distances

    def assignment(self, boxes: int) -> int:
        """Return the least number of pushes that brings every box to a target of its own.

        Exact up to eight boxes (dynamic programme over sets of targets); above, each box to its nearest.
        """
        if len(self.distances) > 8:
            return min(_FAR, sum(min(to[box] for to in self.distances) for box in cells(boxes)))
        table = {0: 0}  # set of targets used by the boxes so far -> pushes
        for box in cells(boxes):
            longer: dict[int, int] = {}
            for used, pushes in table.items():
                for i, to in enumerate(self.distances):
                    if used >> i & 1 or to[box] >= _FAR:
                        continue
                    total, key = pushes + to[box], used | 1 << i
                    if total < longer.get(key, _FAR):
                        longer[key] = total
            table = longer
        return min(table.values(), default=_FAR)

    def frozen_off_target(self, boxes: int, box: int) -> bool:
        """Return whether this box and those it leans on can never move again and one is off target."""
        if not boxes & ~self.targets:
            return False
        frozen = self._frozen(boxes, box, 0)
        return bool(frozen & ~self.targets)

    def _frozen(self, boxes: int, box: int, assumed: int) -> int:
        """Return the mask of boxes that freeze together with this one; 0 when it can move.

        Boxes in `assumed` are taken as walls, which breaks circles.
        """
        assumed |= 1 << box
        group = 1 << box
        for step in (1, self.width):
            sides = (box - step, box + step)
            if any(not self.floor >> side & 1 or assumed >> side & 1 for side in sides):
                continue
            if not any(self.alive >> side & 1 for side in sides):
                continue
            for side in sides:
                more = self._frozen(boxes, side, assumed) if boxes >> side & 1 else 0
                if more:
                    group |= more
                    break
            else:
                return 0
        return group


@lru_cache(maxsize=1024)
def _ground(height: int, width: int, floor: int, targets: int) -> _Ground:
    return _Ground(height, width, floor, targets)
