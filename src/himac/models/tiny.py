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
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from himac.config import VisionSettings
from himac.errors import ConfigError
from himac.files import as_usual, writing

TAGS = ("<blueprint>", "</blueprint>", "<action>", "</action>", "<sub_done>", "<think>", "</think>")
"""The agents' tags: one token each, but ordinary text (decoding shows them)."""

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_PICTURES = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
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

_CHATML_SEEING = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
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
    folder: str | Path,
    texts: Iterable[str],
    shape: TinyShape,
    *,
    vocab: int = 512,
    seed: int = 0,
    vision: VisionSettings | None = None,
) -> None:
    """Build a tokenizer from texts and a randomly initialised model, and save both.

    Args:
        folder: where the Hugging Face folder goes.
        texts: what the tokenizer learns its words from.
        shape: of the model.
        vocab: most tokens; at least the 256 bytes and the tags.
        seed: of the weights.
        vision: of a model that sees; its image processor is saved too.

    Raises:
        ConfigError: a vision family that cannot be built.
    """
    tokenizer = build_tokenizer(texts, vocab=vocab, sees=vision is not None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if vision is None:
            model = Qwen3ForCausalLM(Qwen3Config(**_text_shape(shape, tokenizer), head_dim=shape.head_dim))
        else:
            model = seeing_model(shape, tokenizer, vision)
    with writing(Path(folder), also=(SafetensorError,)):
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        as_usual(Path(folder))
    if vision is not None:
        processor_of(vision).save_pretrained(str(folder))


def _text_shape(shape: TinyShape, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden,
        "intermediate_size": 3 * shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.max_length,
        "initializer_range": 0.8 * shape.hidden**-0.5,  # the usual 0.02 is made for models ten times as wide
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def seeing_model(shape: TinyShape, tokenizer: PreTrainedTokenizerFast, vision: VisionSettings) -> Any:
    """Return a randomly initialised vision-language model of Qwen2-VL's, Qwen2.5-VL's or Qwen3-VL's architecture.

    Raises:
        ConfigError: another family.
    """
    from transformers import (  # only where something is to see: they take a while to load
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

    width, blocks = vision.tower
    words = tokenizer.get_vocab()
    numbers = [words[token] for token in _PICTURES]
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10_000.0}
    text = _text_shape(shape, tokenizer)
    tower: dict[str, Any] = {
        "depth": blocks,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_heads": max(1, width // 32),
        "patch_size": vision.patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": shape.hidden,
        "initializer_range": 0.8 * width**-0.5,
    }
    both: dict[str, Any] = {"text_config": text, "vision_config": tower, "tie_word_embeddings": True}
    both |= dict(zip(names, numbers, strict=True))
    if vision.family == "qwen3_vl":
        half = shape.head_dim // 2
        rope |= {"mrope_interleaved": True, "mrope_section": [half - 2 * (half // 3), half // 3, half // 3]}
        text |= {"head_dim": shape.head_dim, "rope_parameters": rope}
        tower |= {"num_position_embeddings": 256, "deepstack_visual_indexes": list(range(blocks - 1))}
        model: Any = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**both))
        _loud_places(model)
        return model
    if vision.family not in ("qwen2_5_vl", "qwen2_vl"):
        raise ConfigError(
            f"model.vision.family of a tiny model must be qwen3_vl, qwen2_5_vl or qwen2_vl, got {vision.family!r}"
        )
    half = shape.hidden // shape.heads // 2
    rope["mrope_section"] = [half - 2 * (3 * half // 8), 3 * half // 8, 3 * half // 8]
    text["rope_parameters"] = rope
    if vision.family == "qwen2_vl":  # its `hidden_size` is that of the language layers
        tower |= {"embed_dim": width, "hidden_size": tower.pop("out_hidden_size"), "mlp_ratio": 2}
        del tower["intermediate_size"]
        return Qwen2VLForConditionalGeneration(Qwen2VLConfig(**both))
    tower |= {"window_size": 8 * vision.patch, "fullatt_block_indexes": [blocks - 1]}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**both))


def processor_of(vision: VisionSettings) -> Any:
    """Return the image processor of a tiny model: pictures as they are, but for sides of whole tokens."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(
        patch_size=vision.patch,
        merge_size=2,
        temporal_patch_size=2,
        size={
            "shortest_edge": vision.min_pixels or (2 * vision.patch) ** 2,
            "longest_edge": vision.max_pixels or 1024 * (2 * vision.patch) ** 2,
        },
    )


def _loud_places(model: Any) -> None:
    """Let a patch's place be as loud as its pixels: drawn alike, the pixels of a small tower drown it."""
    visual = model.model.visual
    torch.nn.init.normal_(visual.pos_embed.weight, std=1.0)
    kernel = visual.patch_embed.proj.weight
    torch.nn.init.normal_(kernel, std=kernel[0].numel() ** -0.5)


def build_tokenizer(texts: Iterable[str], *, vocab: int, sees: bool = False) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; any text makes the round trip unchanged."""
    special = [*_SPECIAL, *(_PICTURES if sees else ())]
    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - len(TAGS),
        min_frequency=2,
        special_tokens=special,
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
    tokenizer.chat_template = _CHATML_SEEING if sees else _CHATML
    return tokenizer
