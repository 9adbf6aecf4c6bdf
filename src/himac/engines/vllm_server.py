"""Generation by a vLLM server: on other GPUs, or on another machine that sees the same disk.

Token ids go out and come back with the log-probabilities of what was sampled. New weights are an ordinary Hugging Face
folder and one request; with LoRA only the adapter is written, under a new name for each version, so that neither an old
adapter nor what was cached with one can be taken for it.

    VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs --generation-config vllm
    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-loras 2 ...       with adapters

Left out: starting the server, several of them, weights over NCCL, pictures.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Annotated

import torch

from himac.engines.apart import (
    adapter_for,
    adapters_of,
    base_of,
    check_gap,
    completion_of,
    gap_of,
    probes,
    row_within,
    save_adapters,
)
from himac.engines.base import Engine, lay_into
from himac.engines.rows import Ending, Row, end_ids
from himac.engines.vllm_http import Server, ServerRefusal
from himac.errors import EndpointError, ModelError
from himac.files import as_usual, make_folder, writing
from himac.models.vision import Vision
from himac.toml import at_least
from himac.types import Completion, Json, LanguageModel, Request, Role, Tokenizer, Weights

_STALE = (
    "start it with --logprobs-mode processed_logprobs and the learner's model; on a processor also with "
    "--worker-extension-cls himac.engines.vllm_worker.HandOver, and engine.reload = 'himac_reload'"
)


class VLLMServerEngine(Engine):
    """An `Engine` on `vllm serve`. The server is first spoken to when the first request comes.

    Args:
        model: the learner's; its weights or adapters are handed over.
        tokenizer: decodes for stop strings and names the end-of-turn tokens.
        max_batch: most requests under way at once.
        address: of the server, URL or URL#MODEL.
        folder: where weights are written for the server to read: on a disk that both see. "": a temporary one here.
        reload: the worker's method that takes a folder of weights.
        key_env: environment variable with the server's key, if it has one.
        timeout_s: longest wait for one answer.
        vision: must be None.

    Raises:
        ModelError: the model sees pictures.
        ConfigError: no address.
    """

    plays_roles = True  # one engine for both roles' adapters

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        max_batch: int = 128,
        address: str = "http://localhost:8000/v1",
        folder: str = "",
        reload: str = "reload_weights",
        key_env: str = "VLLM_API_KEY",
        timeout_s: Annotated[float, at_least(1)] = 600.0,
        vision: Vision | None = None,
    ) -> None:
        if vision is not None:
            raise ModelError("pictures do not go through vLLM yet", hint="engine.name = 'transformers'")
        self.model, self.tokenizer, self.version = model, tokenizer, 0
        self._server = Server(address, key_env=key_env, timeout_s=timeout_s)
        self._max_batch, self._reload = max_batch, reload
        self._told_folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._ending = Ending(end_ids(model, tokenizer), tokenizer)
        self._adapters = adapters_of(model)
        self._names: dict[str, str] = {}  # adapter: the server's name for its newest version
        self._name = uuid.uuid4().hex[:8]  # an earlier run's adapters may still be there
        self._handed = 0  # hand-overs
        self._served, self._max_length = "", 0
        self._workers: ThreadPoolExecutor | None = None
        self._next = 0  # ticket
        self._under_way: dict[Future[Completion], int] = {}

    def submit(self, request: Request) -> int:
        """Take a request and send it.

        Raises:
            ModelError: its prompt is empty or too long, or the server computes with other weights.
            EndpointError: there is no server that can be used.
        """
        self._start()
        row = row_within(self._next, request, self._max_length, where="it was started with --max-model-len")
        assert self._workers is not None
        self._next += 1
        self._under_way[self._workers.submit(self._complete, row, request.role)] = row.ticket
        return row.ticket

    def step(self) -> list[tuple[int, Completion]]:
        """Wait for the first answers.

        Raises:
            EndpointError: the server cannot be used any further.
        """
        if not self._under_way:
            return []
        done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
        try:
            return sorted((self._under_way[future], future.result()) for future in done)
        finally:
            for future in done:
                del self._under_way[future]

    def cancel(self) -> None:
        """Give up what is under way."""
        for future in self._under_way:
            future.cancel()
        if self._under_way:
            self._server.hang_up()
            wait(self._under_way)
        self._under_way.clear()

    def load_weights(self, state: Weights, version: int) -> None:
        """Hand over the learner's weights, or its adapters; what was cached with the old ones goes.

        Raises:
            ModelError: the weights did not arrive: log-probabilities are not the learner's.
            EndpointError: the server does not take them.
        """
        lay_into(self.model, state)
        if self._workers is not None:  # else the server is told before the first request
            self._hand_over()
        self.version = version

    def close(self) -> None:
        """Hang up and remove the files. Closing twice is allowed; the server runs on."""
        self.cancel()
        if self._workers is not None:
            for name in self._names.values():
                self._forget(name)
            self._workers.shutdown()
            self._workers, self._names = None, {}
        self._server.hang_up()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    # requests

    def _complete(self, row: Row, role: Role) -> Completion:
        """Send one request and read its answer."""
        if row.max_tokens == 0:
            return row.completion
        told = row.sampling
        body: dict[str, Json] = {
            "model": self._names.get(adapter_for(role, self._adapters), self._served),
            "prompt": row.prompt.tolist(), "max_tokens": row.max_tokens, "temperature": told.temperature,
            "top_p": told.top_p, "seed": told.seed % 2**63, "stop_token_ids": sorted(self._ending.eos_ids),
            "logprobs": 0, "return_token_ids": True, "skip_special_tokens": False, "include_stop_str_in_output": True,
        }  # fmt: skip
        if told.stop and not (
            told.thinks or told.in_thought
        ):  # stop strings rest in a thought, of which vLLM knows nothing
            body["stop"] = list(told.stop)
        try:
            return self._read(self._server.post("/v1/completions", body), row)
        except ServerRefusal as refusal:
            refusal.hint = (
                refusal.hint
                or f"the model is called {body['model']!r} there, and takes {self._max_length} tokens"
            )
            raise

    def _read(self, answer: Json, row: Row) -> Completion:
        """Return the completion that an answer holds.

        Raises:
            EndpointError: it holds none.
        """
        try:
            (choice,) = answer["choices"]
            ids, logps, finish = (
                choice["token_ids"],
                choice["logprobs"]["token_logprobs"],
                choice["finish_reason"],
            )
            is_whole = len(ids) == len(logps) > 0 and finish in ("stop", "length")
            is_whole = is_whole and all(isinstance(token, int) for token in ids)
            is_whole = is_whole and all(
                isinstance(logp, float | int) and math.isfinite(logp) for logp in logps
            )
        except (KeyError, TypeError, ValueError):
            is_whole = False
        if not is_whole:
            raise EndpointError(
                f"{self._server.url} sent a completion without token ids and their log-probabilities",
                hint="it takes a vLLM server of version 0.10 or later: /v1/completions with return_token_ids",
            )
        return completion_of(row, ids, logps, self._ending, stopped=finish == "stop")

    # the server and its weights

    def _start(self) -> None:
        """Ask what is served, and hand over the learner's weights, if that was not done yet."""
        if self._workers is not None:
            return
        listed = self._server.get("/v1/models")
        try:
            models = {str(each["id"]): each for each in listed["data"] if not each.get("parent")}
            self._served = self._server.model or next(iter(models))
            self._max_length = int(models[self._served]["max_model_len"])
        except (KeyError, TypeError, ValueError, StopIteration):
            names = ", ".join(models) if isinstance(listed, dict) and "data" in listed else "none"
            raise EndpointError(
                f"{self._server.url} does not serve {self._server.model or 'a model'} as vLLM does; it lists: {names}",
                hint="engine.address = URL#MODEL, of a server started with `vllm serve`",
            ) from None
        self._workers = ThreadPoolExecutor(self._max_batch, thread_name_prefix="himac-vllm")
        try:
            self._hand_over()
        except BaseException:
            self.close()
            raise

    def _hand_over(self) -> None:
        """Write the learner's weights or adapters, have the server read them, and see that it computes with them.

        Raises:
            ModelError: it does not.
        """
        self.cancel()
        self._handed += 1
        folder = self._place() / f"himac-{self._name}-{self._handed}"
        make_folder(folder)
        try:
            if self._adapters:
                self._take_adapters(folder)
            else:
                self._take_weights(folder)
            self._check()
        finally:
            if not self._adapters:  # an adapter's files may be read again, when it was dropped for another
                shutil.rmtree(folder, ignore_errors=True)

    def _take_weights(self, folder: Path) -> None:
        with writing(folder), torch.no_grad():
            base_of(self.model).save_pretrained(str(folder))
            self.tokenizer.save_pretrained(str(folder))
            as_usual(folder)  # the server's user reads it
        try:
            self._server.post(
                "/collective_rpc", {"method": self._reload, "kwargs": {"weights_path": str(folder.resolve())}}
            )
            self._server.post("/reset_prefix_cache")
        except ServerRefusal as refusal:
            refusal.hint = (
                "start it with VLLM_SERVER_DEV_MODE=1 in its environment"
                if refusal.has_no_route
                else f"it must see the folder {str(folder)!r} (engine.folder) and have the method {self._reload!r} (engine.reload)"
            )
            raise

    def _take_adapters(self, folder: Path) -> None:
        old = dict(self._names)
        for adapter, path in save_adapters(self.model, folder).items():
            name = f"himac-{self._name}-{self._handed}-{adapter}"
            try:
                self._server.post(
                    "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path.resolve())}
                )
            except ServerRefusal as refusal:
                refusal.hint = (
                    "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment"
                    if refusal.has_no_route
                    else f"it must see the folder {str(path)!r} (engine.folder), and --max-lora-rank must be at least the adapter's"
                )
                raise
            self._names[adapter] = name
        for name in old.values():
            self._forget(name)
        for past in self._place().glob(f"himac-{self._name}-*"):
            if past != folder:
                shutil.rmtree(past, ignore_errors=True)

    def _forget(self, name: str) -> None:
        """Have the server drop an adapter; one that it has dropped already does not matter."""
        try:
            self._server.post("/v1/unload_lora_adapter", {"lora_name": name})
        except EndpointError:
            return

    def _check(self) -> None:
        """Sample a little with each adapter and compare with the learner."""
        roles: tuple[Role, ...] = ("planner", "executor") if len(self._adapters) > 1 else ("executor",)
        for role in roles:
            asked, adapter = probes(self.model, role), adapter_for(role, self._adapters)
            check_gap(
                self.model, gap_of(self.model, asked, self.generate(asked), adapter), adapter, hint=_STALE
            )
        if not self._adapters:
            self._server.post("/reset_prefix_cache")  # the test's own prompts

    def _place(self) -> Path:
        """Return the folder under which weights are written."""
        if self._told_folder:
            return Path(self._told_folder)
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="himac-vllm-")
        return Path(self._temporary.name)


__all__ = ["VLLMServerEngine"]
