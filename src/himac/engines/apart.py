"""What engines need that keep weights of their own, apart from the learner's: names, adapters, and the test of the gap.

An engine that was handed weights may go on with old ones and raise nothing: an output head that shares the embedding's
weights and keeps a packed copy, an adapter that was loaded under a name it already had. So a few tokens are sampled
after every hand-over, and their log-probabilities must be the learner's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from himac.engines.rows import Ending, Row, row_of
from himac.errors import ModelError
from himac.files import as_usual, writing
from himac.models.logps import token_logps
from himac.models.modes import evaluating
from himac.models.packing import pack
from himac.types import Completion, LanguageModel, Request, Role, Sampling

EXACT = 1e-3  # nats a token at most, engine against learner, where both compute in float32
ROUNDED = 0.3  # in sixteen bits, where an honest engine has been seen at 0.05
_ROWS, _PROMPT, _ANSWER = 4, 24, 6  # of the test
_TEMPERATURE = 0.7  # not 1: log-probabilities from before the temperature must not pass


def base_of(model: LanguageModel) -> LanguageModel:
    """Return the model that peft has wrapped, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def base_weights(model: LanguageModel) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, weights) as the model's own checkpoint has them: adapters left out, tied weights once."""
    for name, weights in base_of(model).named_parameters():
        if "lora_" not in name:
            yield name.replace(".base_layer.", "."), weights.detach()


def adapters_of(model: LanguageModel) -> tuple[str, ...]:
    """Return the names of a model's LoRA adapters; none where it has none."""
    return tuple(getattr(model, "peft_config", {}))


def adapter_for(role: Role, adapters: Sequence[str]) -> str:
    """Return the adapter that a role's requests go through: its own, or the one for all; "" where there is none.

    >>> adapter_for("planner", ("planner", "executor")), adapter_for("planner", ("default",)), adapter_for("planner", ())
    ('planner', 'default', '')
    """
    return role if role in adapters else next(iter(adapters), "")


def save_adapters(model: LanguageModel, folder: Path) -> dict[str, Path]:
    """Write the adapters under a folder; return {name: its own folder}."""
    with writing(folder):
        model.save_pretrained(str(folder))
        as_usual(folder)  # a server's user reads it
    return {name: folder if name == "default" else folder / name for name in adapters_of(model)}  # peft's way


def row_within(ticket: int, request: Request, max_length: int, *, where: str) -> Row:
    """Return a request as a row of an engine that samples nothing after its last position, as himac's own would once.

    Args:
        ticket: its number.
        request: the request.
        max_length: most tokens of a prompt and its answer together.
        where: says who set that limit.

    Raises:
        ModelError: its prompt is empty, or leaves no room for an answer.
    """
    row = row_of(ticket, request, max_length)
    room = max_length - len(row.prompt)
    if not room and row.max_tokens:
        raise ModelError(
            f"a request has a prompt of {len(row.prompt)} tokens; vLLM takes fewer than {max_length}",
            hint=f"shorten the context (model.max_prompt), or raise the limit: {where}",
        )
    row.max_tokens = min(row.max_tokens, room)
    return row


def completion_of(
    row: Row, ids: Sequence[int], logps: Sequence[float], ending: Ending, *, stopped: bool
) -> Completion:
    """Return a row's completion from what an engine sampled, up to where himac's other engines would have ended it.

    Args:
        row: of the request; it takes what is kept.
        ids: what was sampled.
        logps: of each.
        ending: says where a completion ends.
        stopped: the engine ended it for a token or a string, not for its length.
    """
    for token, logp in zip(ids, logps, strict=True):
        row.ids.append(token)
        row.logps.append(logp)
        ending.look(row)
        if row.finish == "stop":
            break
    else:
        row.finish = "stop" if stopped else "length"
    return row.completion


def probes(model: LanguageModel, role: Role) -> list[Request]:
    """Return the requests that the gap is tested with: made-up prompts, so that every layer has something to say."""
    words = np.random.default_rng(0).integers(0, model.config.get_text_config().vocab_size, (_ROWS, _PROMPT))
    return [
        Request(
            prompt=prompt.astype(np.int32),
            sampling=Sampling(max_tokens=_ANSWER, temperature=_TEMPERATURE, seed=seed),
            role=role,
        )
        for seed, prompt in enumerate(words)
    ]


def gap_of(model: LanguageModel, asked: Sequence[Request], done: Sequence[Completion], adapter: str) -> float:
    """Return the largest difference, in nats, between an engine's log-probabilities and those of the learner's module.

    Args:
        model: the learner's.
        asked: requests of one temperature.
        done: what the engine sampled.
        adapter: that they went through; "" for none.
    """
    rows = [np.array([*request.prompt, *answer.ids], np.int32) for request, answer in zip(asked, done)]
    marks = [np.arange(len(row)) >= len(request.prompt) for row, request in zip(rows, asked)]
    heard = [np.array([*np.zeros(len(r.prompt)), *a.logps], np.float32) for r, a in zip(asked, done)]
    worst = 0.0
    with _playing(model, adapter), evaluating(model), torch.no_grad():
        for batch in pack(rows, max_tokens=sum(len(row) for row in rows)):
            found = token_logps(model, batch, marks, temperature=asked[0].sampling.temperature or 1.0)
            gaps = np.abs(found.logps.float().cpu().numpy() - batch.select(heard, marks))
            worst = max(worst, float("inf") if np.isnan(gaps).any() else float(gaps.max()))
    return worst


def check_gap(model: LanguageModel, gap: float, adapter: str, *, hint: str) -> None:
    """Refuse an engine whose log-probabilities are not the learner's.

    Raises:
        ModelError: it is so.
    """
    limit = EXACT if next(model.parameters()).dtype == torch.float32 else ROUNDED
    if not gap <= limit:
        through = f" through the adapter {adapter!r}" if adapter else ""
        raise ModelError(
            f"the engine's log-probabilities{through} are off the learner's by {gap:.2g} nats (at most {limit:g}): "
            "it computes with other weights",
            hint=hint,
        )


@contextmanager
def _playing(model: LanguageModel, adapter: str) -> Iterator[None]:
    """Let an adapter compute for a while: which one learns is as it was afterwards."""
    before = getattr(model, "active_adapter", "")
    if not adapter or before == adapter:
        yield
        return
    model.set_adapter(adapter)
    try:
        yield
    finally:
        model.set_adapter(before)
