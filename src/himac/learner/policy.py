"""The Policy: one language model that plays both roles, and the reference it may not stray from.

With LoRA the reference is the same model with its adapter switched off, and costs nothing; with full
training it is a frozen copy, made only when a KL term asks for it, which waits in the processor's memory. With an adapter for each role the roles share
nothing that learns, so that the executor is exactly what it was while the planner is updated.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path

import torch

from himac.chat import ChatFormat
from himac.config import ModelConfig
from himac.errors import ModelError
from himac.images import Album
from himac.models.head import head_of
from himac.models.load import load_model, load_vision, load_weights, save_model
from himac.models.vision import Vision, has_tower
from himac.parallel import ALONE, Ranks
from himac.types import LanguageModel, Role, Tokenizer

ROLES: tuple[Role, Role] = ("planner", "executor")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


class Policy:
    """Model, tokenizer and chat format.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        per_role: the model has one adapter named after each role.
        think: thoughts are wanted; some chat templates can be told.
        vision: the model's eyes; None for one that reads only.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        per_role: bool = False,
        think: bool = False,
        vision: Vision | None = None,
    ) -> None:
        self.model, self.tokenizer, self.per_role, self.vision = model, tokenizer, per_role, vision
        self.chat = ChatFormat(tokenizer, think=think, eyes=vision)
        self._reference: LanguageModel = None
        self._is_in_parts = False
        if per_role:
            self.model.set_adapter(ROLES[0])  # even where it is active already: the other one must not learn

    @classmethod
    def load(
        cls,
        name: str | Path,
        config: ModelConfig,
        *,
        device: torch.device,
        think: bool = False,
        album: Album | None = None,
    ) -> Policy:
        """Load a policy by Hugging Face name or local folder; a model that sees finds its pictures in the album."""
        adapters = ROLES if config.lora_per_role else ("default",)
        model, tokenizer = load_model(str(name), config, device=device, adapters=adapters)
        pictures = album or Album()
        vision = load_vision(str(name), model, config, pictures)
        return cls(model, tokenizer, per_role=config.lora_per_role, think=think, vision=vision)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(next(self.model.parameters()).device)

    @property
    def num_parameters(self) -> int:
        """How many weights there are, trained or not."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def trainable(self) -> list[torch.nn.Parameter]:
        """The parameters that learn, of both roles."""
        parameters = []
        for role in ROLES if self.per_role else ROLES[:1]:
            self.play(role)
            parameters += [p for p in self.model.parameters() if p.requires_grad]
        return parameters

    def play(self, role: Role) -> None:
        """Be this role from now on: its adapter computes and learns. Nothing to do where the roles share weights."""
        if self.per_role and self.model.active_adapter != role:
            self.model.set_adapter(role)

    def aside(self, *, apart: bool = False) -> Policy:
        """Return this policy in other modules over the same weights: it plays one role while this one plays, or learns, another.

        Which adapter computes is said by the modules, and which learns by the parameters; so both are others, and the memory
        behind them is one. It has no reference.

        Args:
            apart: what learns has memory of its own, which stays as it is until `take_from`.

        Raises:
            ModelError: the model sees; its eyes are no part of the modules.
        """
        if self.vision is not None:
            raise ModelError(
                "parallel.overlap = true is not there for a model that sees", hint="parallel.overlap = false"
            )
        learns = {id(p) for p in self.trainable} if apart else set()
        same: dict[int, object] = {
            id(p): torch.nn.Parameter(
                p.detach().clone() if id(p) in learns else p.detach(), requires_grad=False
            )
            for p in self.model.parameters()
        }
        same |= {id(buffer): buffer for buffer in self.model.buffers()}
        other = copy.copy(self)
        other.model, other._reference = copy.deepcopy(self.model, same).eval(), None
        return other

    @torch.no_grad()
    def take_from(self, other: Policy) -> None:
        """Take the weights of a policy that this one was set aside of, where the two do not share them."""
        for own, theirs in zip(self.model.parameters(), other.model.parameters(), strict=True):
            if own.data_ptr() != theirs.data_ptr():
                own.copy_(theirs)

    def join(self, ranks: Ranks) -> None:
        """Hold the model, and the reference where there is one, in parts, where the ranks do. Comes before an optimizer.

        Raises:
            ModelError: what cannot be held so, or was never tried.
        """
        if ranks.mesh is None or self._is_in_parts:
            return
        _check_parts(self)
        self._is_in_parts = True
        for model in (self.model, self._reference):
            if model is not None:
                head_of(model)  # asks the model something: not later, when the ranks' passes are counted
                ranks.join(model, generates=model is self.model)

    def save(self, folder: Path, ranks: Ranks = ALONE) -> None:
        """Save an ordinary Hugging Face folder: the first rank writes, all call this."""
        state = ranks.state_of(self.model, only="lora_" if self._has_adapter else "")
        if not ranks.is_first:
            return
        save_model(self.model, self.tokenizer, folder, state)
        if self.vision is not None:
            self.vision.processor.save_pretrained(str(folder))

    def merge(self) -> None:
        """Make a LoRA adapter a part of the weights, which then are an ordinary model's."""
        if self._has_adapter:
            self.model = self.model.merge_and_unload()

    def travelling(self, ranks: Ranks = ALONE) -> dict[str, torch.Tensor]:
        """Return {name: tensor} of what learning may have changed since the model was loaded: all, or the adapters.

        All ranks call this; only the first one's tensors are whole.
        """
        only = "lora_" if self._has_adapter else ""
        state = ranks.state_of(self.model, only=only)
        if state is not None:
            return state
        return {name: tensor for name, tensor in self.model.state_dict().items() if only in name}

    def load_weights(self, folder: Path) -> None:
        """Take the weights (or adapters) that `save` wrote, in place."""
        load_weights(self.model, folder)

    def freeze_reference(self) -> None:
        """Remember the weights of now as the reference. Free with LoRA."""
        if not self._has_adapter:
            self._reference = copy.deepcopy(self.model).requires_grad_(False).eval().to("cpu")

    @contextlib.contextmanager
    def reference(self) -> Iterator[LanguageModel]:
        """Yield the reference model."""
        if self._has_adapter:
            with self.model.disable_adapter():
                yield self.model
        else:
            assert self._reference is not None, "freeze_reference() first"
            try:
                yield self._reference if self._is_in_parts else self._reference.to(self.device)
            finally:
                if not self._is_in_parts:
                    self._reference.to("cpu")  # nothing to do where the processor itself computes

    @property
    def _has_adapter(self) -> bool:
        return hasattr(self.model, "disable_adapter")


def _check_parts(policy: Policy) -> None:
    """Refuse models of which some row may leave weights without a gradient: ranks would add up one's with another's."""
    config = policy.model.config.get_text_config()
    what = "that sees" if has_tower(policy.model) else ""
    if any(getattr(config, name, None) for name in _EXPERTS):
        what = "of experts"
    if what:
        raise ModelError(
            f"parallel.shard = true is not there for a model {what}, {config.model_type!r}",
            hint="parallel.shard = false: every rank holds the whole model",
        )
