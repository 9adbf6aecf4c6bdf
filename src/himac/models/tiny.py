"""A language model built here from nothing.

The tiny model is an ordinary one. It has the Qwen3 architecture, a byte-level BPE tokenizer with a
ChatML template, and lies in a Hugging Face folder, so every line of code that trains it also trains the
real ones. Only its size, and a tokenizer trained on the worlds' own words, make it quick.

Left out: any pretraining. It knows nothing until the warm start teaches it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

TAGS = ("<blueprint>", "</blueprint>", "<action>", "</action>", "<sub_done>", "<think>", "</think>")
"""The agents' tags: one token each, but ordinary text (decoding shows them)."""

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_WORDS = r" ?\[\p{Lu}+\] ?|[#_√OXPS]{4,}| ?\p{L}+| ?\p{N}|\n| ?[^\s\p{L}\p{N}]|\s"
"""Words with their leading space; digits and symbols one by one, so that a board's cell is a token, unless a
row is written without spaces, which asks for few tokens. Markers such as ` [SEP] ` are whole, with the space behind
them, so that what a page lists has the tokens of what is clicked."""

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyShape:
    """The shape of a tiny model; its MLP is three times as wide as `hidden`."""

    hidden: int = 64
    layers: int = 3
    # Few wide heads learn to point at a cell several times sooner than many narrow ones: with normalised queries and
    # keys, head_dim bounds how sharp attention can become.
    heads: int = 1
    kv_heads: int = 1
    head_dim: int = 64
    max_length: int = 8192  # most positions


def build_tiny(
    folder: str | Path, texts: Iterable[str], shape: TinyShape, *, vocab: int = 512, seed: int = 0
) -> None:
    """Build a tokenizer from texts and a randomly initialised model, and save both.

    Args:
        folder: where the Hugging Face folder goes.
        texts: what the tokenizer learns its words from.
        shape: of the model.
        vocab: most tokens; at least the 256 bytes and the tags.
        seed: of the weights.
    """
    tokenizer = build_tokenizer(texts, vocab=vocab)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=3 * shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.max_length,
        initializer_range=0.8 * shape.hidden**-0.5,  # the usual 0.02 is made for models ten times as wide
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def build_tokenizer(texts: Iterable[str], *, vocab: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; any text makes the round trip unchanged."""
    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - len(TAGS),
        min_frequency=2,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    symbols = ["√ √ √", " √"] * 50  # the one board symbol of several bytes must become one token
    roles = ["system", "user", "assistant"] * 5000  # so must what the chat template adds to every turn
    bpe.train_from_iterator([*texts, *symbols, *roles], trainer)
    bpe.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _CHATML
    return tokenizer
