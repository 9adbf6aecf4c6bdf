"""A vLLM server for unit tests: a real small model behind the requests and answers of vLLM 0.32, recorded from the real one.

It takes no field that the engine has no business to send, and refuses in the real one's words and statuses. Weights are
read from the folders it is told; with `stale_head` its output head keeps the first ones, as the real one's does on a processor.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

FIELDS = {
    "model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop_token_ids", "logprobs", "return_token_ids",
    "skip_special_tokens", "include_stop_str_in_output", "stop",
}  # fmt: skip


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str, *, bare: bool = False) -> None:
        super().__init__(message)
        error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
        self.status, self.body = status, {"detail": message} if bare else {"error": error}


class FakeVLLM:
    """A server on a port of its own, as a context manager.

    Args:
        folder: of the model that it was started with.
        max_model_len: `--max-model-len`.
        dev: `VLLM_SERVER_DEV_MODE=1`.
        lora: `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`.
        raw: without `--logprobs-mode processed_logprobs`.
        stale_head: a tied head keeps its first weights.
        failing: answers 503 to so many completions first.
    """

    def __init__(self, folder: Path, *, max_model_len: int = 512, dev: bool = True, lora: bool = False, raw: bool = False,
                 stale_head: bool = False, failing: int = 0) -> None:  # fmt: skip
        self.max_model_len, self.dev, self.lora, self.raw, self.failing = (
            max_model_len,
            dev,
            lora,
            raw,
            failing,
        )
        self.folder, self.tokenizer = folder, AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.head = self.model.lm_head.weight.detach().clone() if stale_head else None
        self.adapters: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                self._answer(json.loads(self.rfile.read(size)) if size else {})

            def _answer(self, body: Any) -> None:
                try:
                    with fake._lock:
                        status, told = 200, fake.handle(self.path, body)
                except Refused as refusal:
                    status, told = refusal.status, refusal.body
                words = (told if isinstance(told, str) else json.dumps(told)).encode()
                try:
                    self.send_response(status)
                    if not isinstance(told, str):
                        self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(words)))
                    self.end_headers()
                    self.wfile.write(words)
                except OSError:
                    pass  # whoever asked has hung up

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FakeVLLM:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def handle(self, path: str, body: Any) -> Any:
        """Return the answer to a request: JSON, or words."""
        self.asked.append((path, body))
        routes: dict[str, Any] = {"/v1/models": self._models, "/v1/completions": self._complete}
        if self.dev:
            routes |= {"/collective_rpc": self._rpc, "/reset_prefix_cache": lambda body: {"success": True}}
        if self.lora:
            routes |= {"/v1/load_lora_adapter": self._load, "/v1/unload_lora_adapter": self._unload}
        if path not in routes:
            raise Refused(404, "Not Found", bare=True)
        return routes[path](body)

    def _models(self, body: Any) -> Any:
        if body is not None:
            raise Refused(405, "Method Not Allowed", bare=True)
        base = {
            "id": "policy",
            "object": "model",
            "root": str(self.folder),
            "parent": None,
            "max_model_len": self.max_model_len,
        }
        own = [{**base, "id": name, "parent": "policy", "max_model_len": None} for name in self.adapters]
        return {"object": "list", "data": [base, *own]}

    def _rpc(self, body: Any) -> Any:
        if body["method"] != "reload_weights":
            raise Refused(
                500, f"Call to collective_rpc method failed: Worker failed with error ''CPUWorker' object has no attribute "
                f"'{body['method']}''"
            )  # fmt: skip
        path = body["kwargs"]["weights_path"]
        if not Path(path).is_dir():
            raise Refused(500, f"Worker failed with error 'Repo id must use alphanumeric chars: {path!r}'")
        self.model = AutoModelForCausalLM.from_pretrained(path).eval()
        if self.head is not None:
            self.model.lm_head.weight = torch.nn.Parameter(self.head)
        return {"results": [None]}

    def _load(self, body: Any) -> Any:
        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters:
            raise Refused(400, f"The lora adapter '{name}' has already been loaded.")
        if not Path(path, "adapter_config.json").is_file():
            raise Refused(404, f"Loading lora {name} failed: No adapter found for {path}")
        base = AutoModelForCausalLM.from_pretrained(self.folder)
        self.adapters[name] = PeftModel.from_pretrained(base, path).eval()
        return f"Success: LoRA adapter '{name}' added successfully."

    def _unload(self, body: Any) -> Any:
        if self.adapters.pop(body["lora_name"], None) is None:
            raise Refused(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
        return f"Success: LoRA adapter '{body['lora_name']}' removed successfully."

    def _complete(self, body: Any) -> Any:
        if self.failing:
            self.failing -= 1
            raise Refused(503, "overloaded")
        self._check(body)
        ids, logps, stop = self._sample(body)
        texts = [self.tokenizer.decode([token]) for token in ids]
        chosen = {
            "index": 0, "text": "".join(texts), "finish_reason": "length" if stop is None else "stop", "stop_reason": stop,
            "token_ids": ids, "prompt_token_ids": body["prompt"],
            "logprobs": {"text_offset": [0] * len(ids), "token_logprobs": logps, "tokens": texts,
                         "top_logprobs": [{text: logp} for text, logp in zip(texts, logps)]},
        }  # fmt: skip
        used = {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(ids)}
        return {
            "id": "cmpl-0",
            "object": "text_completion",
            "model": body["model"],
            "choices": [chosen],
            "usage": used,
        }

    def _check(self, body: Any) -> None:
        assert set(body) <= FIELDS, set(body) - FIELDS
        assert (
            body["logprobs"] == 0
            and body["return_token_ids"] is True
            and body["include_stop_str_in_output"] is True
        )
        prompt, seed = body["prompt"], body["seed"]
        if body["model"] != "policy" and body["model"] not in self.adapters:
            raise Refused(404, f"The model `{body['model']}` does not exist. Valid aliases: policy.")
        if not prompt:
            raise Refused(400, "You must pass at least one prompt")
        if max(prompt) >= self.model.config.vocab_size:
            raise Refused(400, f"Token id {max(prompt)} is out of vocabulary")
        if not -(2**63) <= seed < 2**63:
            raise Refused(
                400, "1 validation error: Input should be less than or equal to 9223372036854775807"
            )
        if not 0 <= body["temperature"] <= 2:
            raise Refused(400, f"temperature must be in [0, 2], got {body['temperature']}.")
        if min(body["max_tokens"], self.max_model_len - len(prompt)) < 1:
            raise Refused(400, "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)")

    def _sample(self, body: Any) -> tuple[list[int], list[float], Any]:
        model, stream = (
            self.adapters.get(body["model"], self.model),
            torch.Generator().manual_seed(body["seed"]),
        )
        ids: list[int] = []
        logps: list[float] = []
        for _ in range(min(body["max_tokens"], self.max_model_len - len(body["prompt"]))):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*body["prompt"], *ids]])).logits[0, -1].float()
            scaled = (logits / (body["temperature"] or 1.0)).log_softmax(-1)
            token = int(
                torch.multinomial(scaled.exp(), 1, generator=stream)
                if body["temperature"]
                else logits.argmax()
            )
            ids.append(token)
            logps.append(float((logits.log_softmax(-1) if self.raw else scaled)[token]))
            if token in body["stop_token_ids"]:
                return ids, logps, token
            text = self.tokenizer.decode(ids)
            for stop in body.get("stop", ()):
                if stop in text:
                    return ids, logps, stop
        return ids, logps, None
