"""The critic: a linear head on the policy's own last hidden state, one column a role.

A language model that has read a context has already understood most of what its value depends on, so
the critic is one small matrix and no second model. It starts at zero, where it changes nothing: the first
advantages are returns, and no value gradient reaches the backbone before the head has learnt something.

The value loss always teaches the head in full; of its gradient a share (`coef`) goes on into the backbone.
Left out: a critic of its own size, which the published PPO trains beside the policy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from himac.types import LanguageModel, Role

_COLUMN: dict[Role, int] = {"planner": 0, "executor": 1}


class Critic(torch.nn.Module):
    """Values of states, in units of return.

    Args:
        hidden: width of the model's last hidden state.
        scale: a typical return, so that the head's numbers are around 1.
        rate: the head's learning rate over the backbone's.
        coef: share of the value loss's gradient that reaches the backbone.
    """

    def __init__(self, hidden: int, *, scale: float = 1.0, rate: float = 10.0, coef: float = 0.5) -> None:
        super().__init__()
        self.head = torch.nn.Linear(hidden, len(_COLUMN))
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        self.scale, self.rate, self.coef = scale, rate, coef

    def forward(self, states: Tensor, roles: Sequence[Role]) -> Tensor:
        """Return the (M,) float32 values of (M, hidden) states, each for the role whose turn it is."""
        still = states.detach()
        reached = (still + self.coef * (states - still)).float()
        columns_M = torch.tensor([_COLUMN[role] for role in roles], device=states.device)
        values_M: Tensor = self.head(reached).gather(1, columns_M[:, None])[:, 0]
        return self.scale * values_M


def hidden_size(model: LanguageModel) -> int:
    """Return the width of what a model's output head reads."""
    return int(model.config.get_text_config().hidden_size)
