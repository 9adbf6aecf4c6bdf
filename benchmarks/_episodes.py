"""The work that the rollout and training benchmarks share: multi-turn episodes in groups, and two models."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

VOCAB = {"1m": 1024, "5m": 2048}


def vocab_of(size: str) -> int:
    """Return how many tokens a model of `model_of` knows."""
    return VOCAB[size] if size in VOCAB else int(AutoConfig.from_pretrained(size).vocab_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Groups of episodes: a prompt that the group shares, then turns of sampled and observed tokens."""

    prompts: list[np.ndarray]  # one per episode; the same array within a group
    turn_lengths: np.ndarray  # (episodes, turns) sampled tokens of each turn
    observations: list[list[np.ndarray]]  # per episode and turn: tokens that follow the completion


def workload(
    vocab: int, *, groups: int, peers: int, turns: int, prompt: tuple[int, int], sampled: tuple[int, int],
    observed: int, seed: int = 0,
) -> Workload:  # fmt: skip
    """Draw a workload; lengths are uniform in the given closed ranges, `observed` varies by a fifth."""
    rng = np.random.default_rng(seed)
    heads = [rng.integers(3, vocab, rng.integers(prompt[0], prompt[1] + 1)) for _ in range(groups)]
    lengths = rng.integers(sampled[0], sampled[1] + 1, (groups * peers, turns))
    spread = observed // 5
    return Workload(
        prompts=[head for head in heads for _ in range(peers)],
        turn_lengths=lengths,
        observations=[
            [
                rng.integers(3, vocab, rng.integers(observed - spread, observed + spread + 1))
                for _ in range(turns)
            ]
            for _ in range(groups * peers)
        ],
    )


def model_of(size: str) -> Qwen3ForCausalLM:
    """Build a randomly initialised Qwen3, "1m" (0.9 M parameters) or "5m" (5.3 M); or load a folder, in float32.

    A real model never ends an answer by itself here, so that lengths are those asked for.
    """
    if size not in VOCAB:
        model = AutoModelForCausalLM.from_pretrained(size, dtype=torch.float32).eval()
        model.generation_config.eos_token_id = model.config.eos_token_id = None
        return model
    shape = {
        "1m": {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "head_dim": 32},
        "5m": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "head_dim": 64},
    }[size]
    config = Qwen3Config(
        vocab_size=VOCAB[size], num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, pad_token_id=0, **shape,
    )  # fmt: skip
    torch.manual_seed(0)
    return Qwen3ForCausalLM(config).eval()


def linear_flops(model: Qwen3ForCausalLM) -> int:
    """Return the multiply-adds x 2 of one token through the layers' matrices, without the output layer."""
    return 2 * sum(p.numel() for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n)


def gemm_rate() -> float:
    """Return the measured float32 matrix-product rate of one thread, in FLOP per CPU second (best of five)."""
    a, b = torch.randn(4096, 512), torch.randn(512, 1536)
    best = 0.0
    for _ in range(5):
        began = time.process_time()
        torch.mm(a, b)
        best = max(best, 2 * a.shape[0] * a.shape[1] * b.shape[1] / (time.process_time() - began))
    return best


class NoTokenizer:
    """Stands in where no text is needed."""

    eos_token_id = None

    def get_vocab(self) -> dict[str, int]:
        return {}
