"""Seeds and splits of generated worlds.

What a problem *is* (the bytes that describe it) decides which split may hold it, so train, val
and test are disjoint by construction, for any sizes, without generating one to check another. Everything
here is a hash of plain text, so it is the same on every machine and Python version.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b

from himac.errors import ConfigError, closest
from himac.seeds import digest

SPLITS = ("train", "val", "test")
SEALED = "sealed"
"""The split that nothing but the end of a comparison may see: no world gives it out under this name, see `base.Seals`."""


def seed_from(*parts: object) -> int:
    """Return a 64-bit seed that depends on all parts, in order.

    >>> seed_from("sokoban", "train", 0) == seed_from("sokoban", "train", 0)
    True
    >>> seed_from("sokoban", "train", 0) == seed_from("sokoban", "val", 0)
    False
    """
    return int.from_bytes(digest("/", parts), "big")


def rng_from(*parts: object) -> random.Random:
    """Return a generator seeded with `seed_from(*parts)`.

    Draw with `.random()` alone (see `pick`): it is the one method whose numbers Python promises to keep.
    """
    return random.Random(seed_from(*parts))


def pick(rng: random.Random, size: int) -> int:
    """Return a number from 0 to size - 1, each equally likely."""
    return int(rng.random() * size)


def shuffled(rng: random.Random, items: tuple[str, ...]) -> tuple[str, ...]:
    """Return the items in a random order (Fisher-Yates)."""
    rest, order = list(items), []
    while rest:
        order.append(rest.pop(pick(rng, len(rest))))
    return tuple(order)


def split_of(identity: bytes) -> str:
    """Return the only split that may hold the problem described by these bytes.

    Half of all problems belong to train, a quarter to val, a quarter to test.
    """
    share = blake2b(identity, digest_size=1, person=b"himac split").digest()[0]
    return "train" if share < 128 else "val" if share < 192 else "test"


def refused_split(world: str, split: str, known: Sequence[str]) -> ConfigError:
    """Return what a world says to a split that it does not give out."""
    if split == SEALED:
        return ConfigError(
            f"split {SEALED!r} of {world} is drawn at the end of a comparison and by nothing else",
            hint="himac compare PLAN --unseal",
        )
    return ConfigError(
        f"unknown split {split!r} of {world}; known: {', '.join(known)}{closest(split, known)}"
    )
