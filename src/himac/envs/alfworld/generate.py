"""Generated households: rooms, things and tasks in ALFRED's vocabulary, in ALFWorld's file format.

A layout (which receptacles a room has) is drawn from one seed, a game (which objects lie where,
what is to be done) from another; both come from `vocabulary`'s tables, so they look like ALFRED's. The
splits are disjoint by content, not by luck: the hash of a layout says whether it is an unseen one, the
hash of a game says whether it belongs to train or to valid_seen.

Every game is won once by `oracle` before it is given out. Left out: objects that no receptacle holds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from himac.envs.alfworld.catalog import GAME_FILE, SPLITS
from himac.envs.alfworld.game import Game, compile_game
from himac.envs.alfworld.oracle import shortest_win
from himac.envs.alfworld.problem import NEEDS, Layout, Plan, Receptacle, game_content
from himac.envs.alfworld.vocabulary import ROOMS, Stock, attributes, contains, layouts, p_openable, stocks
from himac.errors import ConfigError, closest
from himac.files import make_folder, write_text
from himac.types import Json

KINDS = {"pick": 790, "look": 308, "clean": 650, "heat": 459, "cool": 533, "pick2": 813}
"""Task type -> its number among ALFWorld's 3,553 training games; generated splits have these shares."""

ROOM_SHARES = {
    "pick": {"bathroom": 236, "bedroom": 211, "livingroom": 150, "kitchen": 88},
    "look": {"bedroom": 178, "livingroom": 37},
    "clean": {"kitchen": 329, "bathroom": 154},
    "heat": {"kitchen": 1},
    "cool": {"kitchen": 1},
    "pick2": {"bathroom": 163, "bedroom": 112, "livingroom": 96, "kitchen": 45},
}
"""Task type -> room -> how often that task is set there in ALFRED's training games."""

SENTENCES = {
    "pick": ("put a {o} in {r}", "put some {o} on {r}"),
    "look": ("look at {o} under the {r}", "examine the {o} with the {r}"),
    "clean": ("put a clean {o} in {r}", "clean some {o} and put it in {r}"),
    "heat": ("put a hot {o} in {r}", "heat some {o} and put it in {r}"),
    "cool": ("put a cool {o} in {r}", "cool some {o} and put it in {r}"),
    "pick2": ("put two {o} in {r}", "find two {o} and put them in {r}"),
}
"""The sentences in which ALFWorld states a task."""

STATIONS = {"clean": "SinkBasin", "heat": "Microwave", "cool": "Fridge"}
"""Task type -> the receptacle without which it cannot be done, and which is never its target."""

KEY_RECEPTACLES = {
    "kitchen": ("Fridge", "Microwave", "SinkBasin", "CounterTop", "Cabinet"),
    "livingroom": ("Sofa", "CoffeeTable", "SideTable"),
    "bedroom": ("Bed", "Desk", "Drawer"),
    "bathroom": ("SinkBasin", "Toilet", "CounterTop", "Cabinet"),
}
"""What a room keeps first when `receptacles` limits their number."""

P_SHARED_PLACE = 0.2
"""Probability that a receptacle is in reach together with the one before it of its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is generated."""

    seed: int = 0  # other seed, other rooms and games
    kinds: tuple[str, ...] = tuple(KINDS)  # task types
    rooms: tuple[str, ...] = ROOMS  # kinds of room
    receptacles: int | None = None  # most receptacles a room has; None: as many as ALFRED's rooms
    objects: int | None = None  # most objects a room has; None: as many as ALFRED's rooms
    layouts: int = 27  # layouts per kind of room to train on; a quarter as many unseen ones
    apart_from: int | None = None  # a seed whose unseen layouts are left out of this one's

    def __post_init__(self) -> None:
        for name, given, known in (("kinds", self.kinds, KINDS), ("rooms", self.rooms, ROOMS)):
            for value in given:
                if value not in known:
                    raise ConfigError(
                        f"alfworld: {name} has {value!r}; known: {', '.join(known)}{closest(value, known)}"
                    )
        if not self.kinds:
            raise ConfigError("alfworld: kinds must name at least one task type")
        for kind in self.kinds:
            if not set(ROOM_SHARES[kind]) & set(self.rooms):
                raise ConfigError(
                    f"alfworld: no room of {self.rooms} has tasks of kind {kind!r}; they are set in: "
                    f"{', '.join(ROOM_SHARES[kind])}"
                )
        for name, number, least in (("receptacles", self.receptacles, 5), ("objects", self.objects, 4)):
            if number is not None and number < least:
                raise ConfigError(f"alfworld: {name} must be at least {least}, got {number}")
        if self.layouts < 1:
            raise ConfigError(f"alfworld: layouts must be at least 1, got {self.layouts}")


