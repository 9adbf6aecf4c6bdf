"""How much memory an iteration takes: counted where it can be counted, and what a pass keeps for its backward, measured.

What autograd keeps of a forward pass grows linearly with the tokens of a pack, whatever the architecture, so two short
passes of the model at hand say how much a token takes; no formula per family. Left out: an allocator's losses, and
what the libraries themselves take.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from himac.config import Config
from himac.engines.kv import bytes_per_token
from himac.engines.transformers import prefill_tokens
from himac.learner.policy import ROLES, Policy
from himac.models.head import CHUNK_ELEMENTS
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.parallel.tensors import layers_of

_SHORT, _LONG = 64, 192  # tokens of the two passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of an iteration, by what they are for."""

    weights: int
    masters: int  # float32 copies of trained weights that are stored in less
    gradients: int  # in the type of the weights
    stepped: (
        int  # gradients of the masters, which take the place of the weights' own while the optimizer steps
    )
    optimizer: int  # moments, of each role's own state
    reference: int  # a frozen copy for the KL term; only there for its own pass where another device computes
    is_offloaded: bool
    activations: int  # of one pack, kept for the backward pass
    logits: int  # that exist at a time
    layer: int  # what one layer computes with while a pack goes through it
    prefill: int  # and while prompts do
    cache: int  # keys and values of the episodes in flight, at their longest
    gathered: int = 0  # of ranks with parts: what is whole while a pass goes through it, and its gradient
    whole: int = 0  # and all weights, while such a rank collects
    overlaps: bool = False  # it collects while it learns
    behind: int = 0  # what learns once more, as it was, to collect with

    @property
    def held(self) -> int:
        """What is there all the time."""
        held = self.weights + self.masters + self.optimizer + self.behind
        return held + (0 if self.is_offloaded else self.reference)

    @property
    def learning(self) -> int:
        """At most while the learner learns: the cache has been given back."""
        asking = self.logits + (self.reference if self.is_offloaded else 0)
        return self.held + max(
            self.gradients + self.gathered + self.activations + self.layer + self.logits,
            self.stepped,
            self.gathered + asking,
        )

    @property
    def collecting(self) -> int:
        """While episodes are collected."""
        return self.held + self.whole + self.cache + self.prefill

    @property
    def most(self) -> int:
        """The larger of the two; where both are done at once, what they take together."""
        if self.overlaps:
            return self.learning + self.collecting - self.held
        return max(self.learning, self.collecting)


def in_parts(memory: Memory, policy: Policy, ranks: int) -> Memory:
    """Return what an iteration takes of each of some ranks that hold the weights in parts (`parallel.shard`).

    Gathered at a time are what lies in no layer (embeddings, head) and two layers, one of which comes ahead of its turn;
    each has a gradient of its size, and one is added up in float32.
    """
    model = policy.model
    layers = [sum(p.numel() * p.element_size() for p in layer.parameters()) for layer in layers_of(model)]
    others, largest = memory.weights - sum(layers), max(layers, default=0)
    learns = memory.gradients / max(memory.weights, 1)  # hardly anything, with an adapter
    parts = {
        name: -(-getattr(memory, name) // ranks)
        for name in ("weights", "masters", "gradients", "stepped", "optimizer", "reference")
    }
    gathered = int(others * (1 + learns) + 2 * largest + 3 * largest * learns)
    return replace(memory, **parts, is_offloaded=False, gathered=gathered, whole=memory.weights)


def memory_of(policy: Policy, config: Config, *, kept: tuple[float, float] | None = None) -> Memory:
    """Return what an iteration of a recipe takes with a model.

    Args:
        policy: the model, loaded as the recipe says, on the device where it will be trained.
        config: the recipe.
        kept: from `kept_per_token`, where it is known already.
    """
    model, trained = policy.model, policy.trainable
    settings = model.config.get_text_config()
    num_narrow = sum(p.numel() for p in trained if p.dtype != torch.float32)
    num_trained = sum(p.numel() for p in trained)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    # each role has a state of its own; with an adapter for each, of its own weights
    plays_both = config.algo.method.startswith("himac") and config.algo.coevolution
    states = 2 if plays_both and not policy.per_role and not config.optimizer.shared_state else 1
    element = next(model.parameters()).element_size()
    in_flight = config.rollout.max_live * (config.model.max_prompt + config.agent.executor_tokens)
    most = config.engine.settings.get("max_kv_tokens") or in_flight
    per_token, in_layer = kept or kept_per_token(policy)
    has_copy = config.algo.has_kl and not config.model.lora_rank
    return Memory(
        weights=weights,
        masters=4 * num_narrow,
        gradients=sum(p.numel() * p.element_size() for p in trained),
        stepped=4 * num_trained,
        optimizer=8 * num_trained * states,
        reference=weights if has_copy else 0,
        is_offloaded=policy.device.type != "cpu",
        activations=int(per_token * config.optimizer.max_tokens),
        logits=3 * 4 * min(CHUNK_ELEMENTS, settings.vocab_size * config.optimizer.max_tokens),
        layer=int(in_layer * config.optimizer.max_tokens),
        prefill=int(in_layer * min(prefill_tokens(policy.device), in_flight)),
        cache=bytes_per_token(settings, element) * min(most, in_flight),
        overlaps=config.parallel.overlap,
        behind=sum(p.numel() * p.element_size() for p in trained) if config.parallel.behind else 0,
    )


def kept_per_token(policy: Policy) -> tuple[float, float]:
    """Return the bytes that autograd keeps of a forward pass for each of its tokens, and those of one layer alone.

    With gradient checkpointing these are the inputs of the layers, and one layer's own while it is computed again.
    """
    kept, whole = kept_and_whole(policy)
    layers = policy.model.config.get_text_config().num_hidden_layers
    return (kept if kept > 0.9 * whole else kept + whole / layers), whole / layers


def kept_and_whole(policy: Policy) -> tuple[float, float]:
    """Return (bytes a token that a training pass keeps, the same without gradient checkpointing)."""
    policy.play(ROLES[0])
    model = policy.model
    training = model.training
    try:
        model.train()
        kept = _slope(policy)
        model.eval()  # layers are computed again in training mode alone
        return kept, _slope(policy)
    finally:
        model.train(training)


def _slope(policy: Policy) -> float:
    return (_kept(policy, _LONG) - _kept(policy, _SHORT)) / (_LONG - _SHORT)


def _kept(policy: Policy, length: int) -> int:
    """Return the bytes of what a pass over `length` tokens keeps, weights excepted."""
    own = {p.untyped_storage().data_ptr() for p in policy.model.parameters()}
    seen: dict[int, int] = {}
    alive: list[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(
                tensor.detach()
            )  # a storage that is freed gives its address to the next; itself it would be a cycle

    (batch,) = pack([np.arange(3, 3 + length)], max_tokens=length)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):  # no backward follows
        kept = token_logps(policy.model, batch, [np.arange(length) == 1])
    del kept
    return sum(seen.values())
