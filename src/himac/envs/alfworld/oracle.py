"""The shortest win of a game, by someone who sees everything. Used to prove that a game can be won.

An ALFWorld goal is a choice of few objects and where they go; each choice has one obvious plan
(fetch, change, deliver) whose length is counted before any is played.

Left out: plans that are cleverer than fetching, changing and delivering one object after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from himac.envs.alfworld.game import Game
from himac.envs.alfworld.goal import Goal
from himac.envs.alfworld.world import World

_CHANGES = {"isclean": "cleanobject", "ishot": "heatobject", "iscool": "coolobject"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One way to satisfy a goal."""

    put: tuple[tuple[int, int], ...]  # (object, receptacle), in the order of delivery
    change: tuple[tuple[int, str], ...]  # (object, action)
    hold: int  # object to hold at the end, -1 for none
    lamp: int  # object to switch on, -1 for none


def shortest_win(game: Game) -> list[str] | None:
    """Return the shortest winning play found, as commands; None when there is none.

    An already won game needs one command, since a world says `won` after a step: `look`.
    """
    world = World(game)
    if world.won:
        return [game.wording.commands["look"]]
    best: list[tuple[Any, ...]] | None = None
    for wish in _wishes(game):
        for plan in _plans(game, wish):
            if best is None or len(plan) < len(best):
                best = plan
    if best is None:
        return None
    commands = []
    for action in best:
        commands.append(world.command(*action))
        world.step(commands[-1])
    return commands if world.won else None


def _wishes(game: Game) -> Iterator[Wish]:
    """Yield the ways to satisfy the goal that fetching and delivering can bring about."""
    for atoms in _choices(game.goal):
        put, change, hold, lamp = [], [], -1, -1
        for predicate, *things in dict.fromkeys(atoms):
            if predicate == "inreceptacle":
                if things[0] in game.kinds["pickupable"]:
                    put.append((things[0], things[1]))
            elif predicate in _CHANGES:
                change.append((things[0], _CHANGES[predicate]))
            elif predicate == "holds":
                hold = things[1]
            elif predicate == "istoggled":
                lamp = things[0]
            elif predicate != "atlocation":
                break
        else:
            yield Wish(put=tuple(put), change=tuple(change), hold=hold, lamp=lamp)


def _choices(goal: Goal) -> Iterator[tuple[tuple[Any, ...], ...]]:
    """Yield the sets of atoms each of which satisfies a goal (no negations)."""
    if goal is True:
        yield ()
    elif isinstance(goal, tuple) and goal[0] == "or":
        for part in goal[1:]:
            yield from _choices(part)
    elif isinstance(goal, tuple) and goal[0] == "and":
        for parts in product(*(tuple(_choices(part)) for part in goal[1:])):
            yield tuple(atom for part in parts for atom in part)
    elif isinstance(goal, tuple) and goal[0] != "not":
        yield (goal,)


def _plans(game: Game, wish: Wish) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the plans for one wish: every choice of where to fetch and where to change."""
    carried = [o for o, _ in wish.put] + ([wish.hold] if wish.hold >= 0 else [])
    sources = [
        [r for r, inside in enumerate(game.start.inside) if o in inside and game.place[r] >= 0]
        for o in carried
    ]
    stations = {
        "cleanobject": game.cleaners,
        "heatobject": game.heaters,
        "coolobject": game.coolers,
    }
    changes = dict(wish.change)
    lamps = (
        [r for r, inside in enumerate(game.start.inside) if wish.lamp in inside] if wish.lamp >= 0 else [-1]
    )
    for chosen in product(*sources):
        for station in sorted(stations[next(iter(changes.values()))]) if changes else (-1,):
            for lamp_at in lamps:
                yield _plan(game, wish, dict(zip(carried, chosen)), station, lamp_at)


def _plan(
    game: Game, wish: Wish, source: dict[int, int], station: int, lamp_at: int
) -> list[tuple[Any, ...]]:
    plan: list[tuple[Any, ...]] = []
    at, opened = game.start.at, set(game.start.opened)
    changes = dict(wish.change)

    def reach(r: int, opening: bool) -> None:
        nonlocal at
        if game.place[r] != at:
            at = game.place[r]
            plan.append(("gotolocation", r))
        if opening and r in game.openable and r not in opened:
            opened.add(r)
            plan.append(("openobject", r))

    def fetch(o: int) -> None:
        reach(source[o], True)
        plan.append(("pickupobject", o, source[o]))

    for o, target in wish.put:
        if source[o] == target and o not in changes:
            continue
        fetch(o)
        if o in changes:
            reach(station, False)
            plan.append((changes[o], o, station))
        if o in game.start.inside[target] and source[o] != target and o == wish.put[-1][0]:
            continue  # it lies in both places, and taking it from one leaves it in the other
        reach(target, True)
        plan.append(("putobject", o, target))
    if wish.hold >= 0:
        fetch(wish.hold)
    if wish.lamp >= 0:
        reach(lamp_at, False)
        plan.append(("toggleobject", wish.lamp))
    return plan
