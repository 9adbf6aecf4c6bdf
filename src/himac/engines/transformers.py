"""Generation with any causal language model of transformers, no prefix computed twice.

The module is the learner's own, its attention is routed by name (`himac.models.attention`), and the
keys and values of every sequence stay in a slot until the space is needed or the weights change. A request
continues its own earlier turn, copies what a peer or an earlier request has in common with it, and computes
the rest. Rows that finish leave at once and waiting requests take their place.

Left out: beam search, logit processors, speculative decoding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from himac.engines.base import Engine, lay_into
from himac.engines.graphs import GRAIN, FixedDecode
from himac.engines.kv import (
    DecodePattern,
    PrefillPattern,
    SlotStore,
    Span,
    affordable_tokens,
    bytes_per_token,
)
from himac.engines.prefixes import Placement, place
from himac.engines.rows import Ending, Row, end_ids, positions_of, row_of
from himac.engines.sampling import draw, exact
from himac.models.attention import use_packed_attention
from himac.models.reading import read
from himac.models.vision import Features, Look, Vision, seen_in
from himac.toml import Count
from himac.types import Completion, LanguageModel, Request, Tokenizer, Weights

_LENGTH = 16.0  # of an answer in tokens, before any is known
_PATIENCE = 8  # steps that a request waits for company at most


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """What an engine has done since its statistics were reset."""

    requests: int = 0
    prompt_tokens: int = 0  # tokens of all prompts
    computed_prompt_tokens: int = 0  # those that went through the model; the rest was found in the cache
    sampled_tokens: int = 0
    prefill_s: float = 0.0  # wall seconds in prompts
    decode_s: float = 0.0  # wall seconds in generation


class TransformersEngine(Engine):
    """An `Engine` on a transformers model, which may be shared with a learner.

    Args:
        model: a causal language model; its device and dtype are used as they are.
        tokenizer: decodes for stop strings and names the end-of-turn tokens.
        max_batch: most sequences generated at once.
        max_kv_tokens: most token positions whose keys and values are kept, over all slots; 0: what a quarter of the
            device's memory holds, and at most 262,144. Sequences being generated are never dropped for it.
        fixed_shapes: decode in few shapes, which a GPU records as graphs and replays; None: on a GPU.
        vision: knows the pictures in prompts; None where there are none.

    Raises:
        ModelError: the model's attention is not supported.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        max_batch: int = 128,
        max_kv_tokens: Count = 0,
        fixed_shapes: bool | None = None,
        vision: Vision | None = None,
    ) -> None:
        use_packed_attention(model)
        self.model, self.tokenizer, self.vision = model, tokenizer, vision
        self._seen: dict[int, Features] = {}  # of pictures, made with these weights
        settings, weights = model.config.get_text_config(), next(model.parameters())
        per_token = bytes_per_token(settings, weights.element_size())
        self.max_batch = max_batch
        self.max_kv_tokens = max_kv_tokens or affordable_tokens(per_token, weights.device)
        self.version = 0
        self.stats = EngineStats()
        self._max_length = positions_of(model)
        fixed = weights.device.type == "cuda" if fixed_shapes is None else fixed_shapes
        self._store = SlotStore(max_tokens=self.max_kv_tokens, at_once=fixed)
        self._fixed = FixedDecode(model, self._store, max_batch) if fixed else None
        self._tick = 0
        self._ending = Ending(end_ids(model, tokenizer), tokenizer)
        self._next = 0  # ticket
        self._waiting: list[Row] = []
        self._waited = 0  # steps, of those that wait
        self._length = _LENGTH  # running mean of an answer's tokens
        self._live: list[Row] = []  # row i is in slot i
        self._finished: list[Row] = []
        self._training: list[torch.nn.Module] = []  # what was in training mode when the first request came

    def submit(self, request: Request) -> int:
        """Take a request; it is generated in the steps that follow.

        Raises:
            ModelError: its prompt is empty or longer than the model allows.
        """
        row = row_of(self._next, request, self._max_length, self.vision)
        if not self._rows_under_way:
            self._training = [module for module in self.model.modules() if module.training]
        if row.max_tokens > 0:
            self._waiting.append(row)
        else:
            self._finished.append(row)
        self._next += 1
        return row.ticket

    def step(self) -> list[tuple[int, Completion]]:
        """Sample one more token for every live row, and take in waiting ones; return those that are finished."""
        try:
            with torch.inference_mode():
                for module in self._training:
                    module.training = False
                self._admit()
                self._decode()
        except BaseException:
            self.cancel()
            self._store.clear()
            raise
        done = sorted((row.ticket, row.completion) for row in self._finished)
        self._finished.clear()
        self._count(requests=len(done))
        if not self._rows_under_way:
            self.cancel()
        return done

    def cancel(self) -> None:
        """Forget what is under way, and leave the module as it was found."""
        for rows in (self._waiting, self._live, self._finished):
            rows.clear()
        self._waited = 0
        for module in self._training:
            module.training = True
        self._training = []

    def load_weights(self, state: Weights, version: int) -> None:
        """Take new weights (None: the shared module has them already) and drop all cached prefixes.

        Raises:
            ModelError: the state names parameters that the model does not have.
        """
        lay_into(self.model, state)
        self.release()
        self.version = version

    def release(self) -> None:
        """Drop all cached prefixes, and whatever else is remembered: what comes next is computed as by a new engine."""
        self._store.clear()
        self._seen.clear()
        if self._fixed is not None:
            self._fixed.clear()
        self._length = _LENGTH

    def reset_stats(self) -> None:
        """Start counting from zero."""
        self.stats = EngineStats()

    @property
    def _rows_under_way(self) -> bool:
        return bool(self._waiting or self._live or self._finished)

    # from requests to rows

    def _admit(self) -> None:
        """Compute the prompts of waiting rows and sample their first token, once it is worth a forward pass.

        A prompt costs a pass whether it comes alone or with others, and a free place costs its share of every step. With
        B rows and answers of L tokens, passes for k at a time and places left free come to L (1 + k / 2B) + B / k for B
        answers, which is least at k = B sqrt(2 / L): long answers are joined at once, short ones in almost a round.
        """
        num = min(len(self._waiting), self.max_batch - len(self._live))
        if num <= 0:
            return
        self._waited += 1
        places = len(self._live) + num
        if self._live and num < places * math.sqrt(2 / self._length) and self._waited < _PATIENCE:
            return
        self._waited = 0
        began = time.perf_counter()
        rows, self._waiting = self._waiting[:num], self._waiting[num:]
        placements = self._place(rows)
        logits = self._prefill(rows, placements)
        slots = {placement.prompt: placement.slot for placement in placements}
        self._bring_forward(rows, [slots[n] for n in range(num)])
        self._sample(rows, torch.stack([logits[n] for n in range(num)]))
        self._release_finished()
        computed = sum(len(rows[p.prompt].prompt) - p.start for p in placements)
        self._count(
            prompt_tokens=sum(len(row.prompt) for row in rows), computed_prompt_tokens=computed,
            prefill_s=time.perf_counter() - began,
        )  # fmt: skip

    def _place(self, rows: Sequence[Row]) -> list[Placement]:
        """Find each row a slot and the longest prefix that is already computed.

        Slots are added for what is new as long as the budget allows; then the longest unused make room.
        """
        longest = max(len(row.prompt) + min(row.max_tokens, 64) for row in rows)
        at_least = len(self._live) + len(rows)
        capacity = self._make_room(longest, at_least)
        allowed = max(self.max_kv_tokens // capacity, at_least, self._store.num_slots)
        spare = min(allowed - self._store.num_slots, len(rows))
        placements = place(
            [row.prompt for row in rows],
            self._store.tokens + [self._store.nothing] * spare,
            self._store.last_used + [-1] * spare,
            live=set(range(len(self._live))),
        )
        num_slots = max(at_least, 1 + max(placement.slot for placement in placements))
        if num_slots > self._store.num_slots:
            num_slots = min(allowed, max(num_slots, self._store.num_slots * 3 // 2))
        self._store.reserve(num_slots, capacity)
        return placements

    def _make_room(self, needed: int, at_least: int) -> int:
        """Return the new slot capacity: unchanged if it fits, otherwise max(needed, 1.5 x old).

        Longer slots mean fewer of them: those used longest ago are given up, down to `at_least`.
        """
        capacity = self._store.capacity
        grain = 64
        if self._fixed is not None:
            needed, grain = needed + 1, GRAIN  # the last position is for rows that fill up a batch
        if needed <= capacity:
            return capacity
        capacity = -(-max(needed, capacity * 3 // 2) // grain) * grain
        self._store.trim(max(self.max_kv_tokens // capacity, at_least), live=len(self._live))
        return capacity

    def _prefill(self, rows: Sequence[Row], placements: Sequence[Placement]) -> dict[int, Tensor]:
        """Fill the slots wave by wave; return each row's logits (V,) after its prompt."""
        self._tick += 1
        for p in placements:
            self._store.tokens[p.slot] = rows[p.prompt].prompt
            self._store.last_used[p.slot] = self._tick
        logits: dict[int, Tensor] = {}
        for wave in range(max(p.wave for p in placements) + 1):
            spans: list[tuple[int, Span]] = []
            members = [p for p in placements if p.wave == wave]
            self._store.copy([(p.source, p.slot, p.start) for p in members if p.source != p.slot and p.start])
            for p in members:
                ids = rows[p.prompt].prompt[p.start :]
                if len(ids):
                    spans.append((p.prompt, Span(slot=p.slot, start=p.start, ids=ids)))
            for chunk in _chunks(spans, prefill_tokens(self._device)):
                logits.update(self._prefill_chunk(rows, chunk))
            for p in members:
                if p.twin >= 0:
                    logits[p.prompt] = logits[p.twin]
        return logits

    def _prefill_chunk(self, rows: Sequence[Row], chunk: list[tuple[int, Span]]) -> dict[int, Tensor]:
        spans = [span for _, span in chunk]
        ids = np.concatenate([span.ids for span in spans]).astype(np.int64)
        positions, look = self._sights(rows, chunk)
        last = np.cumsum([len(span.ids) for span in spans]) - 1
        out = read(
            self.model, self._there(ids), self._there(positions), PrefillPattern(self._store, spans),
            keep_K=self._there(last), look=look,
        ).float()  # fmt: skip
        return {number: row for (number, _), row in zip(chunk, out)}

    def _sights(self, rows: Sequence[Row], chunk: list[tuple[int, Span]]) -> tuple[np.ndarray, Look | None]:
        """Return where the tokens of some spans stand, (T,) or (3, T), and their pictures."""
        if self.vision is None:
            return np.concatenate([np.arange(s.start, s.start + len(s.ids)) for _, s in chunk]), None
        parts = [
            sight.part(s.start, s.start + len(s.ids))
            for n, s in chunk
            if (sight := rows[n].sight) is not None
        ]
        return seen_in(parts, self.vision, self._seen)

    def _there(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, device=self._device)

    def _bring_forward(self, rows: Sequence[Row], slots: list[int]) -> None:
        """Make the rows live, which means that their slots come right behind the live ones, in any order."""
        first = len(self._live)
        places = range(first, first + len(rows))
        gaps = iter(sorted(set(places) - set(slots)))
        with self._store.rearranging():
            for number, slot in enumerate(slots):
                if slot not in places:
                    slots[number] = gap = next(gaps)
                    held = self._store.tokens
                    self._store.swap(gap, slot, lengths=(len(held[gap]), len(held[slot])))
        self._live += [row for _, row in sorted(zip(slots, rows), key=lambda pair: pair[0])]

    # generation

    def _decode(self) -> None:
        """Sample one more token for every live row."""
        if not self._live:
            return
        began = time.perf_counter()
        lengths = np.array([len(row.prompt) + len(row.ids) - 1 for row in self._live])
        longest = int(lengths.max()) + 1
        capacity = self._make_room(longest, len(self._live))
        self._store.reserve(self._store.num_slots, capacity)
        last = [row.ids[-1] for row in self._live]
        places = lengths + np.array([row.shift for row in self._live])
        self._sample(
            self._live, (self._fixed.step if self._fixed else self._free_step)(last, lengths, places)
        )
        self._release_finished()
        self._count(decode_s=time.perf_counter() - began)

    def _free_step(self, last: list[int], lengths: np.ndarray, places: np.ndarray) -> Tensor:
        """As `FixedDecode.step`, in whatever shape comes: for a processor, where a step costs what it computes."""
        pattern = DecodePattern(self._store, lengths, self._device)
        return read(self.model, self._there(np.array(last)), self._there(places), pattern).float()

    def _sample(self, rows: Sequence[Row], logits_BV: Tensor) -> None:
        temperatures = torch.tensor([row.sampling.temperature for row in rows], device=self._device)
        top_ps = torch.tensor([row.sampling.top_p for row in rows], device=self._device)
        uniforms = torch.tensor(
            [row.uniforms.random() for row in rows], dtype=torch.float64, device=exact(self._device)
        )
        ids, logps = draw(logits_BV, temperatures, top_ps, uniforms)
        for row, token, logp in zip(rows, ids.tolist(), logps.tolist()):
            row.ids.append(token)
            row.logps.append(logp)
            self._ending.look(row)
        self._count(sampled_tokens=len(rows))

    def _release_finished(self) -> None:
        """Take finished rows out of the batch; their slots keep what was computed."""
        self._tick += 1
        with self._store.rearranging():
            for slot in reversed(range(len(self._live))):
                if self._live[slot].finish is not None:
                    self._take_out(slot)

    def _take_out(self, slot: int) -> None:
        """Let the last live row take the place of a finished one."""
        row = self._live[slot]
        self._store.tokens[slot] = np.concatenate([row.prompt, np.asarray(row.ids[:-1], np.int32)])
        self._store.last_used[slot] = self._tick
        last = len(self._live) - 1
        if slot != last:
            moved = self._live[last]
            length = len(moved.prompt) + len(moved.ids) - 1
            self._store.swap(slot, last, lengths=(len(self._store.tokens[slot]), length))
            self._live[slot] = moved
        self._live.pop()
        self._finished.append(row)
        self._length += (len(row.ids) - self._length) / 64

    @property
    def _device(self) -> torch.device:
        return torch.device(next(self.model.parameters()).device)

    def close(self) -> None:
        """Nothing to release: the module belongs to the learner."""

    def _count(self, **more: float) -> None:
        old = self.stats
        fields = {name: getattr(old, name) + more.get(name, 0) for name in EngineStats.__dataclass_fields__}
        self.stats = EngineStats(**fields)


def prefill_tokens(device: torch.device) -> int:
    """Return the tokens of one prefill forward: what fits a processor's cache, what keeps a GPU busy."""
    return 4096 if device.type == "cpu" else 16_384


def _chunks(spans: list[tuple[int, Span]], max_tokens: int) -> Iterator[list[tuple[int, Span]]]:
    """Group spans into forwards of about `max_tokens` tokens; a longer span is cut."""
    chunk: list[tuple[int, Span]] = []
    room = max_tokens
    for number, span in spans:
        for first in range(0, len(span.ids), max_tokens):
            part = span.ids[first : first + max_tokens]
            if chunk and len(part) > room:
                yield chunk
                chunk, room = [], max_tokens
            chunk.append((number, Span(slot=span.slot, start=span.start + first, ids=part)))
            room -= len(part)
    if chunk:
        yield chunk
