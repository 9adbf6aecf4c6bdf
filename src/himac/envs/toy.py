"""The toy world: keys, doors and a treasure, in a dozen steps of plain text.

The smallest world in which a plan matters. Rooms form a tree; behind the first door lies the key
of the second, behind the last the treasure. Hands hold one thing and never drop it, keys are used up, and
one more key opens only an empty room: whoever takes it first walks a long way to get rid of it. So the
sub-goals can be met in one order alone, random play almost never ends well, and a right plan always does.

The whole map stands in every observation: planning is possible from the first one, and nothing has to be
remembered. Left out: hidden rooms, dropping, chance.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated

from himac.envs.splits import SEALED, SPLITS, pick, refused_split, rng_from, shuffled, split_of
from himac.envs.toy_example import EXAMPLE_PLAY
from himac.errors import ConfigError, EnvError
from himac.toml import Number, Positive, at_least
from himac.types import Demonstration, EnvSpec, Observation, StepResult, Task

ROOMS = ("hall", "kitchen", "library", "garden", "cellar", "attic", "study", "tower", "barn", "porch")
COLOURS = ("red", "blue", "green", "white", "black")
TREASURE = "treasure"
REWARD_SUCCESS = 10.0
MAX_DOORS = len(COLOURS) - 1  # one colour is the decoy's

RULES = """You are in a house of rooms. Locked doors have colours; a door opens with the key of its colour.
You can carry one thing at a time and cannot put it down. Opening a door uses up its key.
Actions: "go to ROOM" (a room next to yours, not behind a locked door), "take COLOUR key", "open COLOUR door"
(from a room next to the door, carrying its key), "take treasure" (with empty hands)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A locked door between two rooms."""

    colour: str
    near: str  # room on the side that is reached first
    far: str  # room behind the door


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One house: what never changes while it is played."""

    start: str  # room
    passages: tuple[tuple[str, str], ...]  # pairs of rooms joined without a door
    doors: tuple[Door, ...]
    items: tuple[tuple[str, str], ...]  # (item, room) at the start
    needed: tuple[str, ...]  # colours of the doors on the way to the treasure, in order

    @property
    def identity(self) -> bytes:
        """What makes this house this house; decides its split."""
        return repr((self.start, self.passages, self.doors, self.items)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where things stand in a house."""

    room: str
    carrying: str = ""  # item in hand; "" for none
    opened: frozenset[str] = frozenset()  # colours of opened doors
    taken: frozenset[str] = frozenset()  # items no longer where they lay


def generate(rng: random.Random, *, doors: int) -> Layout:
    """Make a house with `doors` doors on the way to the treasure and one decoy door."""
    names = iter(shuffled(rng, ROOMS))
    colours = shuffled(rng, COLOURS)[: doors + 1]
    first_zone = [next(names), next(names)]
    passages = [(first_zone[0], first_zone[1])]
    zones = [first_zone]
    locked: list[Door] = []
    for colour in colours[:doors]:
        near = zones[-1][pick(rng, len(zones[-1]))]
        far = next(names)
        locked.append(Door(colour=colour, near=near, far=far))
        zones.append([far])
        if rng.random() < 0.5 and len(zones) <= 3:
            zones[-1].append(next(names))
            passages.append((far, zones[-1][-1]))
    decoy_near = zones[-2][pick(rng, len(zones[-2]))]
    locked.append(Door(colour=colours[doors], near=decoy_near, far=next(names)))
    items = [(f"{colour} key", zone[pick(rng, len(zone))]) for colour, zone in zip(colours[:doors], zones)]
    items.append((f"{colours[doors]} key", first_zone[pick(rng, 2)]))
    items.append((TREASURE, zones[-1][-1]))
    return Layout(
        start=first_zone[pick(rng, 2)],
        passages=tuple(sorted(passages)),
        doors=tuple(sorted(locked, key=lambda door: door.colour)),
        items=tuple(sorted(items)),
        needed=colours[:doors],
    )


def admissible(layout: Layout, state: State) -> tuple[str, ...]:
    """Return every action that changes the state: moves, then takes, then doors, each in map order."""
    moves = [f"go to {room}" for room in _neighbours(layout, state)]
    takes = [
        f"take {item}"
        for item, room in layout.items
        if room == state.room and item not in state.taken and not state.carrying
    ]
    opens = [
        f"open {door.colour} door"
        for door in layout.doors
        if state.room in (door.near, door.far) and state.carrying == f"{door.colour} key"
    ]
    return (*moves, *takes, *opens)


def apply(state: State, action: str) -> State:
    """Return the state after an admissible action."""
    if action.startswith("go to "):
        return replace(state, room=action.removeprefix("go to "))
    if action.startswith("take "):
        item = action.removeprefix("take ")
        return replace(state, carrying=item, taken=state.taken | {item})
    colour = action.removeprefix("open ").removesuffix(" door")
    return replace(state, carrying="", opened=state.opened | {colour})


def describe(layout: Layout, state: State) -> str:
    """Return the whole world as text."""
    ways = [f"{a} - {b}" for a, b in layout.passages]
    ways += [f"{door.near} - {door.far}" for door in layout.doors if door.colour in state.opened]
    locks = [
        f"{door.colour} door between {door.near} and {door.far}"
        for door in layout.doors
        if door.colour not in state.opened
    ]
    items = [f"{item} in {room}" for item, room in layout.items if item not in state.taken]
    return "\n".join(
        (
            f"Ways: {', '.join(ways)}.",
            f"Locked: {', '.join(locks) or 'nothing'}.",
            f"Things: {', '.join(items) or 'nothing'}.",
            f"You are in {state.room}. You carry {state.carrying or 'nothing'}.",
        )
    )


def draw(layout: Layout, state: State) -> str:
    """Return the house as a tree of rooms, for people: "@ |- [red door] attic: green key" is where the player stands."""
    near: dict[str, list[tuple[str, str]]] = {}  # room -> (door that is still locked, room behind)
    for a, b in layout.passages:
        near.setdefault(a, []).append(("", b))
        near.setdefault(b, []).append(("", a))
    for door in layout.doors:
        locked = "" if door.colour in state.opened else f"[{door.colour} door] "
        near.setdefault(door.near, []).append((locked, door.far))
    rows: list[str] = []
    drawn: set[str] = set()

    def add(room: str, depth: int, locked: str) -> None:
        drawn.add(room)
        things = ", ".join(item for item, at in layout.items if at == room and item not in state.taken)
        branch = "| " * (depth - 1) + "|- " if depth else ""
        here = "@" if room == state.room else " "
        rows.append(f"{here} {branch}{locked}{room}{': ' if things else ''}{things}")
        for door, other in near.get(room, ()):
            if other not in drawn:
                add(other, depth + 1, door)

    add(layout.start, 0, "")
    rows.append(f"You carry {'the ' + state.carrying if state.carrying else 'nothing'}.")
    return "\n".join(rows)


def shortest_play(layout: Layout, state: State) -> tuple[str, ...] | None:
    """Return the shortest action sequence that takes the treasure, or None when there is none."""
    queue: deque[tuple[State, tuple[str, ...]]] = deque([(state, ())])
    seen = {state}
    while queue:
        here, path = queue.popleft()
        if here.carrying == TREASURE:
            return path
        for action in admissible(layout, here):
            there = apply(here, action)
            if there not in seen:
                seen.add(there)
                queue.append((there, (*path, action)))
    return None


@lru_cache(maxsize=65536)
def layout_at(split: str, index: int, doors: int) -> Layout:
    """Return house number `index` of a split: the first of its candidates that belongs there."""
    for attempt in range(1000):
        layout = generate(rng_from("toy", doors, split, index, attempt), doors=doors)
        if split_of(layout.identity) == split:
            return layout
    raise AssertionError("a thousand houses in a row belong to other splits")


@lru_cache(maxsize=65536)
def sealed_layout_at(index: int, doors: int, test: int) -> Layout:
    """Return a house of the sealed split: held out as the test split's are, from other seeds, and none of its houses."""
    for attempt in range(1000):
        layout = generate(rng_from("toy", SEALED, doors, index, attempt), doors=doors)
        if split_of(layout.identity) == "test" and layout.identity not in _test_identities(doors, test):
            return layout
    raise ConfigError(f"toy has too few houses with {doors} doors for a sealed split of {test}")


@lru_cache(maxsize=8)
def _test_identities(doors: int, test: int) -> frozenset[bytes]:
    return frozenset(layout_at("test", index, doors).identity for index in range(test))


class ToyEnv:
    """The toy world as an `Env`. Reward is 10 for the treasure and 0 otherwise."""

    def __init__(
        self, *, doors: int, max_steps: int, sizes: dict[str, int], least_doors: int | None = None
    ) -> None:
        self.doors = doors
        self._least = least_doors or doors
        self.spec = EnvSpec(
            name="toy",
            rules=RULES,
            example_subgoals=("get the red key", "open the red door", "take the treasure"),
            max_steps=max_steps,
            list_admissible=True,
            splits=SPLITS,
            reward_success=REWARD_SUCCESS,
            goal="take the treasure",
            example_play=EXAMPLE_PLAY,
        )
        self._tasks = {
            split: tuple(self._task(split, index) for index in range(size)) for split, size in sizes.items()
        }
        self._layout: Layout | None = None
        self._state = State(room="")
        self._num_steps = 0
        self._over = False

    def tasks(self, split: str) -> Sequence[Task]:
        """Return the split's tasks in their fixed order."""
        if split not in self._tasks:
            raise refused_split("toy", split, SPLITS)
        return self._tasks[split]

    def sealed(self) -> Sequence[Task]:
        """Return the sealed tasks, as many as the test split has, see `himac.envs.base.Seals`."""
        return tuple(replace(task, split=SEALED) for task in self._tasks["test"])

    def layout(self, task: Task) -> Layout:
        """Return the house of a task."""
        tasks = self.sealed() if task.split == SEALED else self.tasks(task.split)
        if not 0 <= task.index < len(tasks):
            raise ConfigError(f"toy split {task.split!r} has {len(tasks)} tasks, got index {task.index}")
        doors = self._doors_of(task.index)
        if task.split == SEALED:
            return sealed_layout_at(task.index, doors, len(tasks))
        return layout_at(task.split, task.index, doors)

    def _task(self, split: str, index: int) -> Task:
        kind = "" if self._least == self.doors else f"doors{self._doors_of(index)}"
        return Task(env="toy", split=split, index=index, kind=kind)

    def _doors_of(self, index: int) -> int:  # each number in turn, where there are several
        return self._least + index % (self.doors - self._least + 1)

    def reset(self, task: Task, *, seed: int = 0) -> Observation:
        """Start a task; the seed changes nothing."""
        self._layout = self.layout(task)
        self._state = State(room=self._layout.start)
        self._num_steps, self._over = 0, False
        return self._observe(self._layout)

    def step(self, action: str) -> StepResult:
        """Carry out one action; one that is not admissible changes nothing and is reported as not valid."""
        if self._layout is None or self._over:
            raise EnvError(
                "toy: step called " + ("before reset" if self._layout is None else "after the episode's end"),
                hint="call reset(task) first",
            )
        action = " ".join(action.lower().split())
        valid = action in admissible(self._layout, self._state)
        if valid:
            self._state = apply(self._state, action)
        self._num_steps += 1
        success = self._state.carrying == TREASURE
        truncated = not success and self._num_steps >= self.spec.max_steps
        self._over = success or truncated
        num_met = len(self._state.opened.intersection(self._layout.needed)) + success
        return StepResult(
            observation=self._observe(self._layout, "" if valid else "Nothing happens.\n"),
            reward=REWARD_SUCCESS if success else 0.0,
            terminated=success,
            truncated=truncated,
            success=success,
            score=num_met / (len(self._layout.needed) + 1),
            valid=valid,
        )

    def board(self) -> str:
        """Return the house as a tree of rooms."""
        if self._layout is None:
            raise EnvError("toy: board called before reset", hint="call reset(task) first")
        return draw(self._layout, self._state)

    def expert(self) -> ToyExpert:
        """Return the solver that demonstrates."""
        return ToyExpert(self)

    def close(self) -> None:
        """Release nothing: there is nothing to release."""

    def _observe(self, layout: Layout, prefix: str = "") -> Observation:
        return Observation(
            text=prefix + describe(layout, self._state), admissible=admissible(layout, self._state)
        )


class ToyExpert:
    """Plays the shortest way; noise makes it wander between rooms and find back."""

    def __init__(self, env: ToyEnv) -> None:
        self.env = env

    def demonstrate(self, task: Task, *, seed: int = 0, noise: float = 0.0) -> Demonstration | None:
        """Play a task. Noise only ever walks, so the blueprint stays what really happens."""
        layout = self.env.layout(task)
        state = State(room=layout.start)
        plan = shortest_play(layout, state)
        if plan is None or len(plan) > self.env.spec.max_steps:
            return None
        subgoals = tuple(_subgoal(action) for action in plan if not action.startswith("go to "))
        rng = rng_from("toy noise", task.split, task.index, seed)
        actions: list[str] = []
        segment_of: list[int] = []
        is_noise: list[bool] = []
        segment = 0
        while plan:
            action, noisy = plan[0], False
            if rng.random() < noise:
                others = [a for a in admissible(layout, state) if a.startswith("go to ") and a != action]
                if others:
                    action, noisy = others[pick(rng, len(others))], True
            after = apply(state, action)
            rest = shortest_play(layout, after)
            if noisy and (rest is None or len(actions) + 1 + len(rest) > self.env.spec.max_steps):
                action, noisy, after, rest = plan[0], False, apply(state, plan[0]), plan[1:]
            actions.append(action)
            segment_of.append(segment)
            is_noise.append(noisy)
            segment += not action.startswith("go to ")
            state, plan = after, rest or ()
        return Demonstration(
            task=task,
            subgoals=subgoals,
            actions=tuple(actions),
            segment_of=tuple(segment_of),
            is_noise=tuple(is_noise),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToySettings:
    """A toy world's settings."""

    doors: Annotated[int, at_least(1, MAX_DOORS)] = 3  # locked doors on the way to the treasure
    # fewest doors of a house: with fewer than `doors`, tasks have each number in turn; left out: as many as `doors`
    least_doors: Annotated[int, at_least(1, MAX_DOORS)] | None = None
    max_steps: Positive = 20  # environment steps until the episode is truncated
    train: Number = 2000  # tasks of each split
    val: Number = 200
    test: Number = 200


def make(settings: ToySettings) -> ToyEnv:
    """Make a toy world."""
    sizes = {"train": settings.train, "val": settings.val, "test": settings.test}
    if settings.least_doors is not None and settings.least_doors > settings.doors:
        raise ConfigError(
            f"env.least_doors must be at most env.doors, {settings.doors}, got {settings.least_doors}"
        )
    return ToyEnv(
        doors=settings.doors, max_steps=settings.max_steps, sizes=sizes, least_doors=settings.least_doors
    )


def _neighbours(layout: Layout, state: State) -> list[str]:
    edges = [*layout.passages, *((d.near, d.far) for d in layout.doors if d.colour in state.opened)]
    return [b if a == state.room else a for a, b in edges if state.room in (a, b)]


def _subgoal(action: str) -> str:
    verb, rest = action.split(" ", 1)
    return f"get the {rest}" if verb == "take" and rest != TREASURE else f"{verb} the {rest}"
