"""A model in evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from himac.types import LanguageModel


@contextmanager
def evaluating(model: LanguageModel) -> Iterator[None]:
    """Switch off what only training does; afterwards every module is as it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
