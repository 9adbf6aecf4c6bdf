"""The table [parallel]: how several processes share a run. How many ranks there are is the launcher's word (docs/scale.md)."""

from __future__ import annotations

from dataclasses import dataclass

from himac.toml import Count, Pair, Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelConfig:
    """How several processes share a run: ranks, started by torchrun, hold the model, and Ray's collectors run episodes; what one does at once."""

    shard: bool = False  # True: each rank holds a part of every weight and moment (FSDP2); False: all of them
    collectors: Count = 0  # Ray actors that run the episodes; 0: the processes that learn do
    ray: str = "local"  # "local": a Ray of the run's own; "auto": the one this machine is part of; HOST:PORT
    collector_size: Pair = (1.0, 0.0)  # processor cores, and so threads, and GPUs of each collector
    collector_episodes: Positive = 32  # handed to a collector at once, in whole tasks
    overlap: bool = False  # True: collect beside an update that leaves what is collected with alone
    behind: bool = False  # True: beside any update, with the weights of before it; needs overlap
