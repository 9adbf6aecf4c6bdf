"""The sentences of a game, read from its own grammar text.

What may be said when (the order of conditions) is fixed in `SHAPES` and checked; how it is said
is taken from the file. So both generations of ALFWorld's grammar, and any rewording, give their own text:
"You put the mug 1 in/on the desk 1." or "You move the mug 1 to the desk 1.".

Left out: a general grammar engine. A grammar with other conditions is refused by name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from himac.errors import DataError

ACTIONS = {
    "look": "look.feedback",
    "inventory": "inventory.feedback",
    "help": "help.feedback",
    "examinereceptacle": "examineReceptacle.feedback",
    "examineobject": "examineObject.feedback",
    "gotolocation": "GotoLocation.feedback",
    "openobject": "OpenObject.feedback",
    "closeobject": "CloseObject.feedback",
    "pickupobject": "PickupObject.feedback",
    "putobject": "PutObject.feedback",
    "cleanobject": "cleanObject.feedback",
    "heatobject": "heatObject.feedback",
    "coolobject": "coolObject.feedback",
    "toggleobject": "toggleObject.feedback",
    "sliceobject": "sliceObject.feedback",
}
"""The domain's actions and the grammar rule that answers each."""

_FACING = "atlocation(a:agent, l:location) & receptacleatlocation(r:receptacle, l:location)"
_BESIDE = (
    "atlocation(a:agent, l:location) & objectatlocation(o:object, l:location)"
    " & receptacleatlocation(r:receptacle, l:location) & not_inreceptacle(o:object, r:receptacle)"
)
_ROOM = "receptacleatlocation(r:receptacle, l:location)"

STATES = (
    ("clean", "hot", "sliced"),
    ("clean", "cool", "sliced"),
    ("clean", "sliced"),
    ("hot", "sliced"),
    ("cool", "sliced"),
    ("clean", "hot"),
    ("clean", "cool"),
    ("hot",),
    ("clean",),
    ("cool",),
)
"""An examined object is described by the first of these that holds altogether, in the grammar's order."""

SHAPES: dict[str, tuple[str, ...]] = {
    "intro": ("",),
    "task": ("",),
    "GotoLocation.feedback": ("",),
    "OpenObject.feedback": ("",),
    "CloseObject.feedback": ("",),
    "PickupObject.feedback": ("",),
    "PutObject.feedback": ("",),
    "cleanObject.feedback": ("",),
    "heatObject.feedback": ("",),
    "coolObject.feedback": ("",),
    "sliceObject.feedback": ("",),
    "inventory.feedback": ("holdsany(a:agent)", ""),
    "examineReceptacle.feedback": (
        "openable(r:receptacle) & opened(r:receptacle)",
        "openable(r:receptacle)",
        "",
    ),
    "examineObject.feedback": (
        "isreceptacleobject(o:object)",
        *(" & ".join(f"is{state}(o:object)" for state in states) for states in STATES),
        "toggleable(o:object) & istoggled(o:object)",
        "toggleable(o:object) & not_istoggled(o:object)",
        "sliceable(o:object) & issliced(o:object)",
        "",
    ),
    "toggleObject.feedback": ("toggleable(o:object) & istoggled(o:object)", "toggleable(o:object)", ""),
    "look.feedback": (_FACING, ""),
    "look-variations": ("",),
    "list_objects_on_the_floor": (_BESIDE, ""),
    "list_appliances": (_ROOM, ""),
    "overview(o)": ("",),
    "overview(r)": ("",),
    "list_empty": ("",),
    "list_separator": ("",),
    "list_last_separator": ("",),
}
"""Every rule that a play can reach, with the conditions of its alternatives in order."""

_LISTS = {
    ("o", "holds(a:agent, o:object)"): "{held}",
    ("o", "inreceptacle(o:object, r:receptacle)"): "{contents}",
    ("o2", "inreceptacleobject(o2:object, o:object)"): "{inner}",
    ("r", _FACING): "{facing}",
    ("o", _BESIDE): "{beside}",
    ("r", _ROOM): "{room}",
    ("r", "receptacleatlocation(r:receptacle, lend:location)"): "{r}",
}
"""What a bracketed list ranges over -> the placeholder the world fills with that list."""

_LIST = re.compile(r"\[\{([^{}|]*)\|([^{}|]*)\}\]")
_SYMBOL = re.compile(r"#([^#]+)#")
_ACTION = re.compile(r"\baction\s+([\w/-]+)\s*\{((?:\"\"\"(?:.|\n)*?\"\"\"|\"[^\"]*\"|[^{}\"])*)\}")
_BLOCK = re.compile(r"\bgrammar\s*::\s*\"\"\"((?:.|\n)*?)\"\"\"")
_FIELD = re.compile(r"\b(template|feedback)\s*::\s*\"([^\"]*)\"")
_TASK = re.compile(r"(\"task\"\s*:\s*\[\s*\{\s*\"rhs\"\s*:\s*)(\"(?:[^\"\\]|\\.)*\")")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """Format strings, each with named places such as {o}, {r} or {contents}."""

    commands: dict[str, str]  # action -> its command, e.g. "take {o} from {r}"
    says: dict[str, tuple[str, ...]]  # rule -> the text of each alternative, in the order of SHAPES


