"""The output head and its log-softmax together, some rows at a time, so that no whole logits exist.

At a vocabulary of 151,936 the logits of 16,384 tokens are 10 GB in float32, and their gradient as much again. Here a
chunk of them is made, read, and made again in the backward pass; what stays are two numbers a row. How a family turns
its head's output into logits (scaled, soft-capped) is read from its configuration and compared with what it computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from himac.models.modes import evaluating
from himac.types import LanguageModel

CHUNK_ELEMENTS = 2**25
"""Logits that exist at a time (134 MB in float32), and so how many are worth the trouble of chunks."""
_PART = 2**14  # tokens of the vocabulary whose weights' gradient is made at a time
_SCALES = ("logits_scaling", "logit_scale", "lm_head_multiplier")
_CAPS = ("final_logit_softcapping", "output_logit_soft_cap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A linear output head: logits = cap(scale * (W h + b)), with cap(z) = c tanh(z / c) where there is one."""

    module: torch.nn.Linear
    scale: float = 1.0
    cap: float = 0.0  # 0 is none

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the head knows."""
        return self.module.out_features

    def logits(self, states_CH: Tensor, weight_VH: Tensor, bias_V: Tensor | None) -> Tensor:
        """Return (C, V) logits in float32; the matrix product in the weights' own type, as the model computes it."""
        logits_CV = linear(states_CH, weight_VH, bias_V).float()
        if self.scale != 1.0:
            logits_CV = logits_CV.mul_(self.scale)
        if self.cap:
            logits_CV = logits_CV.div_(self.cap).tanh_().mul_(self.cap)
        return logits_CV

    def logps(
        self,
        states_KH: Tensor,
        row_N: np.ndarray,
        target_N: np.ndarray,
        *,
        temperature: float,
        entropy_grad: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return (log-probability of target n after state row[n] (N,), entropies (K,) in nats), both float32."""
        call = _Call(self, row_N, target_N, temperature=temperature, entropy_grad=entropy_grad)
        found = _Chunked.apply(states_KH, self.module.weight, self.module.bias, call)  # type: ignore[no-untyped-call]
        return cast("tuple[Tensor, Tensor]", found)


def head_of(model: LanguageModel) -> Head | None:
    """Return the model's head where it can be taken in chunks; None where it is no plain linear layer.

    The model says something about three tokens, and what the head makes of the same states is compared with it. The
    answer is kept with the model.
    """
    kept = model.__dict__.get("_himac_head", False)
    if kept is not False and (kept is None or kept.module is model.get_output_embeddings()):
        return cast("Head | None", kept)
    found = _find(model)
    # not as an attribute: the head would be registered as a second module
    model.__dict__["_himac_head"] = found
    return found


@contextmanager
def reading_head(model: LanguageModel, *, cut: bool = False) -> Iterator[list[Tensor]]:
    """Yield a list into which the next forward puts what the output head reads, (1, K, hidden).

    Args:
        model: a causal language model of transformers.
        cut: keep the head from computing anything: the model returns logits of no token.
    """
    read: list[Tensor] = []

    def note(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        read.append(inputs[0])
        return (inputs[0][:, :0],) if cut else None

    hook = model.get_output_embeddings().register_forward_pre_hook(note)
    try:
        yield read
    finally:
        hook.remove()


def _find(model: LanguageModel) -> Head | None:
    module = model.get_output_embeddings()
    if type(module) is not torch.nn.Linear:
        return None
    with evaluating(model), torch.no_grad(), reading_head(model) as read:
        said = model(input_ids=torch.tensor([[3, 1, 4]], device=module.weight.device), use_cache=False)
    wanted = said.logits[0].float()
    states = read[0][0].detach()
    if states.dtype != module.weight.dtype:
        return None
    tolerance = 1e-5 if module.weight.dtype == torch.float32 else 1e-2
    for head in _candidates(module, model.config.get_text_config()):
        with torch.no_grad():
            gap = (head.logits(states, module.weight, module.bias) - wanted).abs().max()
        if gap <= tolerance * wanted.abs().max():
            return head
    return None


def _candidates(module: torch.nn.Linear, config: Any) -> Iterator[Head]:
    """Yield the plain head and what the configuration's names for scale and cap may mean."""
    yield Head(module=module)
    for name in _SCALES:
        value = getattr(config, name, None)
        if value:
            yield Head(module=module, scale=1.0 / value)
            yield Head(module=module, scale=float(value))
    for name in _CAPS:
        value = getattr(config, name, None)
        if value:
            yield Head(module=module, cap=float(value))


class _Call:
    """What one call of `Head.logps` asks for, sorted by row so that a chunk's part lies together."""

    def __init__(
        self, head: Head, row_N: np.ndarray, target_N: np.ndarray, *, temperature: float, entropy_grad: bool
    ) -> None:
        self.head, self.temperature, self.entropy_grad = head, temperature, entropy_grad
        self.order_N = np.argsort(row_N, kind="stable")
        self.row_N, self.target_N = row_N[self.order_N], target_N[self.order_N]

    def chunks(self, num_rows: int, device: torch.device) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Yield (rows, which n lie in them, row of each within the chunk, target of each)."""
        size = max(CHUNK_ELEMENTS // self.head.vocabulary, 1)
        for first in range(0, num_rows, size):
            last = min(first + size, num_rows)
            low, high = np.searchsorted(self.row_N, [first, last])
            numbers, rows, targets = (
                torch.as_tensor(array[low:high], device=device)
                for array in (self.order_N, self.row_N - first, self.target_N)
            )
            yield slice(first, last), numbers, rows, targets


class _Chunked(torch.autograd.Function):
    """log softmax(head(states) / temperature) at the targets, and its entropies, with gradients made chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, states_KH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, call: _Call
    ) -> tuple[Tensor, Tensor]:
        logp_N = torch.empty(len(call.row_N), device=states_KH.device)
        normaliser_K, entropy_K = torch.empty(2, len(states_KH), device=states_KH.device)
        for rows, numbers, row, target in call.chunks(len(states_KH), states_KH.device):
            scaled_CV = call.head.logits(states_KH[rows], weight_VH, bias_V).div_(call.temperature)
            normaliser_K[rows] = scaled_CV.logsumexp(-1)
            logps_CV = scaled_CV.sub_(normaliser_K[rows, None])
            logp_N[numbers] = logps_CV[row, target]
            entropy_K[rows] = -torch.einsum("cv,cv->c", logps_CV.exp(), logps_CV)
        ctx.save_for_backward(states_KH, weight_VH, bias_V, normaliser_K, entropy_K)
        ctx.call = call
        if not call.entropy_grad:
            ctx.mark_non_differentiable(entropy_K)
        return logp_N, entropy_K

    @staticmethod
    def backward(ctx: Any, dlogp_N: Tensor, dentropy_K: Tensor) -> tuple[Tensor | None, ...]:
        """With p = softmax(z): d logp[t] / dz = onehot(t) - p and dH / dz = -p (log p + H)."""
        states_KH, weight_VH, bias_V, normaliser_K, entropy_K = ctx.saved_tensors
        call, (wants_states, wants_weight, wants_bias, _) = ctx.call, ctx.needs_input_grad
        dstates_KH = torch.empty_like(states_KH) if wants_states else None
        dweight_VH = torch.zeros_like(weight_VH, dtype=torch.float32) if wants_weight else None
        dbias_V = torch.zeros(weight_VH.shape[0], device=weight_VH.device) if wants_bias else None
        for rows, numbers, row, target in call.chunks(len(states_KH), states_KH.device):
            raw_CV = call.head.logits(states_KH[rows], weight_VH, bias_V)
            slope_CV = 1 - (raw_CV / call.head.cap) ** 2 if call.head.cap else None
            logps_CV = raw_CV.div_(call.temperature).sub_(normaliser_K[rows, None])
            share_N = dlogp_N[numbers]
            total_C = torch.zeros(len(logps_CV), device=logps_CV.device).index_add_(0, row, share_N)
            if call.entropy_grad:
                pull_CV = (logps_CV + entropy_K[rows, None]).mul_(dentropy_K[rows, None])
                dz_CV = logps_CV.exp_().mul_(pull_CV.add_(total_C[:, None])).neg_()
            else:
                dz_CV = logps_CV.exp_().mul_(-total_C[:, None])
            dz_CV.index_put_((row, target), share_N, accumulate=True)
            dz_CV.mul_(call.head.scale / call.temperature)
            if slope_CV is not None:
                dz_CV.mul_(slope_CV)
            dz_CV = dz_CV.to(weight_VH.dtype)
            if dstates_KH is not None:
                torch.mm(dz_CV, weight_VH, out=dstates_KH[rows])
            if dweight_VH is not None:
                _add_product(dweight_VH, dz_CV, states_KH[rows])
            if dbias_V is not None:
                dbias_V += dz_CV.sum(0)
        return (
            dstates_KH,
            None if dweight_VH is None else dweight_VH.to(weight_VH.dtype),
            None if dbias_V is None or bias_V is None else dbias_V.to(bias_V.dtype),
            None,
        )


def _add_product(total_VH: Tensor, left_CV: Tensor, right_CH: Tensor) -> None:
    """Add left^T right to a float32 total, whatever type the two have."""
    if left_CV.dtype == torch.float32:
        total_VH.addmm_(left_CV.T, right_CH)
        return
    for total_PH, left_CP in zip(total_VH.split(_PART), left_CV.split(_PART, dim=1), strict=True):
        total_PH += (
            left_CP.T @ right_CH
        )  # a part of the vocabulary at a time: the product is a tensor of its own
