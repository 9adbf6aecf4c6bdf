"""Every oddity of ALFWorld that himac copies, with its reason and where it is copied.

Parity is kept by knowing each oddity by name. Code that does something strange names its quirk;
the tests have a test for each; the documentation prints this table. Nothing here is run during play.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """One oddity."""

    name: str
    what: str  # what a player sees
    why: str  # what in TextWorld, ALFWorld or the planner brings it about
    where: str  # module that copies it


QUIRKS = (
    Quirk(
        name="numbers",
        what="numbers run down while names run up: the first cabinet by id is the one with the highest number",
        why="ALFWorld's demangler sorts all ids and pops numbers off the end of the list for each type",
        where="game",
    ),
    Quirk(
        name="basin",
        what="a sink's id with 'basin' anywhere in it is called sinkbasin, a bathtub's bathtubbasin",
        why="the demangler appends 'basin' to the part before the first bar whenever the id contains it",
        where="game",
    ),
    Quirk(
        name="list-order",
        what="lists in the text follow the ids, so numbers within a type run down",
        why="TextWorld sorts the facts that a list ranges over, and facts carry ids",
        where="game",
    ),
    Quirk(
        name="command-order",
        what="'go to cabinet 10' stands before 'go to cabinet 2'",
        why="the admissible commands are a sorted set of strings",
        where="world",
    ),
    Quirk(
        name="article",
        what="'a apple 1'",
        why="TextWorld sets every thing's indefinite article to 'a'",
        where="wording, world",
    ),
    Quirk(
        name="comma-and",
        what="'a mug 1, and a pen 1': a comma before 'and' even for two",
        why="the last separator is ', and '",
        where="world",
    ),
    Quirk(
        name="examine-held",
        what="an object can be examined only while it is held",
        why="the domain's other branch quantifies over a type named 'location,' (with the comma), which is empty",
        where="rules, world",
    ),
    Quirk(
        name="same-place",
        what="no 'go to' for any receptacle where the agent stands, also when several stand there",
        why="going from a place to itself changes nothing and the planner drops actions without effect",
        where="world",
    ),
    Quirk(
        name="middle-of-room",
        what="the first text lists the room's receptacles, but 'look' in the middle of the room sees nothing",
        why="the action binds the location, and no receptacle stands at that one; the intro leaves it free",
        where="world",
    ),
    Quirk(
        name="next-to-it",
        what="'Next to it, you see a mug 1' about objects that lie on a receptacle in reach",
        why="the rule asks for (not_inreceptacle o r), a fact that exists once o was taken from r and not put back",
        where="world",
    ),
    Quirk(
        name="next-to-it-twice",
        what="such an object is listed once for each receptacle here that it was taken from",
        why="the list ranges over pairs of object and receptacle",
        where="world",
    ),
    Quirk(
        name="closed-does-not-matter",
        what="clean, heat, cool, use and slice work although the receptacle is closed",
        why="only taking and putting have the precondition (opened r)",
        where="world",
    ),
    Quirk(
        name="always-on",
        what="'use' always says 'You turn on', and an examined lamp is never off",
        why="isToggled is set and never cleared, and (not_istoggled o) never becomes a fact",
        where="world",
    ),
    Quirk(
        name="two-places",
        what="an object that starts in two receptacles stays in one of them when it is taken from the other",
        why="taking deletes the one inReceptacle fact it was taken by; ALFRED's boxes overlap",
        where="world",
    ),
    Quirk(
        name="slice-from-afar",
        what="slicing follows (objectAtLocation), which in some games differs from where the receptacle stands",
        why="the facts are written from positions, and taking deletes only the one for the present location",
        where="world",
    ),
    Quirk(
        name="inside-a-bowl",
        what="'This is a normal bowl 1. In it, you see a pencil 1.' even after the pencil was taken elsewhere",
        why="no active action changes inReceptacleObject, so what is inside stays inside",
        where="world",
    ),
    Quirk(
        name="bowl-before-state",
        what="a clean or hot mug is described as 'normal' when examined",
        why="the grammar asks for isReceptacleObject before any state",
        where="world",
    ),
    Quirk(
        name="leading-space",
        what="the help text has no blank line before it but keeps the one after it",
        why="the grammar's tokenizer takes white space at the very beginning of a text for an empty comment",
        where="wording",
    ),
    Quirk(
        name="exact-command",
        what="commands are compared letter by letter after stripping; anything else is 'Nothing happens.'",
        why="TextWorld looks the command up in the list of admissible ones",
        where="world",
    ),
    Quirk(
        name="not-for-every-place",
        what="an object can lie where it cannot be put back",
        why="canContain is a table of types, initial positions come from the simulator",
        where="world",
    ),
    Quirk(
        name="passed-over",
        what="games with 'movable' or 'Sliced' in their path, or solvable: false, are not played",
        why="ALFWorld's loader skips them, and the official counts are without them",
        where="catalog",
    ),
)
"""In the order in which a reader of a transcript comes across them."""


def as_markdown() -> str:
    """Return the table as documentation shows it."""
    rows = [f"| {q.name} | {q.what} | {q.why} | {q.where} |" for q in QUIRKS]
    return "\n".join(["| quirk | what one sees | why | copied in |", "|---|---|---|---|", *rows])
