"""The table [parallel]: how several processes share a run. How many they are is the launcher's word (docs/scale.md)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelConfig:
    """How several processes, started by torchrun, hold the model, and what one process does at once."""

    shard: bool = False  # True: each holds a part of every weight and moment (FSDP2); False: all of them
    overlap: bool = False  # True: collect beside an update that leaves what is collected with alone
    behind: bool = False  # True: beside any update, with the weights of before it; needs overlap
