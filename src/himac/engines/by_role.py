"""One engine a role, behind the door of one.

When planner and executor have their own weights, no key or value of one is of any use to the other. So
each role has an engine with its own cache, and a batch is split by who is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from himac.engines.base import BatchEngine, Engine, stepping
from himac.types import Completion, Request, Role, Weights


class EngineByRole(Engine):
    """An `Engine` that hands each request to its role's engine.

    Where the engines share a module, one role is stepped at a time, in their order, as long as it has anything under way: the
    executor then acts on all the blueprints there are, and the order of steps does not depend on when its weights came.

    Args:
        engines: one for each role that is ever asked.
        play: called with a role before its engine generates (switches an adapter on a shared module); None where
            the engines share nothing.
    """

    def __init__(
        self,
        engines: Mapping[Role, Engine | BatchEngine],
        *,
        play: Callable[[Role], None] | None = None,
    ) -> None:
        self.engines = {role: stepping(engine) for role, engine in engines.items()}
        self._play = play
        self._next = 0
        self._tickets: dict[tuple[Role, int], int] = {}  # (role, its engine's ticket): ours

    def submit(self, request: Request) -> int:
        """Hand the request to its role's engine."""
        self._next += 1
        self._tickets[request.role, self.engines[request.role].submit(request)] = self._next
        return self._next

    def step(self) -> list[tuple[int, Completion]]:
        """Let every role's engine go on that has something under way; where they share a module, the first such role's."""
        asked = {role for role, _ in self._tickets}
        waiting = [role for role in self.engines if role in asked]
        done = []
        for role in waiting if self._play is None else waiting[:1]:
            if self._play is not None:
                self._play(role)
            done += [
                (self._tickets.pop((role, own)), completion) for own, completion in self.engines[role].step()
            ]
        return sorted(done, key=lambda pair: pair[0])

    def cancel(self) -> None:
        """Forget what is under way with either role."""
        self._tickets.clear()
        for engine in self.engines.values():
            engine.cancel()

    def close(self) -> None:
        """Close every engine."""
        for engine in self.engines.values():
            engine.close()

    def release(self) -> None:
        """See `Engine.release`."""
        for engine in self.engines.values():
            engine.release()

    def load_weights(self, state: Weights, version: int) -> None:
        """See `Engine.load_weights`; every role's engine is told."""
        for engine in self.engines.values():
            engine.load_weights(state, version)
