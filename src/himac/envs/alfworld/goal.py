"""A game's goal: PDDL formula -> a small tree over the facts that can change.

Quantifiers are expanded and facts that never change are evaluated away when the game is loaded,
so that during play a handful of set look-ups decides whether the game is won.

Left out: derived predicates and numbers, which no ALFWorld goal uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from himac.envs.alfworld.sexpr import SExpr, typed
from himac.errors import DataError

CHANGING = frozenset(
    {
        "atlocation",
        "inreceptacle",
        "objectatlocation",
        "holds",
        "holdsany",
        "opened",
        "isclean",
        "ishot",
        "iscool",
        "istoggled",
        "issliced",
    }
)
"""Predicates that an action changes and a goal may ask for."""

Goal = bool | tuple[Any, ...]
"""True, False, ("and" | "or", Goal, ...), ("not", Goal) or an atom (predicate, argument, ...)."""

Facts = Mapping[str, frozenset[tuple[str, ...]]]
"""Predicate -> argument tuples that hold when the game starts."""


def ground(formula: SExpr, facts: Facts, members: Mapping[str, tuple[str, ...]]) -> Goal:
    """Expand a goal over a game's things.

    Args:
        formula: the goal as read.
        facts: what holds at the start; predicates outside `CHANGING` keep it for ever.
        members: type -> its things.

    Raises:
        DataError: a connective or predicate that himac does not know.
    """
    return _Grounder(facts, members).expand(formula, {})


def predicates(goal: Goal) -> frozenset[str]:
    """Return the predicates a grounded goal depends on."""
    if isinstance(goal, bool):
        return frozenset()
    if goal[0] in ("and", "or", "not"):
        return frozenset().union(*map(predicates, goal[1:]))
    return frozenset({goal[0]})


def atoms(goal: Goal) -> Iterator[tuple[str, ...]]:
    """Yield every atom of a grounded goal, repeats included."""
    if isinstance(goal, tuple):
        if goal[0] in ("and", "or", "not"):
            for part in goal[1:]:
                yield from atoms(part)
        else:
            yield goal


class _Grounder:
    def __init__(self, facts: Facts, members: Mapping[str, tuple[str, ...]]) -> None:
        self.facts = facts
        self.members = members
        self._tables: dict[tuple[str, int], dict[tuple[str, ...], set[str]]] = {}

    def expand(self, formula: SExpr, bound: dict[str, str]) -> Goal:
        if isinstance(formula, str):
            raise DataError(f"a formula in parentheses was expected, got {formula!r}")
        head, *parts = formula
        if not isinstance(head, str):
            raise DataError(f"a predicate was expected, got {head!r}")
        if head == "and":
            return _combine("and", False, (self.expand(part, bound) for part in parts))
        if head == "or":
            return _combine("or", True, (self.expand(part, bound) for part in parts))
        if head == "not":
            return _negate(self.expand(parts[0], bound))
        if head in ("exists", "forall"):
            return self._quantified(head, parts, bound)
        arguments = tuple(bound.get(str(word), str(word)) for word in parts)
        if head == "=":
            return arguments[0] == arguments[1]
        if head in CHANGING:
            return (head, *arguments)
        return arguments in self.facts.get(head, frozenset())

    def _quantified(self, head: str, parts: list[SExpr], bound: dict[str, str]) -> Goal:
        variables, body = parts
        if not isinstance(variables, list):
            raise DataError(f"({head} ...) needs a list of variables, got {variables!r}")
        if head == "forall":
            negated: SExpr = ["exists", variables, ["not", body]]
            return _negate(self.expand(negated, bound))
        bindings = self._bindings(typed(variables), body, bound)
        return _combine("or", True, (self.expand(body, binding) for binding in bindings))

    def _bindings(
        self, variables: list[tuple[str, str]], body: SExpr, bound: dict[str, str]
    ) -> Iterator[dict[str, str]]:
        """Yield the bindings of `variables` that no unchanging fact of `body` rules out."""
        if not variables:
            yield bound
            return
        (name, kind), rest = variables[0], variables[1:]
        for thing in self._candidates(name, kind, body, bound):
            yield from self._bindings(rest, body, {**bound, name: thing})

    def _candidates(self, name: str, kind: str, body: SExpr, bound: dict[str, str]) -> Iterable[str]:
        known = self.members.get(kind, ())
        if not isinstance(body, list) or body[0] != "and":
            return known
        for part in body[1:]:
            if not isinstance(part, list) or part[0] in CHANGING or part[0] not in self.facts:
                continue
            pattern = [bound.get(str(word), str(word)) for word in part[1:]]
            if [word for word in pattern if word.startswith("?")] == [name]:
                place = pattern.index(name)
                fitting = self._rows(str(part[0]), place).get(_others(tuple(pattern), place), set())
                known = tuple(thing for thing in known if thing in fitting)
        return known

    def _rows(self, predicate: str, place: int) -> dict[tuple[str, ...], set[str]]:
        """Return a fact table's column, looked up by the other columns."""
        if (predicate, place) not in self._tables:
            table: dict[tuple[str, ...], set[str]] = {}
            for row in self.facts[predicate]:
                table.setdefault(_others(row, place), set()).add(row[place])
            self._tables[predicate, place] = table
        return self._tables[predicate, place]


def _others(row: tuple[str, ...], place: int) -> tuple[str, ...]:
    return row[:place] + row[place + 1 :]


def _negate(goal: Goal) -> Goal:
    return not goal if isinstance(goal, bool) else ("not", goal)


def _combine(connective: str, decisive: bool, parts: Iterable[Goal]) -> Goal:
    """Join the parts; one `decisive` part decides, the opposite constants drop out."""
    kept: list[Goal] = []
    for part in parts:
        if isinstance(part, bool):
            if part == decisive:
                return decisive
        else:
            kept.append(part)
    if not kept:
        return not decisive
    return kept[0] if len(kept) == 1 else (connective, *kept)