def kinds_in(rooms: Sequence[str]) -> tuple[str, ...]:
    """Return the task types that some of these kinds of room have."""
    return tuple(kind for kind, shares in ROOM_SHARES.items() if set(shares) & set(rooms))


@lru_cache(maxsize=64)
def kinds_of(settings: Settings, split: str, number: int) -> tuple[str, ...]:
    """Return the task type of each of a split's games; a longer split begins with the shorter one."""
    weights = np.array([KINDS[kind] for kind in settings.kinds], dtype=float)
    rng = np.random.default_rng([settings.seed, SPLITS.index(split), 0xC1])
    return tuple(settings.kinds[i] for i in rng.choice(len(weights), size=number, p=weights / weights.sum()))


def make_content(settings: Settings, split: str, index: int, kind: str) -> dict[str, Json]:
    """Generate one game.

    Returns:
        the content of its `game.tw-pddl`, which is the same for the same arguments on every machine, and
        under "traj_data" what `traj_data.json` holds.

    Raises:
        ConfigError: the settings leave no game of this kind.
    """
    return _make(settings, split, index, kind)[0]


@lru_cache(maxsize=512)
def generated_game(settings: Settings, split: str, index: int, kind: str) -> Game:
    """Return a compiled generated game."""
    return _make(settings, split, index, kind)[1]


def _make(settings: Settings, split: str, index: int, kind: str) -> tuple[dict[str, Json], Game]:
    """Draw games until one belongs to the split and can be won; returns its file's content and itself."""
    for attempt in range(400):
        rng = np.random.default_rng([settings.seed, SPLITS.index(split), index, attempt])
        plan = _plan(settings, split, kind, rng)
        if plan is None or not _belongs(plan, split):
            continue
        content = game_content(plan, f"trial_G{settings.seed}_{split}_{index:05d}")
        game = compile_game(content, name=f"generated {split} game {index}")
        win = shortest_win(game)
        if win is not None and len(win) > 1:
            return content | {"walkthrough": win}, game
    raise ConfigError(
        f"alfworld: no game of kind {kind!r} could be generated with {settings}",
        hint="allow more receptacles or rooms",
    )


def write_games(
    folder: str | Path, number: int, *, seed: int = 0, split: str = "train", settings: Settings | None = None
) -> list[Path]:
    """Write generated games as ALFWorld lays them out, for himac, TextWorld or ALFWorld's own loader.

    Args:
        folder: where the split's folder goes.
        number: how many games.
        seed: used where `settings` is None.
        split: "train", "valid_seen" or "valid_unseen".
        settings: what to generate.

    Returns:
        the game files, in the split's order of index.
    """
    settings = settings or Settings(seed=seed)
    if split not in SPLITS:
        raise ConfigError(
            f"alfworld: unknown split {split!r}; known: {', '.join(SPLITS)}{closest(split, SPLITS)}"
        )
    written = []
    for index, kind in enumerate(kinds_of(settings, split, number)):
        content = make_content(settings, split, index, kind)
        trajectory = content.pop("traj_data")
        home = Path(folder) / split / trajectory["folder"] / trajectory["task_id"]
        make_folder(home)
        write_text(home / GAME_FILE, json.dumps(content), durable=False)
        write_text(home / "traj_data.json", json.dumps(trajectory, indent=1), durable=False)
        written.append(home / GAME_FILE)
    return written


# Layouts.


