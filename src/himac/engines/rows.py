"""One request on its way through an engine: what was sampled so far, and when it is over."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from himac.chat import ChatFormat
from himac.chat.thoughts import thought_is_open
from himac.engines.sampling import stream
from himac.errors import ModelError
from himac.models.vision import Sight, Vision
from himac.types import Completion, LanguageModel, Request, Sampling, Tokenizer


@dataclass(slots=True, kw_only=True)
class Row:
    """A request while it waits and while it is generated."""

    ticket: int
    prompt: np.ndarray  # (P,) int32
    sampling: Sampling
    max_tokens: int  # limit on new tokens, the model's length considered
    uniforms: np.random.Generator
    sight: Sight | None = None  # of the prompt, where the model sees
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None

    @property
    def shift(self) -> int:
        """Position of the next token, less the tokens before it: a picture takes fewer positions than tokens."""
        return self.sight.shift if self.sight is not None else 0

    @property
    def completion(self) -> Completion:
        """What was sampled, once it is finished."""
        return Completion(ids=tuple(self.ids), logps=tuple(self.logps), finish=self.finish or "length")


def positions_of(model: LanguageModel) -> int | None:
    """Return how many positions a model has; None where there is no limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def row_of(ticket: int, request: Request, max_length: int | None, vision: Vision | None = None) -> Row:
    """Return a request as a row, its room for new tokens cut to what the model's positions leave.

    Raises:
        ModelError: its prompt is empty or longer than the model allows.
    """
    prompt = np.asarray(request.prompt, np.int32)
    room = request.sampling.max_tokens
    if not len(prompt):
        raise ModelError("a request has an empty prompt")
    if max_length is not None:
        if len(prompt) > max_length:
            raise ModelError(
                f"a request has a prompt of {len(prompt)} tokens; the model takes {max_length}",
                hint="shorten the context, or take a model with longer positions",
            )
        room = min(room, max_length - len(prompt) + 1)
    uniforms = stream(request.sampling.seed)
    sight = vision.sight(prompt) if vision is not None else None
    return Row(
        ticket=ticket,
        prompt=prompt,
        sampling=request.sampling,
        max_tokens=room,
        uniforms=uniforms,
        sight=sight,
    )


class Ending:
    """Says when a row is over: an end token, a stop string outside of a thought, or its limit.

    Args:
        eos_ids: tokens that end a turn.
        tokenizer: decodes for stop strings.
    """

    def __init__(self, eos_ids: Set[int], tokenizer: Tokenizer) -> None:
        self.eos_ids, self._tokenizer = eos_ids, tokenizer
        self._text_of: dict[int, str] = {}

    def look(self, row: Row) -> None:
        """Finish the row if its last token was its last one."""
        if row.ids[-1] in self.eos_ids or (row.sampling.stop and self._stopped(row)):
            row.finish = "stop"
        elif len(row.ids) >= row.max_tokens:
            row.finish = "length"

    def _stopped(self, row: Row) -> bool:
        """Say whether the last token completed a stop string.

        Only a token that holds a stop string's last character can, so most rows are not decoded at all.
        """
        token = row.ids[-1]
        if token not in self._text_of:
            self._text_of[token] = self._tokenizer.decode([token])
        text = self._text_of[token]
        stops = [stop for stop in row.sampling.stop if stop[-1:] in text or not stop[-1:].isascii()]
        if not stops:
            return False
        longest = max(len(stop.encode()) for stop in stops)
        tail = self._tokenizer.decode(row.ids[-longest - 8 :])
        if not any(stop in tail for stop in stops):
            return False
        return not thought_is_open(self._tokenizer.decode(row.ids), began=row.sampling.in_thought)


def end_ids(model: LanguageModel, tokenizer: Tokenizer) -> frozenset[int]:
    """Return every token id that ends a turn: the model's, the tokenizer's, the chat template's."""
    found: set[int] = set()
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        ids = getattr(source, "eos_token_id", None)
        found.update([ids] if isinstance(ids, int) else ids or [])
    if getattr(tokenizer, "chat_template", None):
        found.add(ChatFormat(tokenizer).end_id)
    return frozenset(found)
