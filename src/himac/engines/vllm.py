"""Generation by vLLM inside this process: for GPUs with many episodes in flight.

vLLM keeps weights of its own. It starts with made-up ones and is handed the learner's in place, as after every update,
so that the first hand-over already shows whether all of them arrive. Adapters go by files, one for each role where the
roles have their own, and both roles' requests share a batch. Tokens go in and come out; where a completion ends is
decided here, token by token, as in himac's other engines, so vLLM needs no tokenizer.

Left out: several GPUs for one model, several processes, pictures, giving memory back while the learner learns.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from himac.engines.apart import (
    adapter_for,
    adapters_of,
    base_of,
    base_weights,
    check_gap,
    gap_of,
    probes,
    row_within,
    save_adapters,
)
from himac.engines.base import Engine, lay_into
from himac.engines.kv import affordable_tokens, bytes_per_token
from himac.engines.rows import Ending, Row, end_ids, positions_of
from himac.engines.vllm_worker import mend_head
from himac.errors import ConfigError, HimacError, ModelError, missing_extra
from himac.files import make_folder, writing
from himac.models.vision import Vision
from himac.text import line
from himac.toml import Count, Table
from himac.types import Completion, LanguageModel, Request, Role, Tokenizer, Weights

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # no process beside this one: weights go by reference, nothing is orphaned
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # else the learner is bound to the cores that vLLM leaves
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
_ROUND = 128  # tokens of a block of keys and values on a processor
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, as vLLM has them
_HEAD_OFF = 0.02  # of a head's logits: more than sixteen bits lose
_OURS = (
    "model", "skip_tokenizer_init", "load_format", "dtype", "max_model_len", "max_num_seqs", "logprobs_mode",
    "generation_config", "enable_lora", "max_loras", "max_lora_rank", "kv_cache_memory_bytes", "seed",
)  # fmt: skip


def is_installed() -> bool:
    """Whether vLLM is; a folder that happens to have its name is not."""
    spec = importlib.util.find_spec("vllm")
    return spec is not None and spec.origin is not None


class VLLMEngine(Engine):
    """An `Engine` on vLLM, in this process. It starts with the first request.

    Args:
        model: the learner's; its weights and adapters are handed over, its device and dtype are used.
        tokenizer: decodes for stop strings and names the end-of-turn tokens.
        max_batch: most sequences generated at once.
        max_length: most tokens of a prompt and its answer together; 0: the model's positions.
        max_kv_tokens: token positions whose keys and values are kept; 0: what a quarter of the device's memory holds,
            and at most 262,144.
        options: further arguments of `vllm.LLM`, by vLLM's names.
        vision: must be None.

    Raises:
        MissingExtraError: vLLM is not installed.
        ModelError: the model sees pictures, or is on another device than vLLM takes.
        ConfigError: an option that himac sets.
    """

    plays_roles = True  # one engine for both roles' adapters
    _running = False  # some engine of this process

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        max_batch: int = 128,
        max_length: Count = 0,
        max_kv_tokens: Count = 0,
        options: Table | None = None,
        vision: Vision | None = None,
    ) -> None:
        if not is_installed():
            raise missing_extra("vllm", "vllm", "engine.name = 'vllm'")
        self._device = next(model.parameters()).device
        _check(vision, self._device, options or {})
        self.model, self.max_batch = model, max_batch
        self.version = 0
        self._positions = positions_of(model)
        self.max_length = max_length or self._positions or 32_768
        self._kv_tokens, self._options = max_kv_tokens, options or {}
        self._ending = Ending(end_ids(model, tokenizer), tokenizer)
        self._adapters = adapters_of(model)
        self._llm: Any = None
        self._loras: dict[str, Any] = {}  # adapter: vLLM's name for it
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._next = 0  # ticket
        self._rows: dict[str, Row] = {}  # under way, by ticket
        self._finished: list[Row] = []

    def submit(self, request: Request) -> int:
        """Take a request; it is generated in the steps that follow.

        Raises:
            ModelError: its prompt is empty or too long, or vLLM cannot be started with this model.
        """
        row = row_within(
            self._next, request, self.max_length, where="engine.max_length, or the model's positions"
        )
        self._start()
        self._next += 1
        if row.max_tokens > 0:
            self._take("request", lambda: self._send(row, request.role))
        else:
            self._finished.append(row)
        return row.ticket

    def step(self) -> list[tuple[int, Completion]]:
        """Let vLLM go on by a step; return what is finished."""
        if self._rows:
            try:
                self._go_on()
            except HimacError:
                raise
            except Exception as error:
                self.close()  # its state is unknown: the next request starts another
                raise ModelError(f"vLLM failed: {_said(error)}") from error
        done = sorted((row.ticket, row.completion) for row in self._finished)
        self._finished.clear()
        return done

    def cancel(self) -> None:
        """Forget what is under way."""
        if self._rows:
            self._llm.llm_engine.abort_request(list(self._rows))
        self._rows.clear()
        self._finished.clear()

    def load_weights(self, state: Weights, version: int) -> None:
        """Hand over the learner's weights, or its adapters; what was cached with the old ones goes.

        Args:
            state: laid into the learner's module first; None: it has the new ones already.
            version: counts up.

        Raises:
            ModelError: the weights did not arrive: log-probabilities are not the learner's.
        """
        lay_into(self.model, state)
        if self._llm is not None:  # else it starts with them
            self._hand_over(base=not self._adapters)
        self.version = version

    def close(self) -> None:
        """End vLLM and remove its files. Closing twice is allowed."""
        self._rows.clear()
        self._finished.clear()
        if self._llm is not None:
            from vllm.distributed import cleanup_dist_env_and_memory

            self._llm.llm_engine.engine_core.shutdown()
            self._llm, self._loras, VLLMEngine._running = None, {}, False
            gc.collect()
            cleanup_dist_env_and_memory()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    # requests

    def _send(self, row: Row, role: Role) -> None:
        from vllm.sampling_params import RequestOutputKind

        from vllm import SamplingParams

        told, ticket = row.sampling, str(row.ticket)
        self._llm.llm_engine.add_request(
            ticket,
            {"prompt_token_ids": row.prompt.tolist()},
            SamplingParams(
                max_tokens=row.max_tokens, temperature=told.temperature, top_p=told.top_p, seed=told.seed % 2**63,
                stop_token_ids=sorted(self._ending.eos_ids), logprobs=0, detokenize=False,
                output_kind=RequestOutputKind.DELTA,
            ),
            lora_request=self._loras.get(adapter_for(role, self._adapters)),
        )  # fmt: skip
        self._rows[ticket] = row

    def _go_on(self) -> None:
        """Take what one step of vLLM sampled; requests that are over for us are taken back."""
        over = []
        for output in self._llm.llm_engine.step():
            row = self._rows.get(output.request_id)
            if row is None:
                continue
            (part,) = output.outputs
            for token, found in zip(part.token_ids, part.logprobs or [], strict=True):
                if row.finish is None:  # it may have sampled past the end before it heard of it
                    row.ids.append(token)
                    row.logps.append(found[token].logprob)
                    self._ending.look(row)
            if output.finished and row.finish is None:
                raise ModelError(f"vLLM gave a request up: {part.finish_reason}, {part.stop_reason}")
            if row.finish is not None:
                self._finished.append(self._rows.pop(output.request_id))
                if not output.finished:
                    over.append(output.request_id)
        if over:
            self._llm.llm_engine.abort_request(over)

    # vLLM and its weights

    def _start(self) -> None:
        """Start vLLM, if it does not run yet, and hand it the learner's weights."""
        if self._llm is not None:
            return
        if VLLMEngine._running:  # closing one would end the other
            raise ModelError(
                "vLLM runs once in a process, and another engine has it",
                hint="close that one, or let one of the two models be served: engine.name = 'vllm-server'",
            )
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            raise ModelError(
                "vLLM inside the process is for one process, and several generate here",
                hint="engine.name = 'vllm-server' and a server for all of them",
            )
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._folder = tempfile.TemporaryDirectory(prefix="himac-vllm-")
        folder = Path(self._folder.name)
        settings = base_of(self.model).config
        with writing(folder):
            settings.save_pretrained(folder)
        try:
            with _as_it_was():
                from vllm import LLM

                self._llm = LLM(str(folder), **self._arguments())
            VLLMEngine._running = True
        except Exception as error:
            self.close()
            raise ModelError(
                f"vLLM cannot start with this model: {_said(error)}",
                hint="engine.max_length, engine.max_kv_tokens and engine.options say how much it takes",
            ) from error
        try:
            self._hand_over(base=True)
        except BaseException:
            self.close()
            raise

    def _arguments(self) -> dict[str, Any]:
        """Return what `vllm.LLM` is told."""
        model, weights = self.model, next(self.model.parameters())
        per_token = bytes_per_token(model.config.get_text_config(), weights.element_size())
        kept = max(
            self._kv_tokens or affordable_tokens(per_token, self._device), self.max_length + 2 * _ROUND
        )
        told: dict[str, Any] = {
            "skip_tokenizer_init": True, "load_format": "dummy", "dtype": str(weights.dtype).removeprefix("torch."),
            "max_model_len": self.max_length, "max_num_seqs": self.max_batch, "enable_prefix_caching": True,
            "logprobs_mode": "processed_logprobs", "generation_config": "vllm", "disable_log_stats": True,
            "kv_cache_memory_bytes": per_token * (-(-kept // _ROUND) * _ROUND), "seed": 0,
        }  # fmt: skip
        if self._device.type == "cpu":
            # A seeded request whose prompt is read in several steps ends vLLM 0.32 on a processor ("CPU Generator does
            # not use offset"), so every prompt must fit a step.
            told |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(8192, self.max_length)}
            told |= {"enforce_eager": True}  # compiling took half a minute and gained nothing
        if self._adapters:
            largest = max(config.r for config in model.peft_config.values())
            rank = next((rank for rank in _RANKS if rank >= largest), largest)
            told |= {"enable_lora": True, "max_loras": len(self._adapters), "max_lora_rank": rank}
        return told | self._options

    def _hand_over(self, *, base: bool) -> None:
        """Put the learner's weights (`base`) and adapters in place, and see that they are the ones that compute.

        Raises:
            ModelError: they are not.
        """
        self.cancel()
        with torch.no_grad():
            if base:
                self._take("weights", lambda: self._llm.collective_rpc(
                    "reload_weights", kwargs={"weights_iterator": list(base_weights(self.model))}
                ))  # fmt: skip
                off = max(self._llm.apply_model(mend_head))
                if not off <= _HEAD_OFF:
                    raise ModelError(
                        f"vLLM's output head keeps old weights after a hand-over: its logits are off by {off:.1%}",
                        hint="the embedding's weights are tied to it and this vLLM keeps a copy: take another version",
                    )
            if self._adapters:
                self._take("adapters", self._take_adapters)
        self._llm.llm_engine.reset_prefix_cache()
        self._check()
        self._llm.llm_engine.reset_prefix_cache()  # the test's own prompts

    def _take(self, what: str, hand: Any) -> None:
        try:
            hand()
        except HimacError:
            raise
        except Exception as error:
            raise ModelError(f"vLLM does not take the {what}: {_said(error)}") from error

    def _take_adapters(self) -> None:
        """Write the adapters and have vLLM read them, in the place of those it has under the same names."""
        from vllm.lora.request import LoRARequest

        assert self._folder is not None
        folder = Path(self._folder.name) / "adapters"
        make_folder(folder)
        for number, (name, path) in enumerate(save_adapters(self.model, folder).items(), start=1):
            # without the flag the old one would stay, and nothing be raised; with it in each request, each would read files
            self._llm.llm_engine.add_lora(LoRARequest(name, number, str(path), load_inplace=True))
            self._loras[name] = LoRARequest(name, number, str(path))

    def _check(self) -> None:
        """Sample a little with each adapter and compare with the learner.

        Raises:
            ModelError: it computes with other weights.
        """
        roles: tuple[Role, ...] = ("planner", "executor") if len(self._adapters) > 1 else ("executor",)
        for role in roles:
            asked, adapter = probes(self.model, role), adapter_for(role, self._adapters)
            gap = gap_of(self.model, asked, self.generate(asked), adapter)
            check_gap(self.model, gap, adapter, hint="this vLLM and this model do not go together: "
                      "engine.name = 'transformers'")  # fmt: skip


def _check(vision: Vision | None, device: torch.device, options: Table) -> None:
    """Refuse what vLLM is not given here."""
    if vision is not None:
        raise ModelError("pictures do not go through vLLM yet", hint="engine.name = 'transformers'")
    if device.type not in ("cpu", "cuda") or device.index not in (None, 0):
        raise ModelError(
            f"vLLM takes the processor or the first CUDA device, got {device}",
            hint="CUDA_VISIBLE_DEVICES makes another card the first",
        )
    for name in options:
        if name in _OURS:
            raise ConfigError(
                f"engine.options.{name} is set by himac", hint="engine.max_length and its neighbours"
            )


def _said(error: BaseException) -> str:
    """Return what vLLM said, in a line."""
    return line(str(error).strip().partition("\n")[0])[:300] or type(error).__name__


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Undo what vLLM's start does to the process: seeds, number of threads, cores, and torch's own function for them."""
    threads, set_threads = torch.get_num_threads(), torch.set_num_threads
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        yield
    finally:
        torch.set_num_threads = set_threads
        torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if cores is not None:
            os.sched_setaffinity(0, cores)
