"""The Engine protocol.

Tokens in, tokens out: what was sampled is what is trained on, never re-tokenised text. Engines reuse
whatever prefix they have already computed; callers need not know how.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from himac.types import Completion, Request, Weights


class Engine(Protocol):
    """Generates completions for a batch of requests."""

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
