"""Tables to dataclasses and back, checked.

A dataclass with annotations is the schema: its types and, through `Annotated`, the range of each number. msgspec
does the checking; what is ours is the one line a user reads: where, what is allowed, what was got, the closest
known name. msgspec and not pydantic: it checks plain dataclasses, imports faster, and builds no classes at import.
"""

from __future__ import annotations

import datetime as dt
import functools
import inspect
import json
import math
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from himac.errors import ConfigError, MissingFileError, closest
from himac.files import parse_toml, reason

Kind: TypeAlias = Any
"""A type, or what stands for one in an annotation."""
Table = dict[str, Any]
"""A table of TOML; what it holds is known once it is checked."""
T = TypeVar("T")
_FIELD = re.compile(r"^    (\w+): [^=#]+=.*?(?:  # (.*))?$")

# Ranges, for annotations of settings.
Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
# of tasks, games, levels: each costs memory or time
Number = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Beta = Annotated[float, msgspec.Meta(ge=0, le=0.999999)]  # of a running mean: at 1 it never moves
# two numbers where one would do as well; msgspec 0.22 crashes on a union of a number with tuple[float, float]
Pair = Annotated[tuple[NonNegative, ...], msgspec.Meta(min_length=2, max_length=2)]


def at_least(least: float, most: float | None = None, *, why: str = "") -> msgspec.Meta:
    """Return the range of a number, for `Annotated`; `why` becomes the hint when it is left."""
    return msgspec.Meta(ge=least, le=most, description=why or None)


def build(cls: Kind, tree: object, where: str = "") -> Any:
    """Make a dataclass, and the dataclasses that are its fields, from nested tables; what is left out keeps its default.

    Args:
        cls: the dataclass.
        tree: its table.
        where: dotted name of the table, for messages; "" for the outermost.

    Raises:
        ConfigError: a key it does not have, a value of another type, or a number out of its range.
    """
    values = _checked(_hints(cls), tree, where)
    return cls(**values)


def call(factory: Callable[..., T], tree: object, where: str) -> T:
    """Call a class or function with a table of settings, checked against its signature.

    A single parameter called `settings` whose type is a dataclass takes the whole table; otherwise each key is one
    parameter, checked where it is annotated.

    Raises:
        ConfigError: as for `build`; also a required setting that is missing.
    """
    kinds = _parameters(factory)
    if list(kinds) == ["settings"] and is_dataclass(kinds["settings"]):
        return factory(build(kinds["settings"], tree, where))
    values = _checked(kinds, tree, where)
    missing = [
        name
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.default is parameter.empty and name in kinds and name not in values
    ]
    if missing:
        raise ConfigError(f"{where}.{missing[0]} has no default and was not given")
    return factory(**values)


def check_settings(
    factory: Callable[..., Any], tree: object, where: str, *, given: Collection[str] = ()
) -> None:
    """Refuse what `call` would refuse, without calling; `given` are parameters that are no settings.

    Raises:
        ConfigError: as for `call`.
    """
    kinds = _parameters(factory)
    if list(kinds) == ["settings"] and is_dataclass(kinds["settings"]):
        own: Kind = kinds["settings"]
        check_keys(_hints(own), tree, where)
        build(own, tree, where)  # which may refuse more
    else:
        check_keys({name: kind for name, kind in kinds.items() if name not in given}, tree, where)


def check_keys(kinds: Mapping[str, Kind], tree: object, where: str) -> None:
    """Refuse a key of an open section that neither its owner nor, as the `name` of the owner, the section has.

    Raises:
        ConfigError: as for `build`.
    """
    _checked({"name": str, **kinds}, tree, where)


def flat(tree: Mapping[str, Kind], prefix: str = "") -> Table:
    """Return {dotted key: value} of nested tables.

    >>> flat({"a": {"b": 1, "c": {"d": 2}}})
    {'a.b': 1, 'a.c.d': 2}
    """
    leaves: Table = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def merge(tree: Table, changed: Table) -> None:
    """Lay tables over tables, however deep.

    >>> tree = {"a": {"b": 1, "c": 2}}
    >>> merge(tree, {"a": {"b": 3}}); tree
    {'a': {'b': 3, 'c': 2}}
    """
    for key, value in changed.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            tree[key] = dict(tree[key])
            merge(tree[key], value)
        else:
            tree[key] = value


def json_schema(cls: Kind) -> Table:
    """Return the JSON schema of a dataclass of dataclasses, closed: an editor marks unknown keys and shows meanings."""
    schema: Table = json.loads(msgspec.json.encode(msgspec.json.schema(cls)))
    for part in (cls, *(kind for kind in _hints(cls).values() if is_dataclass(kind))):
        described = schema["$defs"][part.__name__]
        described["additionalProperties"] = False
        for key, meaning in comments_of(part).items():
            if "$ref" not in described["properties"][key]:
                described["properties"][key]["description"] = meaning
    return schema