@cache
def layout_pool(settings: Settings, room: str, unseen: bool) -> tuple[Layout, ...]:
    """Return the layouts of a kind of room: those to train on, or those kept unseen."""
    wanted = max(4, settings.layouts // 4) if unseen else settings.layouts
    found: list[Layout] = []
    taken: set[str] = set()
    if settings.apart_from is not None:
        other = replace(settings, seed=settings.apart_from, apart_from=None)
        taken = {_look(layout) for layout in layout_pool(other, room, unseen)}
    for number in range(200 * wanted):
        layout = make_layout(settings, room, number)
        if _is_unseen(layout) == unseen and not (taken and _look(layout) in taken):
            found.append(layout)
        if len(found) == wanted:
            return tuple(found)
    raise ConfigError(
        f"alfworld: too few different {room} layouts with {settings}", hint="allow more receptacles"
    )


def make_layout(settings: Settings, room: str, number: int) -> Layout:
    """Draw one layout."""
    rng = np.random.default_rng([settings.seed, ROOMS.index(room), number, 0x1A])
    counts = {
        kind: round(float(np.interp(rng.random() * (len(steps) - 1), range(len(steps)), steps)))
        for kind, steps in layouts()[room].items()
    }
    if settings.receptacles is not None:
        counts = _limited(counts, KEY_RECEPTACLES[room], settings.receptacles, rng)
    receptacles: list[Receptacle] = []
    for kind, count in counts.items():
        for i in range(count):
            shared = i > 0 and rng.random() < P_SHARED_PLACE
            where = [int(x) for x in rng.integers(-12, 13, size=2)] + [
                int(rng.integers(4)),
                int(rng.choice((30, 45, 60))),
            ]
            place = receptacles[-1].place if shared else "loc_bar_" + "_bar_".join(map(_mangled_int, where))
            receptacles.append(
                Receptacle(
                    name=_receptacle_name(kind, _position(rng)),
                    kind=kind,
                    place=place,
                    openable=bool(rng.random() < p_openable(kind)),
                )
            )
    return Layout(room=room, number=number, receptacles=tuple(receptacles))


def _limited(
    counts: dict[str, int], key: Sequence[str], limit: int, rng: np.random.Generator
) -> dict[str, int]:
    """Keep at most `limit` receptacles: one of each key type, then a random choice of the others."""
    kept = dict.fromkeys(key[:limit], 1)
    others = [kind for kind, count in counts.items() for _ in range(count - kept.get(kind, 0))]
    rng.shuffle(others)
    for kind in others[: limit - sum(kept.values())]:
        kept[kind] = kept.get(kind, 0) + 1
    return {kind: kept[kind] for kind in sorted(kept)}


def _is_unseen(layout: Layout) -> bool:
    """Decide by content: a fifth of all possible layouts is never trained on."""
    return _hash(_look(layout)) % 5 == 0


def _look(layout: Layout) -> str:
    """Return what makes two layouts of a kind of room the same one."""
    return repr((layout.room, sorted((r.kind, r.openable) for r in layout.receptacles)))


# Games.


def _plan(settings: Settings, split: str, kind: str, rng: np.random.Generator) -> Plan | None:
    """Draw a game; None when the drawn room has no task of this kind."""
    shares = {room: share for room, share in ROOM_SHARES[kind].items() if room in settings.rooms}
    weights = np.array(list(shares.values()), dtype=float)
    room = list(shares)[int(rng.choice(len(shares), p=weights / weights.sum()))]
    pool = layout_pool(settings, room, split == "valid_unseen")
    layout = pool[int(rng.integers(len(pool)))]
    goal = _goal(layout, kind, rng)
    if goal is None:
        return None
    wanted, target = goal
    sentence = SENTENCES[kind][int(rng.integers(2))].format(o=wanted.lower(), r=target.lower())
    objects = _objects(settings, layout, kind, wanted, target, rng)
    if objects is None:
        return None
    return Plan(layout=layout, kind=kind, object=wanted, target=target, objects=objects, sentence=sentence)


def _goal(layout: Layout, kind: str, rng: np.random.Generator) -> tuple[str, str] | None:
    """Choose an object type and where it goes (the lamp, for "look")."""
    present = {r.kind for r in layout.receptacles}
    if STATIONS.get(kind, "") not in present | {""}:
        return None
    table = stocks()[layout.room]
    movable = [
        (name, stock)
        for name, stock in table.items()
        if name not in attributes()["fixed"]
        and set(stock.places) & present
        and (kind not in NEEDS or name in attributes()[NEEDS[kind]])
    ]
    if kind == "look":
        if "DeskLamp" not in table or not set(table["DeskLamp"].places) & present:
            return None
        choices = [(name, "DeskLamp", sum(stock.shares)) for name, stock in movable]
    else:
        choices = [
            (name, target, sum(stock.shares))
            for name, stock in movable
            for target in sorted(present)
            if name in contains().get(target, frozenset())
            and target != STATIONS.get(kind)
            and (kind in NEEDS or (set(stock.places) & present) - {target})
        ]
    if not choices:
        return None
    names = sorted({choice[0] for choice in choices})
    weights = np.array([next(w for n, _, w in choices if n == name) for name in names])
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    targets = [target for n, target, _ in choices if n == name]
    return name, targets[int(rng.integers(len(targets)))]


def _objects(
    settings: Settings, layout: Layout, kind: str, wanted: str, target: str, rng: np.random.Generator
) -> tuple[tuple[str, str, Receptacle], ...] | None:
    """Draw what lies where; the goal's objects come first, so that a limit never drops them."""
    numbers = {name: _number(stock, rng) for name, stock in stocks()[layout.room].items()}
    numbers[wanted] = max(numbers[wanted], 2 if kind == "pick2" else 1)
    if kind == "look":
        numbers["DeskLamp"] = max(numbers["DeskLamp"], 1)
    needed = [wanted] * (2 if kind == "pick2" else 1) + (["DeskLamp"] if kind == "look" else [])
    others = [name for name, number in numbers.items() for _ in range(number - needed.count(name))]
    rng.shuffle(others)
    if settings.objects is not None:
        others = others[: max(0, settings.objects - len(needed))]
    placed = []
    for i, name in enumerate([*needed, *others]):
        banned = target if name == wanted and kind in ("pick", "pick2") else ""
        spot = _spot(layout, name, banned, rng)
        if spot is None:
            if i < len(needed):
                return None
            continue
        placed.append((f"{name}_bar_{_position(rng)}", name, spot))
    return tuple(placed)


def _number(stock: Stock, rng: np.random.Generator) -> int:
    """Draw how many of an object type there are: one, two, three, or none."""
    left = rng.random()
    for number, share in enumerate(stock.shares, start=1):
        left -= share
        if left < 0:
            return number
    return 0


def _spot(layout: Layout, name: str, banned: str, rng: np.random.Generator) -> Receptacle | None:
    places = stocks()[layout.room][name].places
    present = {r.kind for r in layout.receptacles} - {banned}
    kinds = [kind for kind in places if kind in present]
    if not kinds:
        return None
    weights = np.array([places[kind] for kind in kinds])
    choices = layout.of(kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))])
    return choices[int(rng.integers(len(choices)))]


