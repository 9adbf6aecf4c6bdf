"""Tensors that several ranks hold in parts, and files of such parts; whoever is alone meets ordinary ones.

A part goes into a safetensors file of the rank that holds it, named with the row it begins at, so that any number of ranks can
read it again. Chosen over torch.distributed.checkpoint, whose index is a pickle that runs what it says when it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from himac.errors import DataError
from himac.files import as_usual

_PART = "himac_part"  # in a saved tree: here belongs a tensor that lies in parts


def layers_of(model: Any) -> list[torch.nn.Module]:
    """Return the layers that ranks with parts gather one by one; what lies in none of them they gather together."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def in_parts(tensor: Tensor) -> bool:
    """Whether a tensor lies in parts."""
    return hasattr(tensor, "device_mesh")  # a DTensor's; torch.distributed need not be there to ask


def local(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor."""
    return cast(Tensor, tensor.to_local()) if in_parts(tensor) else tensor  # type: ignore[attr-defined]


def full(tensor: Tensor) -> Tensor:
    """Return the whole of a tensor; all ranks have to ask."""
    return cast(Tensor, tensor.full_tensor()) if in_parts(tensor) else tensor  # type: ignore[attr-defined]


def laid_as(tensor: Tensor, like: Tensor, *, same_shape: bool = True) -> Tensor:
    """Return a tensor, whole on every rank, in parts as another one lies in them, of its shape where that is asked for."""
    if not in_parts(like) or in_parts(tensor) or (same_shape and tensor.shape != like.shape):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    there = tensor.to(like.device)
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)


def save_tree(tree: Any, path: Path, *, rank: int) -> None:
    """Write nested dicts and lists of tensors: the first rank's, and every rank's parts of those that lie in parts.

    Args:
        tree: the same on every rank but for the parts.
        path: of the file; the parts go into a folder beside it, without its ending.
        rank: of this process.
    """
    parts: dict[str, Tensor] = {}
    count = 0

    def mark(value: Any) -> Any:
        nonlocal count
        if not (isinstance(value, Tensor) and in_parts(value)):
            return value
        name, count = str(count), count + 1
        held = local(value.detach())
        if held.numel():
            parts[f"{name}@{_first_row(value)}"] = held.contiguous().cpu()
        return {_PART: name, "shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}

    marked = _walk(tree, mark)
    if count:
        folder = path.with_suffix("")
        folder.mkdir(exist_ok=True)
        if parts:
            save_file(parts, own := folder / f"rank-{rank:05d}.safetensors")
            as_usual(own)
    if rank == 0:
        torch.save(marked, path)


def load_tree(path: Path, mesh: Any = None) -> Any:
    """Read what `save_tree` wrote, with any number of ranks.

    Args:
        path: of the file.
        mesh: of the ranks that hold tensors in parts; None: what lay in parts becomes whole.

    Raises:
        DataError: a part is missing.
    """
    tree = torch.load(path, weights_only=True, map_location="cpu")
    with ExitStack() as stack:
        lying: dict[str, list[tuple[int, Any]]] = {}  # by name: (first row, a part)
        for file in sorted(path.with_suffix("").glob("rank-*.safetensors")):
            held = stack.enter_context(safe_open(str(file), "pt"))
            for key in held.keys():  # noqa: SIM118 - no mapping
                name, _, start = key.partition("@")
                lying.setdefault(name, []).append((int(start), held.get_slice(key)))

        def fill(value: Any) -> Any:
            if not (isinstance(value, dict) and _PART in value):
                return value
            made = _empty(tuple(value["shape"]), getattr(torch, value["dtype"]), mesh)
            _read_rows(local(made), _first_row(made), lying.get(value[_PART], []), path)
            return made

        return _walk(tree, fill)


def _read_rows(target: Tensor, first: int, parts: list[tuple[int, Any]], path: Path) -> None:
    """Copy the rows that a target stands for, from `first` on, out of the parts they lie in."""
    found = 0
    for start, part in parts:
        rows = part.get_shape()[0]
        low, high = max(first, start), min(first + len(target), start + rows)
        if low < high:
            target[low - first : high - first].copy_(part[low - start : high - start])
            found += high - low
    if found != len(target):
        raise DataError(f"{str(path.with_suffix(''))!r} holds {found} of {len(target)} rows of a tensor")


def _empty(shape: tuple[int, ...], dtype: torch.dtype, mesh: Any) -> Tensor:
    if mesh is None:
        return torch.zeros(shape, dtype=dtype)
    from torch.distributed.tensor import Shard, zeros

    return cast(Tensor, zeros(shape, dtype=dtype, device_mesh=mesh, placements=[Shard(0)]))


def _first_row(tensor: Tensor) -> int:
    """Return the row of the whole that this rank's part begins at."""
    if not in_parts(tensor):
        return 0
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    assert isinstance(tensor, DTensor)
    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return int(offset[0])


def _walk(tree: Any, change: Callable[[Any], Any]) -> Any:
    changed = change(tree)
    if changed is not tree:
        return changed
    if isinstance(tree, dict):
        return {key: _walk(value, change) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_walk(value, change) for value in tree)
    return tree
