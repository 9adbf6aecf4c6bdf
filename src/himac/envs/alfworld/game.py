"""One game, compiled: things as numbers in the world's order, the start, the goal, the sentences.

Everything that cannot change lives here once and is shared by all environments that play the
game; `world.World` holds only what changes. Things are numbered in the order of their PDDL names, which is
the order in which ALFWorld lists them, so sorted numbers are sorted lists.

Left out: playing (`world`), finding files (`catalog`).
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from himac.envs.alfworld import goal as goals
from himac.envs.alfworld.rules import Rules, read_rules
from himac.envs.alfworld.sexpr import SExpr, read, section, typed
from himac.envs.alfworld.wording import Wording, read_wording
from himac.errors import DataError
from himac.files import parse_json, reason
from himac.types import Json

Numbers = tuple[int, ...]
"""Things of one sort, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialState:
    """What holds when the game begins and may change."""

    at: int  # location of the agent
    held: int  # object in hand, -1 for none
    inside: tuple[Numbers, ...]  # receptacle -> objects in or on it
    lying: tuple[Numbers, ...]  # location -> objects that (objectAtLocation) puts there
    opened: frozenset[int]  # receptacles that stand open
    states: dict[str, frozenset[int]]  # "hot", "cool", "clean", "sliced", "on" -> objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """What never changes in one game."""

    task: str  # "Your task is to: put a clean mug in desk."
    wording: Wording
    rules: Rules
    objects: tuple[str, ...]  # object -> "mug 1"
    receptacles: tuple[str, ...]  # receptacle -> "desk 1"
    locations: tuple[str, ...]  # location -> "loc 12"
    place: tuple[int, ...]  # receptacle -> location, -1 where it has none
    here: tuple[Numbers, ...]  # location -> receptacles
    openable: frozenset[int]  # receptacles
    kinds: dict[str, frozenset[int]]  # "pickupable", "cleanable", ... -> objects
    inner: dict[int, Numbers]  # receptacle object -> objects inside it
    fits: tuple[frozenset[int], ...]  # receptacle -> objects it can take
    cleaners: frozenset[int]  # receptacles that clean
    heaters: frozenset[int]  # receptacles that heat
    coolers: frozenset[int]  # receptacles that cool
    knives: frozenset[int]  # objects that slice
    goal: goals.Goal  # atoms over numbers
    decisive: frozenset[str]  # predicates the goal depends on
    start: InitialState
    commands: dict[tuple[str | int, ...], str] = field(
        default_factory=dict
    )  # (action, things) -> command, filled while playing
    actions: dict[str, tuple[str | int, ...]] = field(
        default_factory=dict
    )  # command -> (action, things), likewise
    travel: dict[int, tuple[str, ...]] = field(default_factory=dict)  # location -> its unconditional commands


KINDS = ("pickupable", "cleanable", "heatable", "coolable", "sliceable", "toggleable", "isreceptacleobject")
STATES = {"hot": "ishot", "cool": "iscool", "clean": "isclean", "sliced": "issliced", "on": "istoggled"}
FIELDS = ("pddl_domain", "grammar", "pddl_problem")