def grammar_text() -> str:
    """Return the grammar shipped with himac (ALFWorld 0.4.2's, MIT licence beside it)."""
    return (resources.files(__package__) / "data" / "alfred.twl2").read_text(encoding="utf-8")


def read_wording(grammar: str) -> tuple[Wording, str]:
    """Read a game's `grammar`.

    The task's sentence is the one part that differs from game to game; it is taken out first, so that the
    rest is read once for all games.

    Returns:
        the wording, and the sentence that states the task.

    Raises:
        DataError: a rule or an action is missing, or is not the one ALFWorld's releases have.
    """
    match = _TASK.search(grammar)
    if match is None:
        raise DataError("rule 'task' is missing")
    wording = _read(grammar[: match.start(2)] + '""' + grammar[match.end(2) :])
    try:
        return wording, _text(json.loads(match.group(2)), "task")
    except json.JSONDecodeError as error:
        raise DataError(f"rule 'task' is not JSON: {error}") from None


@lru_cache(maxsize=16)
def _read(grammar: str) -> Wording:
    rules: dict[str, list[dict[str, str]]] = {}
    for block in _BLOCK.findall(grammar):
        try:
            rules.update(json.loads(block))
        except json.JSONDecodeError as error:
            raise DataError(f"a grammar block is not JSON: {error}") from None
    commands: dict[str, str] = {}
    answers: dict[str, str] = {}
    for name, body in _ACTION.findall(grammar):
        fields = dict(_FIELD.findall(body))
        if name.lower() in ACTIONS:
            commands[name.lower()] = _text(fields.get("template", ""), name)
            answers[name.lower()] = fields.get("feedback", "")
    if "help" in answers and not _SYMBOL.fullmatch(answers["help"]):  # the games write the text itself
        rules["help.feedback"] = [{"rhs": answers["help"]}]
        answers["help"] = "#help.feedback#"
    for name, rule in ACTIONS.items():
        if answers.get(name) != f"#{rule}#" and not (name == "help" and name not in answers):
            raise DataError(
                f"action {name!r} should answer #{rule}#, got {answers.get(name, 'no such action')!r}"
            )
    shapes = SHAPES | ({"help.feedback": ("",)} if "help" in answers else {})
    return Wording(
        commands=commands, says={rule: _alternatives(rules, rule, shapes[rule]) for rule in shapes}
    )


def _alternatives(
    rules: dict[str, list[dict[str, str]]], rule: str, shape: tuple[str, ...]
) -> tuple[str, ...]:
    if rule not in rules:
        raise DataError(f"rule {rule!r} is missing")
    conditions = tuple(_spaced(alternative.get("condition", "")) for alternative in rules[rule])
    if conditions != tuple(map(_spaced, shape)):
        raise DataError(f"rule {rule!r} has other conditions than ALFWorld's releases")
    return tuple(_text(alternative["rhs"], rule) for alternative in rules[rule])


def _text(rhs: str, rule: str) -> str:
    """Turn a right-hand side into a format string."""
    rhs = rhs.replace("\\n", "\n").lstrip()  # quirk "leading-space"
    rhs = _LIST.sub(lambda match: _list_place(match, rule), rhs)
    rhs = re.sub(r"\{(\w+)\.name(?: or \1\.id)?\}", r"{\1}", rhs)
    rhs = re.sub(r"\{\w+\.indefinite\}", "a", rhs)  # quirk "article"
    rhs = _SYMBOL.sub(lambda match: "{" + match.group(1).partition(".")[0].replace("-", "_") + "}", rhs)
    if "[" in rhs or re.search(r"\{[^{}]*[^\w{}][^{}]*\}", rhs):
        raise DataError(f"rule {rule!r} says {rhs!r}, which himac cannot read")
    return rhs


def _list_place(match: re.Match[str], rule: str) -> str:
    said, over = match.group(1).strip(), _spaced(match.group(2))
    variable = re.split(r"[.(]", said.removeprefix("#overview"))[1 if said.startswith("#") else 0].rstrip(
        ")#"
    )
    place = next((p for (v, o), p in _LISTS.items() if v == variable and _spaced(o) == over), None)
    if place is None:
        raise DataError(f"rule {rule!r} lists {match.group(0)!r}, which himac cannot read")
    return place


def _spaced(text: str) -> str:
    return " ".join(text.split())
