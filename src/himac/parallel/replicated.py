"""Ranks that torchrun has started, each with the whole model (torch.distributed; gloo on processors, NCCL on GPUs)."""

from __future__ import annotations

import datetime as dt
import gc
import os
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist

from himac.errors import ConfigError
from himac.layout import ParallelConfig
from himac.parallel.ranks import ALONE, Alone, Ranks, shares

T = TypeVar("T")
_PATIENCE = dt.timedelta(
    hours=6
)  # that ranks wait for one another: an evaluation's slowest share, a warm start


class Replicated(Alone):
    """`Ranks` in which every rank holds all weights and steps its own copy of the optimizer by the same gradient."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.is_first = self.rank == 0

    def mine(self, items: Sequence[T], costs: Sequence[float]) -> list[T]:
        """See `Ranks`."""
        return [items[index] for index in shares(costs, self.size)[self.rank]]

    def first(self, value: T) -> T:
        """See `Ranks`."""
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """See `Ranks`."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return cast("list[T]", found)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """See `Ranks`."""
        total = torch.as_tensor(np.asarray(values, np.float64).copy())
        dist.all_reduce(total)
        summed: np.ndarray = total.numpy()
        return summed

    def sum_gradients(self, parameters: Sequence[Any]) -> None:
        """See `Ranks`. Two collectives for all of them: who has which, and their sum in float32."""
        if not parameters:
            return
        device = parameters[0].device
        held = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
        dist.all_reduce(held)
        present = [p for p, count in zip(parameters, held.tolist(), strict=True) if count]
        if not present:
            return
        zero = torch.zeros((), device=device)
        flat = torch.cat(
            [(zero.expand(p.numel()) if p.grad is None else p.grad.flatten()).float() for p in present]
        )
        dist.all_reduce(flat)
        for p, part in zip(present, flat.split([p.numel() for p in present]), strict=True):
            p.grad = part.view_as(p).to(p.dtype)

    def wait(self) -> None:
        """See `Ranks`."""
        dist.barrier()

    def close(self) -> None:
        """See `Ranks`. Together: whoever leaves first takes the others' meeting place away."""
        dist.barrier()
        gc.collect()  # modules in parts hold the group in cycles, and one that is still held at the end may abort the process
        dist.destroy_process_group()


def from_environment(cfg: ParallelConfig) -> Ranks:
    """Return the ranks that a launcher says there are: torchrun sets RANK, WORLD_SIZE and how to meet; alone without.

    Args:
        cfg: how they hold the weights.

    Raises:
        ConfigError: this PyTorch cannot shard.
    """
    if cfg.shard:
        check_sharding()
    if int(os.environ.get("WORLD_SIZE") or 1) < 2:
        return ALONE
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK") or 0))
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=_PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    if not cfg.shard:
        return Replicated()
    from himac.parallel.sharded import Sharded

    return Sharded(device)


def why_no_sharding() -> str:
    """Return why weights cannot be sharded with this PyTorch; "" where they can."""
    try:
        from torch.distributed.fsdp import FSDPModule
    except ImportError:  # also a build without torch.distributed
        return f"torch {torch.__version__} has no fully_shard"
    can = hasattr(FSDPModule, "set_force_sum_reduction_for_comms")
    return "" if can else f"torch {torch.__version__} cannot add gradients up without averaging them"


def check_sharding() -> None:
    """Refuse to shard where this PyTorch cannot.

    Raises:
        ConfigError: it is so.
    """
    if why := why_no_sharding():
        raise ConfigError(f"parallel.shard = true: {why}", hint="pip install --upgrade torch")
