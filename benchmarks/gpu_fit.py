"""What fits on a GPU, by calculation: Qwen2.5's architectures, all weights or LoRA, with gradient checkpointing in bfloat16.

    python benchmarks/gpu_fit.py

Nothing here ran on a GPU. Weights, masters, gradients, moments and cache are counted on models without storage; what a pass
keeps of each token is measured on the processor with one and with two layers of the true width, and extrapolated to
all of them. 128 episodes of recipes/alfworld.toml's length are in flight. An allocator's losses, CUDA's own memory
(about 1 GB) and other processes come on top; "fits" leaves a tenth of a card free.
"""

from __future__ import annotations

import gc
from typing import Any

import torch
from _machine import save
from transformers import AutoModelForCausalLM, Qwen2Config

from himac.config import Config, load_config, override
from himac.learner.policy import Policy
from himac.models.attention import use_packed_attention
from himac.models.load import _add_adapters
from himac.models.tiny import build_tokenizer
from himac.train.memory import kept_and_whole, memory_of

SHAPES = {
    "Qwen2.5-0.5B": (896, 4864, 24, 14, 2, True),
    "Qwen2.5-1.5B": (1536, 8960, 28, 12, 2, True),
    "Qwen2.5-3B": (2048, 11008, 36, 16, 2, True),
    "Qwen2.5-7B": (3584, 18944, 28, 28, 4, False),
}
CARDS = (24, 48, 80)


def policy_of(name: str, config: Config, *, layers: int | None, device: str) -> Policy:
    """Build one of the architectures, with all its layers or some, on the processor or without storage."""
    hidden, inner, depth, heads, kv_heads, tied = SHAPES[name]
    shape = Qwen2Config(
        vocab_size=151_936, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers or depth,
        num_attention_heads=heads, num_key_value_heads=kv_heads, tie_word_embeddings=tied,
        max_position_embeddings=32_768,
    )  # fmt: skip
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16)
        if device == "cpu":
            use_packed_attention(model)
        if config.model.lora_rank:
            model = _add_adapters(model, config.model, ("default",))
    if config.model.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    return Policy(model, build_tokenizer(["a word"] * 3, vocab=300))


def kept_per_token(name: str, config: Config) -> tuple[float, float]:
    """Return the bytes that a pass of the whole depth keeps of a token, and one layer's, from two depths."""
    found = []
    for layers in (1, 2):
        policy = policy_of(name, config, layers=layers, device="cpu")
        found.append(kept_and_whole(policy))
        del policy
        gc.collect()
    (kept_1, whole_1), (kept_2, whole_2) = found
    layer, once = kept_2 - kept_1, whole_2 - whole_1  # of each layer kept; of the one computed again
    return kept_1 - layer + SHAPES[name][2] * layer + once, once


def main() -> None:
    base = override(
        load_config("alfworld"),
        model={"gradient_checkpointing": True, "dtype": "bfloat16"}, rollout={"max_live": 128},
    )  # fmt: skip
    results = []
    for name in SHAPES:
        for rank in (0, 32):
            config = override(base, model={"lora_rank": rank})
            kept = kept_per_token(name, config)
            policy = policy_of(name, config, layers=None, device="meta")
            for tokens in (4_096, 16_384):
                memory = memory_of(policy, override(config, optimizer={"max_tokens": tokens}), kept=kept)
                gb = {
                    part: getattr(memory, part) / 1e9
                    for part in ("learning", "collecting", "held", "cache", "activations")
                }
                fits = [card for card in CARDS if memory.most / 2**30 <= 0.9 * card]
                row = {
                    "model": name,
                    "lora_rank": rank,
                    "pack_tokens": tokens,
                    "gb": gb,
                    "fits": fits[0] if fits else None,
                }
                results.append(
                    row | {"kb_kept_per_token": kept[0] / 1e3, "parameters": policy.num_parameters}
                )
                print(row, flush=True)
    save("gpu_fit", {"results": results})


if __name__ == "__main__":
    main()