def load_game(path: Path) -> Game:
    """Read one `game.tw-pddl` file.

    Raises:
        DataError: the file is damaged or foreign; the message names file and field.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable JSON file ({reason(error)})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: one JSON object expected, got {type(content).__name__}")
    return compile_game(content, name=str(path))


def compile_game(content: dict[str, Json], *, name: str) -> Game:
    """Compile a game from its file's fields `pddl_domain`, `grammar` and `pddl_problem`.

    Args:
        content: the file as JSON.
        name: what errors call the game.

    Raises:
        DataError: naming the game and the field at fault.
    """
    stage = ""
    try:
        for stage in FIELDS:
            if not isinstance(content.get(stage), str):
                raise DataError("missing" if stage not in content else "text expected")
        stage = "pddl_domain"
        rules = read_rules(content[stage])
        stage = "grammar"
        wording, task = read_wording(content[stage])
        stage = "pddl_problem"
        return _Compiler(read(content[stage]), rules, wording, task).compile()
    except DataError as error:
        raise DataError(f"{name}: field {stage!r}: {error}") from None
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{name}: field {stage!r}: unexpected form ({type(error).__name__}: {error})"
        ) from None


class _Compiler:
    """Turns a problem's facts into a Game."""

    def __init__(self, problem: list[SExpr], rules: Rules, wording: Wording, task: str) -> None:
        self.rules, self.wording, self.task = rules, wording, task
        self.members: dict[str, list[str]] = defaultdict(list)
        for thing, kind in typed(section(problem, ":objects")):
            self.members[kind].append(thing)
        found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        for fact in section(problem, ":init"):
            if not isinstance(fact, list) or not all(isinstance(word, str) for word in fact):
                continue  # numbers, (= (distance a b) 3) and (= (total-cost) 0), which no action reads
            found[str(fact[0])].add(tuple(map(str, fact[1:])))
        self.facts = {predicate: frozenset(rows) for predicate, rows in found.items()}
        self.goal = section(problem, ":goal")[0]
        used = {thing for rows in self.facts.values() for row in rows for thing in row}
        names = _names(used)
        self.ids = {
            kind: sorted(thing for thing in self.members[kind] if thing in used)
            for kind in ("object", "receptacle", "location", "agent")
        }
        self.names = {kind: tuple(names[thing] for thing in ids) for kind, ids in self.ids.items()}
        self.number = {kind: {thing: i for i, thing in enumerate(ids)} for kind, ids in self.ids.items()}

    def compile(self) -> Game:
        places = self._pairs("receptacleatlocation", "receptacle", "location")
        if len(dict(places)) != len(places):
            raise DataError("a receptacle stands at two locations")
        goal = self._numbered(
            goals.ground(self.goal, self.facts, {k: tuple(v) for k, v in self.members.items()})
        )
        types = {kind: self._types(f"{kind}type", kind) for kind in ("object", "receptacle")}
        by_type = defaultdict(set)
        for thing, kinds in types["object"].items():
            for kind in kinds:
                by_type[kind].add(thing)
        contain: dict[str, set[int]] = defaultdict(set)
        for holder, kind in self.facts.get("cancontain", ()):
            contain[holder] |= by_type[kind]
        fits = {holder: frozenset(things) for holder, things in contain.items()}
        none: frozenset[int] = frozenset()
        return Game(
            task=self.task,
            wording=self.wording,
            rules=self.rules,
            objects=self.names["object"],
            receptacles=self.names["receptacle"],
            locations=self.names["location"],
            place=tuple(dict(places).get(r, -1) for r in range(len(self.ids["receptacle"]))),
            here=_grouped(((l, r) for r, l in places), len(self.ids["location"])),
            openable=self._set("openable", "receptacle"),
            kinds={kind: self._set(kind, "object") for kind in KINDS},
            inner={
                outer: tuple(
                    sorted(
                        o
                        for o, holder in self._pairs("inreceptacleobject", "object", "object")
                        if holder == outer
                    )
                )
                for outer in self._set("isreceptacleobject", "object")
            },
            fits=tuple(
                none.union(*(fits.get(kind, none) for kind in types["receptacle"].get(r, ())))
                for r in range(len(self.ids["receptacle"]))
            ),
            cleaners=_of(types["receptacle"], self.rules.cleaners),
            heaters=_of(types["receptacle"], self.rules.heaters),
            coolers=_of(types["receptacle"], self.rules.coolers),
            knives=_of(types["object"], self.rules.knives),
            goal=goal,
            decisive=goals.predicates(goal),
            start=self._start(),
        )

    def _start(self) -> InitialState:
        at = [self.number["location"][row[1]] for row in self.facts.get("atlocation", ())]
        if len(at) != 1:
            raise DataError(f"the agent must start at one location, got {len(at)}")
        held = [self.number["object"][row[1]] for row in self.facts.get("holds", ())]
        if len(held) > 1:
            raise DataError(f"the agent can hold one object, got {len(held)}")
        return InitialState(
            at=at[0],
            held=held[0] if held else -1,
            inside=_grouped(
                ((r, o) for o, r in self._pairs("inreceptacle", "object", "receptacle")),
                len(self.ids["receptacle"]),
            ),
            lying=_grouped(
                ((l, o) for o, l in self._pairs("objectatlocation", "object", "location")),
                len(self.ids["location"]),
            ),
            opened=self._set("opened", "receptacle"),
            states={state: self._set(predicate, "object") for state, predicate in STATES.items()},
        )

    def _set(self, predicate: str, kind: str) -> frozenset[int]:
        number = self.number[kind]
        return frozenset(number[row[0]] for row in self.facts.get(predicate, ()))

    def _pairs(self, predicate: str, first: str, second: str) -> list[tuple[int, int]]:
        one, two = self.number[first], self.number[second]
        return [(one[row[0]], two[row[1]]) for row in self.facts.get(predicate, ())]

    def _types(self, predicate: str, kind: str) -> dict[int, tuple[str, ...]]:
        types: dict[int, tuple[str, ...]] = {}
        for thing, of in self.facts.get(predicate, ()):
            types[self.number[kind][thing]] = (*types.get(self.number[kind][thing], ()), of)
        return types

    def _numbered(self, goal: goals.Goal) -> goals.Goal:
        """Replace the names in a goal's atoms by numbers."""
        if isinstance(goal, bool):
            return goal
        if goal[0] in ("and", "or", "not"):
            return (goal[0], *(self._numbered(part) for part in goal[1:]))
        kinds = {
            "atlocation": ("agent", "location"),
            "inreceptacle": ("object", "receptacle"),
            "objectatlocation": ("object", "location"),
            "holds": ("agent", "object"),
            "holdsany": ("agent",),
            "opened": ("receptacle",),
        }.get(goal[0], ("object",))
        # A thing without any fact is never in reach: -2 equals no number.
        return (
            goal[0],
            *(self.number[kind].get(thing, -2) for kind, thing in zip(kinds, goal[1:], strict=True)),
        )


def _names(things: set[str]) -> dict[str, str]:
    """Give every PDDL name its name in the text (quirks "numbers" and "basin")."""
    order = sorted(things)
    bases: dict[str, str] = {}
    for thing in order:
        base, bar, _ = thing.partition("_bar_")
        if bar:
            bases[thing] = base + "basin" if "basin" in thing else base
    left = Counter(bases.values())
    names = {}
    for thing in order:
        if thing in bases:
            names[thing] = f"{bases[thing]} {left[bases[thing]]}"
            left[bases[thing]] -= 1
        else:
            names[thing] = f"{thing} "
    return names


def _grouped(pairs: object, size: int) -> tuple[Numbers, ...]:
    groups: list[list[int]] = [[] for _ in range(size)]
    for group, member in pairs:  # type: ignore[attr-defined]
        insort(groups[group], member)
    return tuple(map(tuple, groups))


def _of(types: dict[int, tuple[str, ...]], wanted: frozenset[str]) -> frozenset[int]:
    return frozenset(thing for thing, kinds in types.items() if wanted.intersection(kinds))
