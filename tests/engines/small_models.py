"""Randomly initialised models of several families, small enough for a unit test, and a tokenizer for them."""

from __future__ import annotations

import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

VOCAB = 97
_SHAPE = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
_GPT2 = {
    "vocab_size": VOCAB, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
    "attn_pdrop": 0.0, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
FAMILIES = {
    "qwen2": lambda: Qwen2Config(**_SHAPE),
    "qwen3": lambda: Qwen3Config(**_SHAPE, head_dim=8, tie_word_embeddings=True),
    "llama": lambda: LlamaConfig(**_SHAPE),
    "mistral_window": lambda: MistralConfig(**_SHAPE, sliding_window=8),
    "qwen2_window": lambda: Qwen2Config(
        **_SHAPE, use_sliding_window=True, sliding_window=8, max_window_layers=1
    ),
    "gemma2": lambda: Gemma2Config(
        **_SHAPE,
        head_dim=8,
        sliding_window=8,
        query_pre_attn_scalar=8,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=10.0,
    ),
    "gemma3": lambda: Gemma3TextConfig(
        **_SHAPE, head_dim=8, sliding_window=8, query_pre_attn_scalar=8, sliding_window_pattern=2
    ),
    "gpt_oss": lambda: GptOssConfig(
        **_SHAPE, head_dim=8, sliding_window=8, num_local_experts=4, num_experts_per_tok=2
    ),
    "mistral": lambda: MistralConfig(**_SHAPE, sliding_window=None),
    "gpt2": lambda: GPT2Config(**_GPT2),
    "gemma": lambda: GemmaConfig(**_SHAPE, head_dim=8),
    "gpt_neox": lambda: GPTNeoXConfig(**{k: v for k, v in _SHAPE.items() if k != "num_key_value_heads"}),
    "granite": lambda: GraniteConfig(**_SHAPE),
    "granite_scaled": lambda: GraniteConfig(**_SHAPE, logits_scaling=8.0),
    "cohere": lambda: CohereConfig(**_SHAPE, logit_scale=0.0625),
    "qwen3_moe": lambda: Qwen3MoeConfig(
        **_SHAPE, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16
    ),
}


def small_model(family: str, *, scale: float = 3.0):
    """Return a model in evaluation mode whose weights are large enough for its logits to differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(FAMILIES[family]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


class LetterTokenizer:
    """Token i is the i-th printable character from "!" on."""

    eos_token_id = None

    def get_vocab(self) -> dict[str, int]:
        return {chr(33 + i): i for i in range(VOCAB)}

    def decode(self, ids) -> str:
        return "".join(chr(33 + int(i)) for i in ids)
