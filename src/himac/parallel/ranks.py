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
    mesh: Any  # torch.distributed's, of ranks that hold the weights in parts; None: each has them whole

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

    def lockstep(
        self, items: Sequence[T], costs: Sequence[float], kinds: Sequence[Any]
    ) -> list[tuple[T, bool]]:
        """Return this rank's share of passes through a model, each with whether it counts.

        Args:
            items: what is passed through, the same on every rank.
            costs: of each.
            kinds: of each: which weights learn from it.
        """
        ...

    def join(self, model: Any, *, generates: bool) -> None:
        """Hold a model together with the other ranks, where they hold it in parts. `generates`: each also computes alone."""
        ...

    def whole(self) -> None:
        """Have all weights here until `parts`: this rank computes alone next."""
        ...

    def parts(self) -> None:
        """Hold the own part alone, where weights are held in parts: the ranks compute together next."""
        ...

    def state_of(self, model: Any, *, only: str = "") -> dict[str, Any] | None:
        """Return a model's whole state, on the first rank; None: it is the model's own.

        Args:
            model: one that has joined.
            only: of tensors with this in their name.
        """
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
    mesh: Any = None

    def mine(self, items: Sequence[T], costs: Sequence[float]) -> list[T]:
        """See `Ranks`."""
        return list(items)

    def lockstep(
        self, items: Sequence[T], costs: Sequence[float], kinds: Sequence[Any]
    ) -> list[tuple[T, bool]]:
        """See `Ranks`. All of them, and all count."""
        return [(item, True) for item in self.mine(items, costs)]

    def join(self, model: Any, *, generates: bool) -> None:
        """See `Ranks`."""

    def whole(self) -> None:
        """See `Ranks`."""

    def parts(self) -> None:
        """See `Ranks`."""

    def state_of(self, model: Any, *, only: str = "") -> dict[str, Any] | None:
        """See `Ranks`."""
        return None

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
