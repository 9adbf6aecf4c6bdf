"""The exception tree.

Each error is also the standard-library type it refines, so `except ValueError` still works. Messages
follow one form: what, the value got, what is allowed, and a hint that says what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HimacError(Exception):
    """Base of every error that himac raises on purpose.

    Args:
        message: what is wrong, what was got, what is allowed, in one line.
        hint: what the user can do about it; printed by the CLI on a line of its own.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(HimacError, ValueError):
    """A setting is unknown, has the wrong type, or contradicts another one."""


class DataError(HimacError, ValueError):
    """A data file is missing a field, is damaged, or is not what it claims to be."""


class MissingFileError(HimacError, FileNotFoundError):
    """A file or folder that the user named does not exist."""

    def __str__(self) -> str:  # FileNotFoundError would format errno and filename
        return str(self.args[0]) if self.args else ""


class MissingExtraError(HimacError, ImportError):
    """An optional dependency is not installed; the hint names the extra that brings it."""


class ModelError(HimacError, ValueError):
    """A model or tokenizer cannot be used as asked (no chat template, unsupported attention, ...)."""


class EnvError(HimacError, RuntimeError):
    """An environment failed, or was used against its protocol (step before reset, step after the end)."""


class RunError(HimacError, RuntimeError):
    """A run cannot start, go on or be resumed (folder in use, disk full, too many failed episodes)."""


class EndpointError(HimacError, RuntimeError):
    """An endpoint cannot be used any further, or its budget is spent; what was finished is kept."""


def closest(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the closest known name, or an empty string.

    >>> closest("sokban", ["sokoban", "alfworld"])
    "; did you mean 'sokoban'?"
    >>> closest("zzz", ["sokoban"])
    ''
    """
    match = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def missing_extra(package: str, extra: str, needed_for: str) -> MissingExtraError:
    """Build the error for an absent optional package."""
    return MissingExtraError(
        f"{needed_for} needs the package {package!r}, which is not installed",
        hint=f"pip install 'himac[{extra}]'",
    )
