"""Ranks that hold the weights in parts (FSDP2): each a slice of every matrix, its gradient, moments and masters.

A layer's weights are gathered for as long as it computes and its gradients are added up where their part lies. Three
things follow that ranks with whole weights need not heed, and that raise no error where they are missed:

- every pass is a collective: the ranks take as many, of the same kinds, in the same order (`lockstep`). Were one's k-th
  pass the planner's and another's the executor's, the planner's gradient would be added to the executor's adapter;
- generation is no lockstep: each rank gathers the whole model before it collects (`whole`), once a version of the
  weights, and lets go of it before it learns (`parts`);
- what a rank sees of the weights is its part: norms, checks and files are of all parts together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from himac.errors import ModelError, RunError
from himac.parallel.ranks import shares
from himac.parallel.replicated import Replicated
from himac.parallel.tensors import full, layers_of

T = TypeVar("T")


class Sharded(Replicated):
    """`Ranks` in which every rank holds a part of each weight.

    Args:
        device: "cuda" or "cpu": where the ranks compute.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.mesh = init_device_mesh(device, (self.size,))
        self._generating: list[Any] = []  # models that each rank also computes with alone
        self._hooks: list[tuple[Any, str, Any]] = []  # FSDP's, set aside while the models are whole
        self._is_whole = False

    def join(self, model: Any, *, generates: bool) -> None:
        """See `Ranks`. Each layer is gathered for itself; embeddings, head and what else there is, together."""
        kinds = {p.dtype for p in model.parameters() if p.requires_grad}
        if len(kinds) > 1:
            raise ModelError(
                f"parallel.shard = true needs weights of one type where they learn, got {', '.join(sorted(map(str, kinds)))}",
                hint='model.dtype = "float32" or "bfloat16"',
            )
        # gradients are added up in float32; nothing is cast: what a layer computes is what it computes unsharded
        settings: Any = {
            "mesh": self.mesh,
            "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False),
        }
        for layer in layers_of(model):
            fully_shard(layer, **settings)
        fully_shard(model, **settings)
        for module in _sharded_modules(model):
            module.set_gradient_divide_factor(1.0)  # himac's loss is a weighted sum over tokens
            module.set_force_sum_reduction_for_comms(True)  # else a factor asks for NCCL's own operation
        with torch.no_grad():  # the first pass finds the root; it may not come while one rank computes alone
            model(input_ids=torch.tensor([[3, 1, 4]], device=self.mesh.device_type), use_cache=False)
        for module in _sharded_modules(model):
            module.reshard()
        if generates:
            self._generating.append(model)

    def lockstep(
        self, items: Sequence[T], costs: Sequence[float], kinds: Sequence[Any]
    ) -> list[tuple[T, bool]]:
        """See `Ranks`. Each kind is dealt out for itself, and who has fewer passes its cheapest item again, for nothing."""
        if any(other != list(kinds) for other in self.gather(list(kinds))):
            raise RunError("the ranks do not learn from the same packed rows: their passes would be mixed up")
        found: list[tuple[T, bool]] = []
        for kind in dict.fromkeys(kinds):
            own = [index for index, other in enumerate(kinds) if other == kind]
            dealt = shares([costs[index] for index in own], self.size)
            mine = [own[index] for index in dealt[self.rank]]
            spare = items[min(own, key=lambda index: (costs[index], index))]
            missing = max(map(len, dealt)) - len(mine)
            found += [(items[index], True) for index in mine] + [(spare, False)] * missing
        return found

    def sum_gradients(self, parameters: Sequence[Any]) -> None:
        """See `Ranks`. The backward pass has added up those of weights in parts; what each rank has whole is left."""
        super().sum_gradients([p for p in parameters if not isinstance(p, DTensor)])

    def whole(self) -> None:
        """See `Ranks`. FSDP's hooks are set aside: a pass is then an ordinary one, which a GPU can also record."""
        if self._is_whole:
            return
        self._is_whole = True
        for model in self._generating:
            for module in _sharded_modules(model):
                module.unshard()
                for name in ("_forward_pre_hooks", "_forward_hooks"):
                    hooks = getattr(module, name)
                    self._hooks.append((module, name, hooks))
                    setattr(module, name, _without(hooks, module))

    def parts(self) -> None:
        """See `Ranks`."""
        if not self._is_whole:
            return
        self._is_whole = False
        for module, name, hooks in self._hooks:
            setattr(module, name, hooks)
        self._hooks.clear()
        for model in self._generating:
            # whose turn it was to learn is said by these flags; those of the parts are older
            learns = {name: p.requires_grad for name, p in model.named_parameters()}
            for module in _sharded_modules(model):
                module.reshard()
            for name, p in model.named_parameters():
                p.requires_grad_(learns[name])

    def state_of(self, model: Any, *, only: str = "") -> dict[str, torch.Tensor] | None:
        """See `Ranks`. Tensor by tensor; the first rank keeps them, in its processor's memory."""
        self.parts()
        seen: dict[int, torch.Tensor] = {}  # tied weights are gathered once, and stay tied
        found = {}
        for name, value in model.state_dict(keep_vars=True).items():
            if only not in name:
                continue
            if id(value) not in seen:
                gathered = full(value.detach())
                seen[id(value)] = gathered.cpu() if self.is_first else gathered.new_empty(0)
            found[name] = seen[id(value)]
        return found


def _sharded_modules(model: Any) -> Iterator[Any]:
    return (module for module in model.modules() if isinstance(module, FSDPModule))


def _without(hooks: Any, module: Any) -> Any:
    """Return a module's hooks without FSDP's own."""
    state = module._get_fsdp_state()
    return OrderedDict(
        (key, hook) for key, hook in hooks.items() if getattr(hook, "__self__", None) is not state
    )
