"""What runs inside vLLM's workers: new weights, and an output head that knows of them. Imports torch and vLLM alone.

On a processor vLLM packs each matrix once for its kernels. Reloading packs the layers' anew, but an output head that is
tied to the embedding keeps the packed copy of the old weights, and nothing is raised (seen with vLLM 0.32).
"""

from __future__ import annotations

from typing import Any

import torch


def mend_head(model: Any) -> float:
    """Make a tied output head compute with the embedding's weights; return how far off it still is.

    Args:
        model: vLLM's, on this worker.

    Returns:
        The largest difference between the head's logits and those of the embedding's matrix, as a share of their largest;
        0.0 where the head has weights of its own.
    """
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
    from vllm.platforms import current_platform

    layers = [layer for layer in model.modules() if isinstance(layer, VocabParallelEmbedding)]
    heads = [layer for layer in layers if isinstance(layer, ParallelLMHead)]
    tables = [layer for layer in layers if not isinstance(layer, ParallelLMHead)]
    if not getattr(model.config, "tie_word_embeddings", False) or not heads or not tables:
        return 0.0
    head, weight = heads[0], tables[0].weight
    if current_platform.is_cpu():
        dispatch_cpu_unquantized_gemm(head, remove_weight=False)
    states = (
        torch.linspace(-1.0, 1.0, 4 * weight.shape[1], device=weight.device).reshape(4, -1).to(weight.dtype)
    )
    wanted = torch.nn.functional.linear(states, weight).float()
    got = head.quant_method.apply(head, states).float()
    return float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))


class HandOver:
    """For `vllm serve --worker-extension-cls himac.engines.vllm_worker.HandOver`: weights in one request."""

    def himac_reload(self: Any, weights_path: str) -> None:
        """Take the weights of a Hugging Face folder, the output head's too."""
        self.reload_weights(weights_path=weights_path)
        mend_head(self.get_model())
