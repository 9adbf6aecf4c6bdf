"""The optimizer that [optimizer] names.

    adamw   every weight by AdamW
    muon    weight matrices by Muon, all else (embeddings, output layer, norms, biases, a critic) by AdamW

Muon replaces the momentum of a matrix by the nearest matrix whose singular values are all one. A gradient of few
dominant directions, "say `left` more often", then moves no further than the many small ones, "say `left` where
the target is on the left". That is what a small model lacks, in the warm start as in training
(benchmarks/optimizers.py compares the two).

Source: Jordan et al., Muon (2024); scaled to AdamW's step as in Liu et al., arXiv 2502.16982.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from himac.config import OptimizerConfig
from himac.errors import ConfigError
from himac.learner.masters import Masters
from himac.parallel.tensors import in_parts, laid_as
from himac.types import LanguageModel, Row


class Optimizer:
    """One or two optimizers of PyTorch that step together.

    Args:
        model: whose embeddings and output layer are no matrices in Muon's sense: their rows are looked up.
        groups: of parameters, as PyTorch's optimizers take them; `rate` multiplies a group's learning rate.
        cfg: the [optimizer] section.
        masters: what is stepped in the parameters' place; None: they themselves.

    Raises:
        ConfigError: this PyTorch has no Muon.
    """

    def __init__(
        self,
        model: LanguageModel,
        groups: Sequence[Row],
        cfg: OptimizerConfig,
        masters: Masters | None = None,
    ) -> None:
        betas = (cfg.betas[0], cfg.betas[1])
        matrices: list[torch.nn.Parameter] = []
        if cfg.name == "muon":
            check_optimizer(cfg)
            matrices = matrices_of(model, groups[0]["params"])
        taken = {id(parameter) for parameter in matrices}
        of = masters.of if masters is not None else lambda parameter: parameter
        self._stored = [p for group in groups for p in group["params"]]
        rest = [
            {**group, "params": [of(p) for p in group["params"] if id(p) not in taken]} for group in groups
        ]
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=cfg.lr, betas=betas, weight_decay=cfg.weight_decay, fused=True)
        ]
        if matrices:
            self._parts.append(
                _muon(matrices)(
                    [{"params": [of(p) for p in matrices], "rate": cfg.muon_rate}],
                    lr=cfg.lr,
                    weight_decay=cfg.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )

    def step(self, lr: float) -> None:
        """Step at a learning rate, each group's own `rate` on top."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = lr * group.get("rate", 1.0)
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)
        for parameter in self._stored:  # where a master is stepped in its place
            parameter.grad = None

    def state_dict(self) -> list[Row]:
        """Return the parts' states, in order."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: Sequence[Row]) -> None:
        """Take the parts' states back."""
        for part, state in zip(self._parts, states, strict=True):
            stepped = [p for group in part.param_groups for p in group["params"]]
            moments = {
                index: {key: laid_as(value, stepped[index]) for key, value in held.items()}
                for index, held in state["state"].items()
            }
            part.load_state_dict({**state, "state": moments})


def _muon(matrices: Sequence[torch.nn.Parameter]) -> type[torch.optim.Muon]:
    if not in_parts(matrices[0]):
        return torch.optim.Muon
    from himac.learner.whole_muon import WholeMuon

    return WholeMuon


def check_optimizer(cfg: OptimizerConfig) -> None:
    """Refuse an optimizer that this PyTorch does not have.

    Raises:
        ConfigError: it is so.
    """
    if cfg.name == "muon" and not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f'optimizer.name = "muon" needs PyTorch 2.9 or newer, got {torch.__version__}',
            hint='upgrade torch, or set optimizer.name = "adamw"',
        )


def matrices_of(model: LanguageModel, parameters: Iterable[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """Return the parameters that are weight matrices: two-dimensional, neither embedding (of places too) nor output layer."""
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    layers += [model.get_input_embeddings(), model.get_output_embeddings()]
    looked_up = {id(p) for layer in layers if layer is not None for p in layer.parameters()}
    return [p for p in parameters if p.ndim == 2 and id(p) not in looked_up]