def comments_of(cls: Kind) -> dict[str, str]:
    """Return {field: the comment beside it} of a dataclass; a comment on a line of its own goes to the field below it."""
    found: dict[str, str] = {}
    remark = ""
    for line in inspect.getsource(cls).splitlines():
        if line.startswith("    # "):
            remark = line.removeprefix("    # ").rstrip(":")
        if match := _FIELD.match(line):
            words = "; ".join(word for word in (match[2], remark) if word)
            found |= {match[1]: words} if words else {}
            remark = ""
    return found


def full_names(key: str, cls: Kind) -> list[str]:
    """Return the settings that a key without its section may mean; one that no section has is a world's own."""
    sections = {name: kind for name, kind in get_type_hints(cls).items() if is_dataclass(kind)}
    meant = [f"{name}.{key}" for name, kind in sections.items() if key in {f.name for f in fields(kind)}]
    return meant or ([f"env.{key}"] if key.isidentifier() else [])


def read_toml(path: Path) -> Table:
    """Read a TOML file that a user named.

    Raises:
        MissingFileError: no such file.
        ConfigError: not valid TOML.
    """
    if not path.is_file():
        raise MissingFileError(f"no recipe at {str(path)!r}", hint="give the path of a TOML file")
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {reason(error)}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {reason(error)}") from error


