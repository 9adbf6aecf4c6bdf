"""The values of a plan, read and checked: budget, seeds, shares."""

from __future__ import annotations

from dataclasses import dataclass, fields

from himac.errors import ConfigError, closest
from himac.types import Json, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may spend; it ends with the iteration that reaches one of them. 0 is no limit."""

    iterations: int = 0
    env_steps: int = 0
    tokens: int = 0
    processed_tokens: int = 0
    processor_s: int = 0


def starts_word(value: object) -> str:
    """Read `starts`."""
    if value not in ("alike", "own"):
        raise ConfigError(f"starts must be one of 'alike', 'own', got {value!r}")
    return str(value)


def tables_of(tree: Row, name: str) -> Row:
    """Return a table of tables that a plan must have."""
    found = tree.get(name)
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"a plan needs at least one [{name}.NAME] table")
    return found


def seeds_of(value: Json) -> tuple[int, ...]:
    """Read seeds."""
    if not isinstance(value, list) or not value or any(type(seed) is not int for seed in value):
        raise ConfigError(f"seeds must be a list of whole numbers, got {value!r}")
    return tuple(dict.fromkeys(value))


def budget_of(table: Json) -> Budget:
    """Read a [budget]."""
    known = tuple(f.name for f in fields(Budget))
    if not isinstance(table, dict) or not table:
        raise ConfigError("a plan needs a [budget]", hint=f"set at least one of {', '.join(known)}")
    refuse_unknown(table, known, "of [budget]")
    for key, value in table.items():
        if type(value) is not int or value < 1:
            raise ConfigError(f"budget.{key} must be a whole number of at least 1, got {value!r}")
    if list(table) == ["env_steps"]:
        raise ConfigError(
            "budget.env_steps needs another limit beside it, say budget.iterations",
            hint="a model that no longer acts spends no environment steps and would never end",
        )
    return Budget(**table)


def share_of(value: Json, where: str) -> float:
    """Read a success rate."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{where} must be a success rate from 0 to 1, got {value!r}")
    return float(value)


def refuse_unknown(tree: Row, known: tuple[str, ...], where: str) -> None:
    """Refuse a key that nobody reads."""
    for key in tree:
        if key not in known:
            raise ConfigError(f"unknown key {key!r} {where}; known: {', '.join(known)}{closest(key, known)}")
