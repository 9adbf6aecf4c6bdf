"""What a process knows of its peers. Alone, every method is the identity, so nobody asks whether there are any.

All ranks run the same program on the same config. Each collects the episodes of its own tasks and hears of all; each learns
its share of the packed rows, and the gradients are added up: a loss here is a weighted sum over tokens, so a sum over
ranks needs no normalisation, and no wrapper that divides by how many there are. What any of them decides by (clocks,
names, which files are there) is the first one's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class Ranks(Protocol):
    """The processes of a run."""

    rank: int  # of this one, from 0
    size: int  # how many there are

    @property
    def is_first(self) -> bool:
        """Whether this one writes, speaks and decides."""
        ...

    def mine(self, items: Sequence[T], costs: Sequence[float]) -> list[T]:
        """Return this rank's share, in their order; the costs are dealt out evenly, in the same way on every rank."""
        ...

    def first(self, value: T) -> T:
        """Return the first rank's value."""
        ...

    def gather(self, value: T) -> list[T]:
        """Return every rank's value, by rank."""
        ...

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over ranks, in float64."""
        ...

    def sum_gradients(self, parameters: Sequence[Any]) -> None:
        """Add up the gradients of parameters over ranks, in place; one that no rank has stays absent."""
        ...

    def wait(self) -> None:
        """Return when all ranks have come here."""
        ...

    def close(self) -> None:
        """Part."""
        ...


class Alone:
    """One process."""

    rank, size, is_first = 0, 1, True

    def mine(self, items: Sequence[T], costs: Sequence[float]) -> list[T]:
        """See `Ranks`."""
        return list(items)

    def first(self, value: T) -> T:
        """See `Ranks`."""
        return value

    def gather(self, value: T) -> list[T]:
        """See `Ranks`."""
        return [value]

    def sum(self, values: np.ndarray) -> np.ndarray:
        """See `Ranks`."""
        return values

    def sum_gradients(self, parameters: Sequence[Any]) -> None:
        """See `Ranks`."""

    def wait(self) -> None:
        """See `Ranks`."""

    def close(self) -> None:
        """See `Ranks`."""


ALONE: Ranks = Alone()


def shares(costs: Sequence[float], size: int) -> list[list[int]]:
    """Deal out indices: the dearest first, each to whoever has least; every rank comes to the same.

    >>> shares([5, 1, 4, 2], 2)
    [[0, 1], [2, 3]]
    """
    load, found = [0.0] * size, [[] for _ in range(size)]  # type: tuple[list[float], list[list[int]]]
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        rank = min(range(size), key=lambda r: (load[r], r))
        load[rank] += costs[index]
        found[rank].append(index)
    return [sorted(part) for part in found]