def read_value(text: str) -> Kind:
    """Read a TOML value; anything that is none is a string.

    Raises:
        ConfigError: a number or a nesting that no machine takes.

    >>> read_value("1e-5"), read_value("[1, 2]"), read_value("cuda:1")
    (1e-05, [1, 2], 'cuda:1')
    """
    try:
        return parse_toml(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return {"True": True, "False": False}.get(text, text)
    except ValueError as error:  # a number of thousands of digits, a list in a list in a list ...
        raise ConfigError(f"cannot read the value {text[:40]}...: {reason(error)}") from error


def write_value(value: object) -> str:
    r"""Write a value as TOML.

    >>> print(write_value(("a", True, 0.5)), write_value("line\\nbreak"), write_value({"a": 1}))
    ["a", true, 0.5] "line\\nbreak" {a = 1}
    """
    if isinstance(value, bool | str):
        # TOML's strings and truth values are JSON's, but for one character that TOML wants escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(write_value(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(k)} = {write_value(v)}' for k, v in value.items())}}}"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return repr(value)


def write_tables(tree: Mapping[str, Kind]) -> str:
    """Write a tree of tables as TOML; a section's nested tables are written inline."""
    lines = []
    for section, table in tree.items():
        if not isinstance(table, dict):
            lines.append(f"{section} = {write_value(table)}\n")
            continue
        lines.append(f"[{section}]")
        kept = {
            key: value for key, value in table.items() if value is not None
        }  # TOML has no word for nothing
        lines += [f"{_key(key)} = {write_value(value)}" for key, value in kept.items()]
        lines.append("")
    return "\n".join(lines)


def allowed(kind: Kind) -> str:
    """Say what a setting's annotation allows.

    >>> allowed(Literal["a", "b"]), allowed(Positive), allowed(Share)
    ("'a', 'b'", '1 or more', '0 to 1')
    """
    plain, meta = _plain(kind)
    if _origin(plain) is Literal:
        return ", ".join(repr(choice) for choice in get_args(plain))
    if meta is None or meta.ge is None:
        return ""
    return f"{meta.ge:g} to {meta.le:g}" if meta.le is not None else f"{meta.ge:g} or more"


def _checked(kinds: Mapping[str, Kind], tree: object, where: str) -> Table:
    """Check a table's keys and values against annotations."""
    if not isinstance(tree, dict):
        raise ConfigError(f"[{where}] must be a table, got {tree!r}")
    values = {}
    for key, value in tree.items():
        path = f"{where}.{key}".lstrip(".")
        if key not in kinds:
            known = ", ".join(kinds) or "none"
            raise ConfigError(f"unknown key '{path}'; known: {known}{closest(key, kinds)}")
        kind = kinds[key]
        values[key] = build(kind, value, path) if is_dataclass(kind) else _convert(kind, value, path)
    return values


def _convert(kind: Kind, value: object, where: str) -> Kind:
    """Check one value; ints pass as floats, lists as tuples, nothing else bends."""
    if (odd := _not_finite(value)) is not None:
        raise ConfigError(f"{where} must be finite, got {odd!r}")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _refusal(kind, value, where, str(error)) from error
    except TypeError:  # an annotation that msgspec does not know, of somebody's own class: his to check
        return value


def _not_finite(value: object) -> float | None:
    """Return the first number in a value that is none, or has no end; None where all are numbers."""
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((odd for part in parts if (odd := _not_finite(part)) is not None), None)


def _refusal(kind: Kind, value: object, where: str, reason: str) -> ConfigError:
    """Say in one line what is wrong with a value; of a list, with its first wrong member."""
    plain, meta = _plain(kind)
    inside = [part for part in get_args(plain) if part is not type(None)]
    if _origin(plain) in (Union, UnionType) and len(inside) == 1:
        return _refusal(inside[0], value, where, reason)
    if _origin(plain) is tuple and isinstance(value, list | tuple):
        kinds = inside[:1] * len(value) if Ellipsis in inside else inside
        for index, (part, member) in enumerate(zip(kinds, value, strict=False)):
            try:
                msgspec.convert(member, part)
            except msgspec.ValidationError as error:
                return _refusal(part, member, f"{where}[{index}]", str(error))
    if _origin(plain) is tuple and Ellipsis not in inside and isinstance(value, int | float):
        same = ", ".join([str(value)] * len(inside))
        return ConfigError(
            f"{where} must be {_name(plain)}, got {value!r}", hint=f"one number each: {where} = [{same}]"
        )
    if _origin(plain) is Literal:
        near = closest(str(value), map(str, get_args(plain)))
        return ConfigError(f"{where} must be one of {allowed(kind)}, got {value!r}{near}")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if meta is not None and is_number and ">=" in reason:
        return ConfigError(
            f"{where} must be at least {meta.ge:g}, got {value!r}", hint=meta.description or ""
        )
    if meta is not None and is_number and "<=" in reason:
        return ConfigError(f"{where} must be at most {meta.le:g}, got {value!r}", hint=meta.description or "")
    return ConfigError(f"{where} must be {_name(plain)}, got {value!r} ({type(value).__name__})")


def _origin(kind: Kind) -> Kind:
    """Return what a parametrised type is made from; mypy knows the answers of typing's own function too well."""
    return get_origin(kind)


def _plain(kind: Kind) -> tuple[Kind, msgspec.Meta | None]:
    """Return an annotation without its range, and the range."""
    if _origin(kind) is Annotated:
        plain, *extras = get_args(kind)
        return plain, next((e for e in extras if isinstance(e, msgspec.Meta)), None)
    return kind, None


def _name(plain: Kind) -> str:
    """Name a type as a reader of TOML would.

    >>> _name(int), _name(tuple[str, ...]), _name(tuple[float, float]), _name(int | None)
    ('int', 'a list of str', 'a list of 2: float, float', 'int or left out')
    """
    if _origin(plain) is Literal:
        return " or ".join(repr(part) for part in get_args(plain))
    parts = [_plain(part)[0] for part in get_args(plain)]
    if _origin(plain) is tuple:
        names = [_name(part) for part in parts if part is not Ellipsis]
        return f"a list of {names[0]}" if Ellipsis in parts else f"a list of {len(names)}: {', '.join(names)}"
    if parts:
        return " or ".join("left out" if part is type(None) else _name(part) for part in parts)
    return getattr(plain, "__name__", str(plain))


@functools.cache
def _hints(cls: Kind) -> Table:
    return get_type_hints(cls, include_extras=True)


def _parameters(factory: Callable[..., Any]) -> Table:
    """Return {parameter: annotation} of a class or function, as settings may name them."""
    if is_dataclass(factory):
        own = {name for name, field in factory.__dataclass_fields__.items() if field.init}
        return {name: kind for name, kind in _hints(factory).items() if name in own}
    signature = inspect.signature(factory)
    target = factory.__init__ if inspect.isclass(factory) else factory
    given = {name: kind for name, kind in getattr(target, "__annotations__", {}).items() if name != "return"}
    try:  # without what it returns, which may be imported for type checkers alone
        hints = get_type_hints(
            SimpleNamespace(__annotations__=given), target.__globals__, include_extras=True
        )
    except (NameError, TypeError, AttributeError):
        hints = {}
    named = {
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    return {name: hints.get(name, Any) for name in signature.parameters if name in named}


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else write_value(name)


__all__ = [
    "Beta", "Count", "Kind", "NonNegative", "Number", "Pair", "Positive", "Share", "Table", "allowed", "asdict", "at_least", "build", "call", "check_settings", "comments_of",
    "flat", "json_schema", "merge", "read_toml", "read_value", "write_tables", "write_value",
]  # fmt: skip
