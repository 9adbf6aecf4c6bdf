"""Where each new sequence finds what is already computed of it; numpy alone.

In lexicographic order the longest common prefix is with a neighbour. Each prompt takes it from a
slot of the cache or from a prompt that is computed in the same call, whichever is longer, and computes the
rest; prompts that wait for a peer come one *wave* after it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from himac.models.packing import common_prefix, lexical_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a prompt goes and what it takes over."""

    prompt: int  # index of the prompt
    slot: int  # where its keys and values will be
    source: int  # slot to copy the prefix from; equal to `slot` when it already lies there
    start: int  # tokens taken over; the rest is computed
    wave: int  # waves before it have to be computed first
    twin: int  # prompt with the very same ids whose result serves this one too; -1 when there is none


def place(
    prompts: Sequence[np.ndarray],
    slots: Sequence[np.ndarray],
    last_used: Sequence[int],
    *,
    live: Set[int],
) -> list[Placement]:
    """Give each prompt a slot and the longest prefix that is computed or about to be.

    Args:
        prompts: token ids, each (P,), at most as many as there are slots outside `live`.
        slots: per slot the tokens it holds, (T,); empty when it is free.
        last_used: per slot; what was used longest ago is given up first.
        live: slots that are being generated in: read from, never written to.

    Returns:
        One placement per prompt, ordered so that a twin or a peer's source comes first.

    >>> a, b = np.array([1, 2, 3]), np.array([1, 2, 4])
    >>> for p in place([a, b, a], [np.array([1]), a[:0], a[:0]], [0, -1, -1], live=set()): print(p)
    Placement(prompt=0, slot=0, source=0, start=1, wave=0, twin=-1)
    Placement(prompt=2, slot=1, source=0, start=3, wave=1, twin=0)
    Placement(prompt=1, slot=2, source=0, start=2, wave=1, twin=-1)
    """
    given_up: set[int] = set()
    while True:
        kept = {slot: ids for slot, ids in enumerate(slots) if len(ids) and slot not in given_up}
        placements, in_the_way = _try(prompts, kept, len(slots), last_used, live)
        if not in_the_way:
            return placements
        given_up.update(in_the_way)


def _try(
    prompts: Sequence[np.ndarray],
    kept: Mapping[int, np.ndarray],
    num_slots: int,
    last_used: Sequence[int],
    live: Set[int],
) -> tuple[list[Placement], list[int]]:
    """Place the prompts, or say which slots have to be given up first."""
    cached = sorted((lexical_key(ids), slot) for slot, ids in kept.items())
    order = sorted((lexical_key(ids), number) for number, ids in enumerate(prompts))
    found = [_longest(prompts[number], key, cached, kept) for key, number in order]
    claimed = set(live)
    own: dict[int, int] = {}  # prompt -> slot whose whole content it continues
    for (_, number), (slots, length) in zip(order, found):
        for slot in slots:
            if len(kept[slot]) == length and slot not in claimed:
                own[number] = slot
                claimed.add(slot)
                break
    needed = {slots[0] for slots, _ in found if slots}
    free = sorted(set(range(num_slots)) - claimed - needed, key=lambda slot: (slot in kept, last_used[slot]))
    free.reverse()
    missing = len(prompts) - len(own) - len(free)
    if missing > 0:
        return [], sorted(needed - claimed, key=lambda slot: last_used[slot])[:missing]
    placements: list[Placement] = []
    for (_, number), (slots, length) in zip(order, found):
        slot = own[number] if number in own else free.pop()
        source, wave, twin = slot if number in own or not slots else slots[0], 0, -1
        if placements:
            peer = placements[-1]
            shared = common_prefix(prompts[number], prompts[peer.prompt])
            if shared > length:
                peer = _computes(placements, shared)
                same = shared == len(prompts[number])
                source, length, wave = peer.slot, shared, peer.wave + 1
                twin = peer.prompt if same else -1
        placements.append(
            Placement(prompt=number, slot=slot, source=source, start=length, wave=wave, twin=twin)
        )
    return placements, []


def _longest(
    ids: np.ndarray, key: bytes, cached: list[tuple[bytes, int]], kept: Mapping[int, np.ndarray]
) -> tuple[list[int], int]:
    """Return (slots that share the longest prefix with the prompt, its length), at most all but one token.

    The last token is left to be computed: its logits are what the caller wants.
    """
    at = bisect_left(cached, (key, -1))
    length = 0
    for _, slot in cached[max(at - 1, 0) : at + 1]:
        length = max(length, common_prefix(ids[:-1], kept[slot]))
    if not length:
        return [], 0
    stem = lexical_key(ids[:length])
    slots = []
    for stored, slot in cached[bisect_left(cached, (stem, -1)) :]:
        if not stored.startswith(stem):
            break
        slots.append(slot)
    return slots, length


def _computes(placements: list[Placement], shared: int) -> Placement:
    """Return the earliest placement on the last one's path that itself computes token `shared - 1`."""
    by_slot = {placement.slot: placement for placement in placements}
    peer = placements[-1]
    while peer.start >= shared and peer.source != peer.slot:
        peer = by_slot[peer.source]
    return peer
