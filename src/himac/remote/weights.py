"""Weights on their way through Ray's object store, from which all collectors of a machine read the same memory.

Ray hands out arrays of numpy without copying them; a tensor of torch would be copied once a collector.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor as bytes: numpy has no bfloat16."""

    data: np.ndarray  # uint8
    dtype: torch.dtype
    shape: tuple[int, ...]


def packed(state: Mapping[str, Tensor]) -> dict[str, Packed]:
    """Return {name: bytes} of tensors; of those that share their memory (a tied head) the first one alone."""
    found: dict[str, Packed] = {}
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        found[name] = Packed(flat.view(torch.uint8).numpy(), tensor.dtype, tuple(tensor.shape))
    return found


def unpacked(state: Mapping[str, Packed]) -> dict[str, Tensor]:
    """Return {name: tensor}, to be read and not written to: their memory is the store's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch has no tensors that cannot be written to
        return {
            name: torch.from_numpy(held.data).view(held.dtype).reshape(held.shape)
            if held.data.size
            else torch.empty(held.shape, dtype=held.dtype)
            for name, held in state.items()
        }
