"""Float32 masters of weights that are stored in less, and whether an update moved them.

A bfloat16 number has 8 bits of mantissa: a step of 1e-6 on a weight of 0.02 is a hundredth of the distance to its
neighbour and is rounded away, every time. So the optimizer steps a float32 copy, and the stored weight is that copy
rounded. Chosen over stochastic rounding, which needs no copy (4 bytes a weight) but adds noise of the size of the
weights' own resolution to every step; masters are what FSDP's mixed precision keeps too. Moments are float32 with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from himac.parallel.tensors import laid_as, local

_SAMPLE = 256  # weights looked at of each tensor


class Masters:
    """The tensors that optimizers step: a float32 copy where a weight is stored in less, else the weight itself.

    Args:
        parameters: of the model; those in float32 are their own masters.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self._stored = list(parameters)
        self._masters = [p if p.dtype == torch.float32 else _copy(p) for p in self._stored]
        self._of = {id(p): master for p, master in zip(self._stored, self._masters, strict=True)}

    def of(self, parameter: torch.nn.Parameter) -> torch.nn.Parameter:
        """Return what an optimizer steps in a parameter's place."""
        return self._of.get(id(parameter), parameter)

    def pull(self) -> None:
        """Hand the masters the gradients of the weights that they stand for, one by one: both together are never there."""
        for stored, master in self._pairs():
            master.grad = None if stored.grad is None else stored.grad.float()
            stored.grad = None

    @torch.no_grad()
    def push(self) -> None:
        """Round the masters into the stored weights."""
        for stored, master in self._pairs():
            stored.copy_(master)
            master.grad = None

    @torch.no_grad()
    def reset(self) -> None:
        """Take the stored weights as they are: they were loaded."""
        for stored, master in self._pairs():
            master.copy_(stored)

    def state_dict(self) -> list[torch.Tensor]:
        """Return the copies; empty where every weight is its own master."""
        return [master.detach() for _, master in self._pairs()]

    @torch.no_grad()
    def load_state_dict(self, state: Sequence[torch.Tensor]) -> None:
        """Take the copies back."""
        for (_, master), saved in zip(self._pairs(), state, strict=True):
            master.copy_(laid_as(saved, master))

    @torch.no_grad()
    def sample(self) -> list[torch.Tensor]:
        """Return a fixed, spread sample of the masters' values, a tensor each."""
        return [_spread(master).clone() for master in self._masters]

    @torch.no_grad()
    def moved(self, before: Sequence[torch.Tensor], touched: Sequence[torch.Tensor]) -> tuple[int, int]:
        """Return how many of a sample have moved, and how many had a gradient.

        Args:
            before: what `sample` returned before the step.
            touched: from `touched`, before the step.
        """
        wanted = changed = 0
        for master, old, has_gradient in zip(self._masters, before, touched, strict=True):
            wanted += int(has_gradient.sum())
            changed += int((has_gradient & (_spread(master) != old)).sum())
        return changed, wanted

    def touched(self) -> list[torch.Tensor]:
        """Return, for the same sample, where the stored weights have a gradient other than 0."""
        return [
            torch.zeros_like(_spread(p), dtype=torch.bool) if p.grad is None else _spread(p.grad) != 0
            for p in self._stored
        ]

    def _pairs(self) -> list[tuple[torch.nn.Parameter, torch.nn.Parameter]]:
        pairs = zip(self._stored, self._masters, strict=True)
        return [(stored, master) for stored, master in pairs if stored is not master]


def _copy(parameter: torch.nn.Parameter) -> torch.nn.Parameter:
    return torch.nn.Parameter(parameter.detach().float().clone(), requires_grad=parameter.requires_grad)


def _spread(tensor: torch.Tensor) -> torch.Tensor:
    """(K,) up to `_SAMPLE` entries of what this rank holds, evenly spread."""
    flat = local(tensor.detach()).reshape(-1)
    return flat[:: max(1, len(flat) // _SAMPLE)]
