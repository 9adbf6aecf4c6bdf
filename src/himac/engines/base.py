"""The Engine protocol.

Tokens in, tokens out: what was sampled is what is trained on, never re-tokenised text. Engines reuse
whatever prefix they have already computed; callers need not know how. A request is submitted whenever it is
there, and a step returns what has finished meanwhile, so that nobody waits for the slowest answer of a batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from himac.errors import ModelError
from himac.types import Completion, LanguageModel, Request, Weights


class BatchEngine(Protocol):
    """What an engine of your own has to offer at least: a batch of requests in, their completions out."""

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in order.

        A completion depends on its request alone (prompt, sampling, seed), not on the batch.
        """
        ...

    def load_weights(self, state: Weights, version: int) -> None:
        """Take new weights. Cached prefixes of older versions are dropped.

        Args:
            state: name -> tensor; None when the engine shares the learner's module, so that only the
                cache has to go.
            version: counts up with every update.
        """
        ...

    def close(self) -> None:
        """Release what the engine holds. Closing twice is allowed."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Generates completions, each as soon as it can.

    A completion depends on its request alone (prompt, sampling, seed), neither on the others nor on when it was
    submitted. Whoever derives from this class gets `generate`.
    """

    @abstractmethod
    def submit(self, request: Request) -> int:
        """Take a request and return its ticket; generation goes on in `step`."""
        ...

    @abstractmethod
    def step(self) -> list[tuple[int, Completion]]:
        """Go on with what was submitted; return (ticket, completion) of what has finished, by ticket.

        May well return nothing yet. Without anything under way it returns at once.
        """
        ...

    @abstractmethod
    def cancel(self) -> None:
        """Forget everything that is under way."""
        ...

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in order; not while others are under way."""
        done: dict[int, Completion] = {}
        try:
            tickets = [self.submit(request) for request in requests]
            while len(done) < len(tickets):
                done |= dict(self.step())
        except BaseException:
            self.cancel()
            raise
        return [done[ticket] for ticket in tickets]

    def release(self) -> None:
        """Give back memory that only makes generation faster: these weights will not be asked again."""
        return

    @abstractmethod
    def load_weights(self, state: Weights, version: int) -> None:
        """See `BatchEngine.load_weights`; nothing may be under way."""
        ...

    @abstractmethod
    def close(self) -> None:
        """See `BatchEngine.close`."""
        ...


class InRounds(Engine):
    """An `Engine` from one that only knows batches: each step generates all that was submitted since the last one."""

    def __init__(self, engine: BatchEngine) -> None:
        self.engine = engine
        self._next = 0
        self._waiting: dict[int, Request] = {}

    def submit(self, request: Request) -> int:
        """Keep the request for the next round."""
        self._next += 1
        self._waiting[self._next] = request
        return self._next

    def step(self) -> list[tuple[int, Completion]]:
        """Generate a round."""
        round_, self._waiting = self._waiting, {}
        return list(zip(round_, self.engine.generate(list(round_.values())), strict=True)) if round_ else []

    def cancel(self) -> None:
        """Forget the requests that wait."""
        self._waiting = {}

    def load_weights(self, state: Weights, version: int) -> None:
        """See `BatchEngine.load_weights`."""
        self.engine.load_weights(state, version)

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()


def stepping(engine: Engine | BatchEngine) -> Engine:
    """Return the engine itself where it steps, else its rounds."""
    return engine if isinstance(engine, Engine) else InRounds(engine)


def lay_into(model: LanguageModel, state: Weights) -> None:
    """Lay weights into the learner's module; None: it has the new ones already.

    Raises:
        ModelError: they name parameters that the module does not have.
    """
    if state is None:
        return
    unexpected = model.load_state_dict(state, strict=False).unexpected_keys
    if unexpected:
        raise ModelError(f"the new weights name unknown parameters: {', '.join(unexpected[:3])}")
