"""What can be known of a model before anything is trained with it: loaded, asked, and read back once."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from himac.chat.template import TemplateFacts
from himac.config import Config
from himac.engines.base import Engine
from himac.engines.kv import bytes_per_token
from himac.images import name_of
from himac.learner.policy import Policy
from himac.models.attention import why_padded
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.models.vision import Vision, has_tower, unwrapped
from himac.train.local import local_engine, pick_device, set_threads
from himac.train.memory import memory_of
from himac.train.rehearse import breakdown
from himac.types import Message, Request, Sampling

_TALK = (
    Message(
        role="system", content="You act in a small world. Answer each turn with one <action>...</action>."
    ),
    Message(
        role="user",
        content="Task: leave the house.\n\nYou are in the hall. You can: go north, go east, wait.",
    ),
)
_ROWS, _TOKENS = 8, 32  # sampled to measure speed and gap


def inspect_model(name: str, config: Config) -> dict[str, str]:
    """Load a model and return what was found, in words, by topic.

    Args:
        name: Hugging Face name or local folder.
        config: its `model` settings (dtype, LoRA) and device are used.

    Raises:
        ModelError: it cannot be used, and why.
    """
    set_threads()
    policy = Policy.load(name, config.model, device=pick_device(config.run.device), think=config.agent.think)
    settings = policy.model.config.get_text_config()
    weights = next(policy.model.parameters())
    size = sum(p.numel() * p.element_size() for p in policy.model.parameters())
    padded = why_padded(policy.model)
    engine = local_engine(config, policy)
    prompt = policy.chat.open(_TALK if policy.vision is None else _with_picture(policy.vision))
    greedy = engine.generate(
        [Request(prompt=tuple(prompt), sampling=Sampling(max_tokens=_TOKENS, temperature=0.0))]
    )
    words = " ".join(policy.chat.decode(greedy[0].ids).split())
    speed, gap = _measure(policy, engine, prompt)
    engine.close()
    memory = memory_of(policy, config)
    facts = policy.chat.template.facts
    positions = getattr(settings, "max_position_embeddings", None)
    return {
        "model": f"{settings.model_type}, {policy.num_parameters / 1e6:,.1f} M parameters, "
        f"{size / 1e6:,.0f} MB in {str(weights.dtype).removeprefix('torch.')}, {settings.vocab_size:,} tokens",
        "attention": f"padded rows, slower: {padded}" if padded else "packed prefix trees, cached prefixes",
        "positions": f"{positions:,}" if positions else "not limited by its configuration",
        "cache": f"{bytes_per_token(settings, weights.element_size()) / 1000:,.1f} kB a token",
        "memory": f"{memory.learning / 1e9:,.1f} GB to learn, {memory.collecting / 1e9:,.1f} to collect: {breakdown(memory)}",
        **({"pictures": _eyes(policy)} if has_tower(policy.model) else {}),
        "template": _told(facts),
        "answers": f"end with {policy.tokenizer.convert_ids_to_tokens(policy.chat.end_id)!r}",
        "gap": f"{gap:.1e} nats a token at most, engine against learner",
        "speed": f"{speed:,.0f} tokens/s, {_ROWS} answers at a time, here",
        "says": f"{words[:64]!r}",
    }


def _measure(policy: Policy, engine: Engine, prompt: list[int]) -> tuple[float, float]:
    """Return (sampled tokens/s, largest gap between the engine's and the learner's log-probabilities)."""
    asked = [
        Request(prompt=tuple(prompt), sampling=Sampling(max_tokens=_TOKENS, seed=seed))
        for seed in range(_ROWS)
    ]
    began = time.perf_counter()
    done = engine.generate(asked)
    seconds = time.perf_counter() - began
    rows = [np.array([*prompt, *answer.ids], np.int32) for answer in done]
    marks = [np.arange(len(row)) >= len(prompt) for row in rows]
    gap = 0.0
    for batch in pack(rows, max_tokens=sum(len(row) for row in rows)):
        with torch.no_grad():
            learned = (
                token_logps(policy.model, batch, marks, vision=policy.vision).logps.float().cpu().numpy()
            )
        sampled = batch.select([_padded(len(prompt), answer.logps) for answer in done], marks)
        gap = max(gap, float(np.abs(learned - sampled).max()))
    return sum(len(answer.ids) for answer in done) / seconds, gap


def _picture() -> np.ndarray:
    """Return a picture of the size of a small board: coloured squares."""
    cells = np.arange(3 * 36, dtype=np.uint8).reshape(6, 6, 3) * 2
    return cells.repeat(28, axis=0).repeat(28, axis=1)


def _with_picture(vision: Vision) -> tuple[Message, ...]:
    system, user = _TALK
    return system, replace(user, content=vision.album.tag(_picture()) + user.content)


def _eyes(policy: Policy) -> str:
    """Return how pictures are seen, in words."""
    vision = policy.vision
    if vision is None:
        kind = policy.model.config.model_type
        return f"model type {kind!r}: not read; it plays in worlds of text, and its tower rests"
    rows, columns = vision.grid(name_of(_picture()))
    tower = unwrapped(policy.model).model.visual
    size = sum(p.numel() for p in tower.parameters())
    return (
        f"168 x 168 pixels are {rows} x {columns} tokens; a tower of {size / 1e6:,.2f} M parameters, "
        f"{'frozen' if vision.settings.freeze else 'trained too'}; in a world of text it rests"
    )


def _padded(before: int, logps: tuple[float, ...]) -> np.ndarray:
    return np.concatenate([np.zeros(before, np.float32), np.asarray(logps, np.float32)])


def _told(facts: TemplateFacts) -> str:
    told = ["append-only"]
    told.append("no system message: it opens the first question" if facts.folds_system else "system message")
    if facts.opens_thought:
        told.append("opens a thought itself (set agent.think, and room for it in agent.*_tokens)")
    if not facts.keeps_thoughts:
        told.append("would drop earlier thoughts (himac keeps them)")
    if facts.asks_date:
        told.append("asks for the date (fixed)")
    return ", ".join(told)
