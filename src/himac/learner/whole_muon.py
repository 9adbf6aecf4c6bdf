"""Muon for matrices that ranks hold in parts: momentum is stepped in parts, each matrix is made orthogonal whole.

The nearest orthogonal matrix is a matter of all rows at once. Left to itself, torch's Muon multiplies the parts, which
talks to the other ranks in each of its iterations and adds up in another order, in bfloat16; here a matrix is gathered once,
every rank makes the same of it, and takes its rows. All of them do that work: it is not divided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from himac.parallel.tensors import full, laid_as


class WholeMuon(torch.optim.Muon):
    """`torch.optim.Muon`, with its settings and its state."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Step the matrices that have a gradient; a closure is not asked."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._step(matrix, group)

    def _step(self, matrix: Tensor, group: dict[str, Any]) -> None:
        state, gradient, momentum = self.state[matrix], matrix.grad, group["momentum"]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        wanted = full(gradient.lerp(mean, momentum) if group["nesterov"] else mean)
        moved = torch.zeros_like(wanted).requires_grad_()  # from nothing, by torch's own step
        moved.grad = wanted
        torch.optim.Muon(
            [moved],
            lr=group["lr"],
            weight_decay=0.0,
            momentum=0.0,
            nesterov=False,
            ns_coefficients=group["ns_coefficients"],
            eps=group["eps"],
            ns_steps=group["ns_steps"],
            adjust_lr_fn=group["adjust_lr_fn"],
        ).step()
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(laid_as(moved.detach(), matrix))
