"""The part of the package `vllm` that `himac.engines.vllm` uses, around a real small model, in the shapes of vLLM 0.32.

As in the real one: it starts with made-up weights, a tied output head keeps its old ones after a reload until it is packed
anew, an adapter is read again only when `load_inplace` says so, what was cached with old weights is used until it is reset,
and a step yields what is new alone. It takes no argument that the real one was not seen to take from us.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

ARGUMENTS = {
    "skip_tokenizer_init", "load_format", "dtype", "max_model_len", "max_num_seqs", "enable_prefix_caching", "logprobs_mode",
    "generation_config", "disable_log_stats", "kv_cache_memory_bytes", "seed", "enable_chunked_prefill",
    "max_num_batched_tokens", "enforce_eager", "enable_lora", "max_loras", "max_lora_rank",
}  # fmt: skip


class RequestOutputKind(Enum):
    DELTA = 1


@dataclass(kw_only=True)
class SamplingParams:
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop_token_ids: list[int]
    logprobs: int
    detokenize: bool
    output_kind: RequestOutputKind

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 2:
            raise ValueError(
                f"temperature must be in [0, 2], got {self.temperature}. (parameter=temperature)"
            )
        assert (
            self.max_tokens >= 1
            and -(2**63) <= self.seed < 2**63
            and self.logprobs == 0
            and not self.detokenize
        )


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str
    load_inplace: bool = False


@dataclass
class _Request:
    prompt: list[int]
    params: SamplingParams
    lora: str
    stream: torch.Generator
    ids: list[int] = field(default_factory=list)


class LLM:
    """As `vllm.LLM`."""

    mends = True  # a tied head is packed anew when that is asked for

    def __init__(self, model: str, **told: Any) -> None:
        unknown = set(told) - ARGUMENTS
        if unknown:
            raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument '{min(unknown)}'")
        assert told["load_format"] == "dummy" and told["logprobs_mode"] == "processed_logprobs"
        assert told["max_num_batched_tokens"] >= told["max_model_len"] and not told["enable_chunked_prefill"]
        self.told = told
        torch.manual_seed(told["seed"] + 12_345)  # not the weights that a model here was built with
        torch.set_num_threads = lambda n: None  # the real one does, too
        self.model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model)).eval()
        self.head = self.model.lm_head.weight.detach().clone()
        self.adapters: dict[str, Any] = {}
        self.under_way: dict[str, _Request] = {}
        self.cached: dict[Any, torch.Tensor] = {}
        self.llm_engine = self
        self.engine_core = SimpleNamespace(shutdown=lambda: None)

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> list[None]:
        assert method == "reload_weights" and set(kwargs) == {"weights_iterator"}
        told = self.model.load_state_dict(dict(kwargs["weights_iterator"]), strict=False)
        assert not told.unexpected_keys and set(told.missing_keys) <= {"lm_head.weight"}
        if not self.model.config.tie_word_embeddings:
            self.head = self.model.lm_head.weight.detach().clone()
        return [None]

    def apply_model(self, function: Any) -> list[float]:
        assert function.__name__ == "mend_head"
        if LLM.mends:
            self.head = self.model.lm_head.weight.detach().clone()
        return [0.0]

    def reset_prefix_cache(self) -> bool:
        self.cached.clear()
        return True

    def add_lora(self, request: LoRARequest) -> bool:
        assert self.told["enable_lora"] and 1 <= request.lora_int_id <= self.told["max_loras"]
        if request.lora_name not in self.adapters or request.load_inplace:
            base = AutoModelForCausalLM.from_config(self.model.config)
            base.load_state_dict(self.model.state_dict())
            self.adapters[request.lora_name] = PeftModel.from_pretrained(base, request.lora_path).eval()
        return True

    def add_request(
        self, ticket: str, prompt: dict[str, Any], params: SamplingParams, lora_request: Any = None
    ) -> str:
        assert (
            isinstance(ticket, str) and set(prompt) == {"prompt_token_ids"} and ticket not in self.under_way
        )
        ids = prompt["prompt_token_ids"]
        assert ids and len(ids) + params.max_tokens <= self.told["max_model_len"]
        lora = lora_request.lora_name if lora_request else ""
        assert not lora or (lora in self.adapters and not lora_request.load_inplace)
        self.under_way[ticket] = _Request(ids, params, lora, torch.Generator().manual_seed(params.seed))
        return f"{ticket}-0"

    def abort_request(self, tickets: list[str]) -> None:
        for ticket in tickets:
            del self.under_way[ticket]

    def step(self) -> list[Any]:
        return [
            self._next(ticket, request)
            for ticket, request in list(self.under_way.items())[: self.told["max_num_seqs"]]
        ]

    def _next(self, ticket: str, request: _Request) -> Any:
        key = (request.lora, *request.prompt, *request.ids)
        if key not in self.cached:
            model = self.adapters.get(request.lora, self.model)
            with torch.no_grad():
                states = model(input_ids=torch.tensor([key[1:]]), output_hidden_states=True).hidden_states[
                    -1
                ][0, -1]
            self.cached[key] = self.head @ states
        told, logits = request.params, self.cached[key]
        logps = (logits / (told.temperature or 1.0)).log_softmax(-1)
        token = int(
            torch.multinomial(logps.exp(), 1, generator=request.stream)
            if told.temperature
            else logits.argmax()
        )
        request.ids.append(token)
        ended = token in told.stop_token_ids
        finish = "stop" if ended else "length" if len(request.ids) == told.max_tokens else None
        if finish:
            del self.under_way[ticket]
        found = {token: SimpleNamespace(logprob=float(logps[token]), rank=1, decoded_token=None)}
        part = SimpleNamespace(
            index=0,
            text="",
            token_ids=[token],
            logprobs=[found],
            finish_reason=finish,
            stop_reason=token if ended else None,
        )
        return SimpleNamespace(request_id=ticket, outputs=[part], finished=finish is not None)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import vllm` find this."""
    for name, held in {
        "vllm": {"LLM": LLM, "SamplingParams": SamplingParams},
        "vllm.sampling_params": {"RequestOutputKind": RequestOutputKind},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.distributed": {"cleanup_dist_env_and_memory": lambda: None},
    }.items():
        module = ModuleType(name)
        module.__dict__.update(held)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("himac.engines.vllm.is_installed", lambda: True)
