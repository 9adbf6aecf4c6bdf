"""Generation by transformers' own `generate` and caches, for models that have no slots: padded batches, in rounds.

What is drawn is ours, token by token, so that seeds, stop strings and log-probabilities are those of the other engine.
No prefix is reused between turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from himac.engines.rows import Ending, Row, end_ids, positions_of, row_of
from himac.engines.sampling import draw, exact
from himac.models.modes import evaluating
from himac.types import Completion, LanguageModel, Request, Tokenizer, Weights

_EXACT = 1e-3  # of the logits' own spread: more than rounding, less than a padding that is seen


class PaddedEngine:
    """A `BatchEngine` on any causal language model of transformers.

    Args:
        model: its device and dtype are used as they are.
        tokenizer: decodes for stop strings and names the end-of-turn tokens.
        max_batch: most sequences generated at once.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, *, max_batch: int = 128) -> None:
        self.model, self.max_batch = model, max_batch
        self._ending = Ending(end_ids(model, tokenizer), tokenizer)
        self._max_length = positions_of(model)
        self._pads = self._sees_no_padding()

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in order.

        Raises:
            ModelError: a prompt is empty or longer than the model allows.
        """
        rows = [row_of(number, request, self._max_length) for number, request in enumerate(requests)]
        with evaluating(self.model), torch.inference_mode():
            for batch in self._batches([row for row in rows if row.max_tokens > 0]):
                self._run(batch)
        return [row.completion for row in rows]

    def load_weights(self, state: Weights, version: int) -> None:
        """Take new weights; there is no cache to drop."""
        if state is not None:
            self.model.load_state_dict(state, strict=False)

    def close(self) -> None:
        """Nothing to release: the module belongs to the learner."""

    def _batches(self, rows: list[Row]) -> Iterator[list[Row]]:
        """Yield rows that are generated together: of like length, of one length where padding would be seen."""
        batch: list[Row] = []
        for row in sorted(rows, key=lambda row: len(row.prompt)):
            differs = batch and not self._pads and len(row.prompt) != len(batch[0].prompt)
            if differs or len(batch) == self.max_batch:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _run(self, rows: list[Row]) -> None:
        longest = max(len(row.prompt) for row in rows)
        ids, mask = np.zeros((2, len(rows), longest), np.int64)
        for i, row in enumerate(rows):
            ids[i, longest - len(row.prompt) :] = row.prompt
            mask[i, longest - len(row.prompt) :] = 1
        device = next(self.model.parameters()).device
        self.model.generate(
            torch.as_tensor(ids, device=device), attention_mask=torch.as_tensor(mask, device=device),
            generation_config=GenerationConfig(
                max_new_tokens=max(row.max_tokens for row in rows), do_sample=False, pad_token_id=0, eos_token_id=None
            ),
            logits_processor=[_Drawing(rows, self._ending)], stopping_criteria=[_Over(rows)],
        )  # fmt: skip

    def _sees_no_padding(self) -> bool:
        """Say whether a prompt that is padded on the left has the same next token as one that is not."""
        device = next(self.model.parameters()).device
        ids = torch.tensor([[3, 1, 4, 1, 5]], device=device)
        padded, mask = torch.nn.functional.pad(ids, (3, 0)), torch.ones(1, 8, dtype=torch.long, device=device)
        mask[:, :3] = 0
        with evaluating(self.model), torch.inference_mode():
            alone = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1].float()
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            try:
                beside = self.model(input_ids=padded, attention_mask=mask, position_ids=positions)
            except TypeError:  # a model without positions
                beside = self.model(input_ids=padded, attention_mask=mask)
        return float((alone - beside.logits[0, -1].float()).abs().max()) <= _EXACT * float(alone.std())


class _Drawing(LogitsProcessor):
    """Draws each live row's next token from its own stream, and leaves `generate` no other choice."""

    def __init__(self, rows: Sequence[Row], ending: Ending) -> None:
        self._rows, self._ending = rows, ending

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        live = [i for i, row in enumerate(self._rows) if row.finish is None]
        rows, device = [self._rows[i] for i in live], scores.device
        ids, logps = draw(
            scores[live].float(),
            torch.tensor([row.sampling.temperature for row in rows], device=device),
            torch.tensor([row.sampling.top_p for row in rows], device=device),
            torch.tensor([row.uniforms.random() for row in rows], dtype=torch.float64, device=exact(device)),
        )
        for row, token, logp in zip(rows, ids.tolist(), logps.tolist(), strict=True):
            row.ids.append(token)
            row.logps.append(logp)
            self._ending.look(row)
        only = torch.full_like(scores, -torch.inf)
        only[:, 0] = 0.0
        only[live] = -torch.inf
        only[live, ids] = 0.0
        return only


class _Over(StoppingCriteria):
    """Tells `generate` which rows are over."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        return torch.tensor([row.finish is not None for row in self._rows], device=input_ids.device)
