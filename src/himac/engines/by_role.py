"""One engine a role, behind the door of one.

When planner and executor have their own weights, no key or value of one is of any use to the other. So
each role has an engine with its own cache, and a batch is split by who is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from himac.engines.base import Engine
from himac.types import Completion, Request, Role, Weights


class EngineByRole:
    """An `Engine` that hands each request to its role's engine.

    Args:
        engines: one for each role that is ever asked.
        play: called with a role before its engine generates (switches an adapter on a shared module); None where
            the engines share nothing.
    """

    def __init__(self, engines: Mapping[Role, Engine], *, play: Callable[[Role], None] | None = None) -> None:
        self.engines, self._play = engines, play

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in order."""
        done: dict[int, Completion] = {}
        for role, engine in self.engines.items():
            indices = [index for index, request in enumerate(requests) if request.role == role]
            if not indices:
                continue
            if self._play is not None:
                self._play(role)
            done |= dict(zip(indices, engine.generate([requests[index] for index in indices]), strict=True))
        return [done[index] for index in range(len(requests))]

    def close(self) -> None:
        """Close every engine."""
        for engine in self.engines.values():
            engine.close()

    def load_weights(self, state: Weights, version: int) -> None:
        """See `Engine.load_weights`; every role's engine is told."""
        for engine in self.engines.values():
            engine.load_weights(state, version)
