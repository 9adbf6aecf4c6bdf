"""Seeds that travel as arguments.

No global random state. Every seed is a hash of what it is for (run seed, iteration, phase, task,
replica), so a resumed run draws the numbers it would have drawn, and saves no generator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

COLLECT = {"planner": "explore", "executor": "execute", "flat": "attempt"}
UPDATE = {"planner": "macro", "executor": "micro"}
"""What the phases were called when seeds were first derived from them: a recipe still draws the numbers it drew."""


def derive(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on all parts and on nothing else.

    >>> derive(0, "planner", 3, 1) == derive(0, "planner", 3, 1), derive(0, 1) == derive(1, 0)
    (True, False)
    """
    return int.from_bytes(digest("\x1f", parts), "little") >> 1


def digest(between: str, parts: Sequence[object]) -> bytes:
    """Return 8 bytes that depend on all parts, in order; every seed of himac is made of them.

    Two callers, two separators and byte orders, both kept: `derive` here, whose numbers recorded runs drew, and
    `envs.splits.seed_from`, whose numbers decide what the levels, games and shops of every split are.
    """
    return hashlib.blake2b(between.join(map(str, parts)).encode(), digest_size=8).digest()


def generator(*parts: int | str) -> np.random.Generator:
    """Return a numpy generator seeded by `derive`."""
    return np.random.Generator(np.random.PCG64(derive(*parts)))
