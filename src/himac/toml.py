"""TOML values and dataclasses: one becomes the other, checked.

One idea: a dataclass with annotations is the schema. A key that it does not have and a value of another type are
refused with one line that says where.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from himac.errors import ConfigError, closest


def build(cls: type, tree: Any, where: str) -> Any:
    """Make a dataclass, and the dataclasses that are its fields, from nested tables; what is left out keeps its default.

    Args:
        cls: the dataclass.
        tree: its table.
        where: dotted name of the table, for messages; "" for the outermost.

    Raises:
        ConfigError: a key it does not have, or a value of another type.
    """
    if not isinstance(tree, dict):
        raise ConfigError(f"[{where}] must be a table, got {tree!r}")
    hints = get_type_hints(cls)
    for key in tree:
        if key not in hints:
            raise ConfigError(f"unknown key '{where}.{key}'; known: {', '.join(hints)}{closest(key, hints)}")
    values = {}
    for key, value in tree.items():
        path = f"{where}.{key}".lstrip(".")
        values[key] = (
            build(hints[key], value, path) if is_dataclass(hints[key]) else _cast(hints[key], value, path)
        )
    return cls(**values)


def _cast(kind: Any, value: Any, where: str) -> Any:
    """Check one value against its annotation; ints pass as floats, lists as tuples, nothing else bends."""
    origin = get_origin(kind)
    if origin is Literal:
        allowed = get_args(kind)
        if value not in allowed:
            names = ", ".join(repr(a) for a in allowed)
            raise ConfigError(
                f"{where} must be one of {names}, got {value!r}{closest(str(value), map(str, allowed))}"
            )
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_cast(get_args(kind)[0], v, where) for v in value)
    if origin is dict and isinstance(value, dict):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = origin or kind
    if not isinstance(value, plain) or (plain is not bool and isinstance(value, bool)):
        raise ConfigError(f"{where} must be {plain.__name__}, got {value!r} ({type(value).__name__})")
    return value


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {dotted key: value} of nested tables.

    >>> flat({"a": {"b": 1, "c": {"d": 2}}})
    {'a.b': 1, 'a.c.d': 2}
    """
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def read_value(text: str) -> Any:
    """Read a TOML value; anything that is none is a string.

    >>> read_value("1e-5"), read_value("[1, 2]"), read_value("cuda:1")
    (1e-05, [1, 2], 'cuda:1')
    """
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return {"True": True, "False": False}.get(text, text)


def write_value(value: Any) -> str:
    """Write a value as TOML.

    >>> print(write_value(("a", True, 0.5)), write_value("line\\nbreak"))
    ["a", true, 0.5] "line\\nbreak"
    """
    if isinstance(value, bool | str):
        # TOML's strings and truth values are JSON's, but for one character that TOML wants escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(write_value(v) for v in value)}]"
    return repr(value)
