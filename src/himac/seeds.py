"""Seeds that travel as arguments.

One idea: no global random state. Every seed is a hash of what it is for (run seed, iteration, phase, task,
replica), so a resumed run draws the numbers it would have drawn, and saves no generator.
"""

from __future__ import annotations

import hashlib

import numpy as np

COLLECT = {"planner": "explore", "executor": "execute", "flat": "attempt"}
UPDATE = {"planner": "macro", "executor": "micro"}
"""What the phases were called when seeds were first derived from them: a recipe still draws the numbers it drew."""


def derive(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on all parts and on nothing else.

    >>> derive(0, "planner", 3, 1) == derive(0, "planner", 3, 1), derive(0, 1) == derive(1, 0)
    (True, False)
    """
    key = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """Return a numpy generator seeded by `derive`."""
    return np.random.Generator(np.random.PCG64(derive(*parts)))