def _belongs(plan: Plan, split: str) -> bool:
    """Decide by content whether a game on a known layout is for training or for valid_seen."""
    if split == "valid_unseen":
        return True
    lying = sorted((kind, where.name) for _, kind, where in plan.objects)
    held_out = (
        _hash(repr((plan.layout.room, plan.layout.number, plan.kind, plan.object, plan.target, lying))) % 8
        == 0
    )
    return held_out == (split == "valid_seen")


# Names.


def _position(rng: np.random.Generator) -> str:
    """Draw a position in a room, written as ALFRED's ids are mangled into PDDL names."""
    numbers = (rng.uniform(-4, 4), rng.uniform(0, 2), rng.uniform(-4, 4))
    return "_bar_".join(
        re.sub(r"\.", "_dot_", f"{'_minus_' if x < 0 else '_plus_'}{abs(x):05.2f}") for x in numbers
    )


def _mangled_int(number: int) -> str:
    return f"_minus_{-number}" if number < 0 else str(number)


def _receptacle_name(kind: str, position: str) -> str:
    if kind.endswith("Basin"):  # ALFRED names basins after the sink or bathtub they belong to
        return f"{kind.removesuffix('Basin')}_bar_{position}_bar_{kind}"
    return f"{kind}_bar_{position}"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
