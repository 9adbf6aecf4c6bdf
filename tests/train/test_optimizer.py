"""The optimizer moves what its name says, and goes on where it was saved."""

from __future__ import annotations

import copy

import pytest
import torch

from himac.config import OptimizerConfig
from himac.learner.optimizer import Optimizer, matrices_of


class Reader(torch.nn.Module):
    """As much of a language model as an optimizer asks about."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embed = torch.nn.Embedding(11, 8)
        self.wide = torch.nn.Linear(8, 16)
        self.norm = torch.nn.LayerNorm(16)
        self.head = torch.nn.Linear(16, 11, bias=False)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embed

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.norm(self.wide(self.embed(ids))))
        return logits


def _optimiser(model: Reader, name: str, **settings: float) -> Optimizer:
    optim = OptimizerConfig(name=name, weight_decay=0.0, **settings)  # type: ignore[arg-type]
    return Optimizer(model, [{"params": list(model.parameters())}], optim)


def _learn(model: Reader, optimizer: Optimizer, steps: int, lr: float = 0.01) -> None:
    ids = torch.arange(11)
    for step in range(steps):
        loss = torch.nn.functional.cross_entropy(model(ids), (ids * 3 + step) % 11)
        loss.backward()
        optimizer.step(lr)
        optimizer.zero_grad()


def test_only_matrices_go_by_muon() -> None:
    model = Reader()
    assert [p.shape for p in matrices_of(model, model.parameters())] == [torch.Size([16, 8])]


def test_muon_moves_every_direction_of_a_matrix_alike_and_all_else_as_adamw_does() -> None:
    plain, model = Reader(), Reader()
    before = model.wide.weight.detach().clone()
    _learn(plain, _optimiser(plain, "adamw"), 1)
    _learn(model, _optimiser(model, "muon", muon_rate=2.0), 1)
    sizes = torch.linalg.svdvals(model.wide.weight.detach() - before)
    scale = 0.01 * 2.0 * 0.2 * 16**0.5  # lr x rate x Adam's usual step x sqrt(longer side)
    assert sizes.min() > 0.6 * scale and sizes.max() < 1.3 * scale  # Newton-Schulz stops near one
    adam = torch.linalg.svdvals(plain.wide.weight.detach() - before)
    assert adam.max() > 3 * adam.min()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, plain.get_parameter(name)) == (name != "wide.weight"), name


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_saved_optimiser_goes_on_to_the_digit(name: str) -> None:
    model = Reader()
    optimizer = _optimiser(model, name)
    _learn(model, optimizer, 3)
    other = Reader()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    again = _optimiser(other, name)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    _learn(model, optimizer, 2)
    _learn(other, again, 2)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    fresh = Reader()
    fresh.load_state_dict(model.state_dict())
    _learn(fresh, _optimiser(fresh, name), 2)
    _learn(model, optimizer, 2)
    assert not torch.equal(fresh.wide.weight, model.wide.weight)  # so what was saved matters


def test_muon_learns_what_it_is_shown() -> None:
    model, ids = Reader(), torch.arange(11)
    optimizer = _optimiser(model, "muon")
    for _ in range(150):
        torch.nn.functional.cross_entropy(model(ids), (ids * 3) % 11).backward()
        optimizer.step(0.03)
        optimizer.zero_grad()
    assert torch.equal(model(ids).argmax(-1), (ids * 3) % 11)


def test_adapters_alone_are_all_matrices_and_that_is_well() -> None:
    model = Reader()
    optim = OptimizerConfig(name="muon", weight_decay=0.0)
    optimizer = Optimizer(model, [{"params": [model.wide.weight]}], optim)
    before = copy.deepcopy(model.state_dict())
    _learn(model, optimizer, 1)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"wide.weight"}
    optimizer.load_state_dict(optimizer.state_dict())
