"""`himac model export`: what comes out is the trained model, whole, and loads without himac."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from himac.cli.main import main
from himac.config import Config, ModelConfig, override
from himac.errors import RunError
from himac.learner.policy import ROLES, Policy
from himac.models.load import load_model
from himac.models.tiny import TinyShape, build_tiny
from himac.train.card import licence
from himac.train.export import export_model

IDS = torch.tensor([[5, 9, 30, 7, 11, 200]])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    build_tiny(tmp_path / "base", ["go east wait hall"], TinyShape(hidden=32, layers=2), vocab=400)
    return tmp_path / "base"


def _trained(base: Path, folder: Path, *, per_role: bool) -> Policy:
    """Save a policy whose adapters do something."""
    config = ModelConfig(lora_rank=2, lora_per_role=per_role)
    policy = Policy.load(base, config, device=torch.device("cpu"))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable:
            parameter.normal_(std=0.3)
    policy.save(folder)
    return policy


@pytest.mark.parametrize("per_role", [False, True])
def test_an_adapter_is_merged_into_what_transformers_loads_alone(
    base: Path, tmp_path: Path, per_role: bool
) -> None:
    policy = _trained(base, tmp_path / "saved", per_role=per_role)
    config = override(Config(), model={"lora_rank": 2, "lora_per_role": per_role})
    folders = export_model(str(tmp_path / "saved"), tmp_path / "out", config, None)
    assert [f.name for f in folders] == (list(ROLES) if per_role else ["out"])
    for role, folder in zip(ROLES, folders, strict=False):
        policy.play(role)
        with torch.no_grad():
            wanted = policy.model.eval()(IDS).logits
            plain = AutoModelForCausalLM.from_pretrained(folder)
            assert not hasattr(plain, "peft_config") and list(folder.glob("*.safetensors"))
            torch.testing.assert_close(plain(IDS).logits, wanted, atol=1e-4, rtol=1e-4)
            untrained = AutoModelForCausalLM.from_pretrained(base)
            assert float((untrained(IDS).logits - wanted).abs().max()) > 0.1
        assert AutoTokenizer.from_pretrained(folder).chat_template


@pytest.mark.parametrize("per_role", [False, True])
def test_whoever_may_read_files_of_mine_may_read_the_weights(
    base: Path, tmp_path: Path, per_role: bool
) -> None:
    _trained(base, tmp_path / "saved", per_role=per_role)
    config = override(Config(), model={"lora_rank": 2, "lora_per_role": per_role})
    export_model(str(tmp_path / "saved"), tmp_path / "out", config, None)
    (tmp_path / "mine").touch()
    usual = (tmp_path / "mine").stat().st_mode
    found = {path: path.stat().st_mode for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.suffix == ".safetensors" for path in found)
    assert {path for path, mode in found.items() if mode != usual} == set()


def test_weights_are_written_in_the_type_they_came_in(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(str(base), ModelConfig(dtype="bfloat16"))
    model.save_pretrained(tmp_path / "half")
    tokenizer.save_pretrained(tmp_path / "half")
    (folder,) = export_model(str(tmp_path / "half"), tmp_path / "out", Config(), None)
    assert AutoModelForCausalLM.from_pretrained(folder, dtype="auto").dtype == torch.bfloat16


def test_what_is_there_is_not_written_over(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not empty"):
        export_model(str(base), base, Config(), None)


def test_a_run_is_exported_with_its_card_and_pushing_needs_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nobody"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    words = [
        "env=toy",
        "env.doors=1",
        "model=tiny",
        "model.tiny=[32, 1, 400]",
        "agent.think=false",
        "run.name=r",
    ]
    words += ["sft.demonstrations=4", "sft.batch=4", "run.iterations=0", "eval.final=val", "env.val=4"]
    assert main(["train", *words]) == 0
    capsys.readouterr()
    assert main(["model", "export", "r"]) == 0
    assert "vllm serve exported/r" in capsys.readouterr().out
    card = Path("exported/r/README.md").read_text()
    assert "trained from nothing" in card and "env=toy" in card and "env.doors=1" in card
    assert "| toy   | val   | 4        | greedy" in card and "Wilson" in card
    assert main(["model", "export", "r", "--to", "again", "--push-to-hub", "me/mine"]) == 2
    assert not Path("again").exists()  # it is asked first
    said = capsys.readouterr().err
    assert "nobody is logged in" in said and "hf auth login" in said


def _evaluated(run: Path, folder: str, split: str, **told: object) -> None:
    """Write what `himac eval` writes beside a run."""
    row = {
        "split": split,
        "episodes": 50,
        "tasks": 200,
        "success": 0.5,
        "success_low": 0.366,
        "success_high": 0.634,
    }
    model = f"{run}/{folder}"
    row |= {"planner": model, "executor": model, "env": "toy", "temperature": 0.4, "complete": True, **told}
    (run / "evaluations").mkdir(parents=True, exist_ok=True)
    (run / "evaluations" / f"{len(list((run / 'evaluations').iterdir()))}.json").write_text(json.dumps(row))


def test_a_card_holds_the_results_of_these_weights_alone(base: Path, tmp_path: Path) -> None:
    run, saved = tmp_path / "runs/r", "checkpoints/iteration-000002/model"
    _evaluated(run, saved, "test")
    _evaluated(run, "checkpoints/iteration-000001/model", "val")  # another checkpoint
    _evaluated(run, saved, "half", complete=False)
    _evaluated(run, saved, "mixed", planner="http://localhost:8000/v1#other")
    model = run / saved
    model.parent.mkdir(parents=True)
    base.rename(model)
    config = override(
        Config(), model={"name": str(tmp_path / "secret/base")}, env={"settings": {"path": "/home/me/games"}}
    )
    (folder,) = export_model(str(model), tmp_path / "out", config, run)
    card = (folder / "README.md").read_text()
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in rows[2].split("|")[1:-2]] == [
        "toy", "test", "50 of 200", "0.4", "50.0%", "36.6% - 63.4%"
    ]  # fmt: skip
    assert len(rows) == 3 and "after iteration 2" in card and "vllm serve ./out" in card
    assert str(tmp_path) not in card and "/home/me" not in card and "env.path=games" in card


def test_weights_that_nobody_evaluated_are_said_to_be_so(base: Path, tmp_path: Path) -> None:
    (folder,) = export_model(str(base), tmp_path / "out", Config(), tmp_path)
    assert "No evaluation of these weights is on file." in (folder / "README.md").read_text()


def test_two_roles_are_served_side_by_side(base: Path, tmp_path: Path) -> None:
    _trained(base, tmp_path / "saved", per_role=True)
    config = override(Config(), model={"lora_rank": 2, "lora_per_role": True})
    for folder in export_model(str(tmp_path / "saved"), tmp_path / "out", config, None):
        card = (folder / "README.md").read_text()
        assert f"It is the {folder.name}" in card and "--planner http://localhost:8000/v1#planner" in card
        assert "vllm serve ./executor --served-model-name executor --port 8001" in card


@pytest.mark.parametrize(
    ("name", "text", "known"),
    [
        ("README.md", "---\ntags: [a]\nlicense: apache-2.0\n---\n# A model", "apache-2.0"),
        ("README.md", "---\ntags: [a]\n---\nlicense: mit", ""),
        ("LICENSE", "Apache License\nVersion 2.0, January 2004", "apache-2.0"),
        ("LICENSE", "You may look at it.", "other"),
    ],
)
def test_the_licence_of_the_base_model_is_read_where_it_says_one(
    base: Path, tmp_path: Path, name: str, text: str, known: str
) -> None:
    (base / name).write_text(text)
    assert licence(str(base)) == known
    config = override(Config(), model={"name": str(base)})
    (folder,) = export_model(str(base), tmp_path / "out", config, None)
    card = (folder / "README.md").read_text()
    assert (f"license: {known}\n" in card) == bool(known)
    assert (folder / "LICENSE").exists() == (name == "LICENSE")


def test_a_place_that_cannot_be_written_is_one_line_and_leaves_nothing(base: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        export_model(str(base), tmp_path / "file" / "out", Config(), None)
    with pytest.raises(RunError, match="cannot write"):
        export_model(str(base), tmp_path / ("x" * 300), Config(), None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "file"]


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as an upload of small files asks for."""

    committed: dict[str, bytes]
    said_no: bool

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if type(self).said_no:
            return self._answer(403, {"error": "you may not write here"})
        assert self.headers["Authorization"] == "Bearer hf_for_tests"
        if self.path == "/api/repos/create":
            return self._answer(200, {"url": f"http://{self.headers['Host']}/me/mine"})
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"warnings": [], "errors": []})
        if self.path == "/api/models/me/mine/preupload/main":
            asked = json.loads(body)["files"]
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
            return self._answer(200, {"files": files})
        if self.path.startswith("/api/models/me/mine/commit/main"):
            for row in map(json.loads, body.splitlines()):
                if row["key"] == "file":
                    type(self).committed[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            url = f"http://{self.headers['Host']}/me/mine/commit/0"
            return self._answer(
                200, {"commitUrl": url, "commitOid": "0" * 40, "commitMessage": "m", "success": True}
            )
        return self._answer(404, {"error": self.path})

    def do_GET(self) -> None:
        self._answer(404, {"error": self.path})

    def _answer(self, code: int, told: dict[str, object]) -> None:
        body = json.dumps(told).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.committed, Hub.said_no = {}, False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def _push(folder: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Push in a process of its own: the hub's address is read when its library is imported."""
    code = f"from pathlib import Path; from himac.train.export import push; print(push(Path({str(folder)!r}), 'me/mine'))"
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_TOKEN": "hf_for_tests",
        "HF_HOME": str(folder.parent),
    }
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_a_pushed_model_arrives_whole(base: Path, tmp_path: Path, hub: str) -> None:
    (folder,) = export_model(str(base), tmp_path / "out", Config(), None)
    done = _push(folder, hub)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == f"{hub}/me/mine", done.stderr
    here = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    assert Hub.committed == here and {"README.md", "model.safetensors", "config.json"} <= set(here)


def test_a_hub_that_refuses_or_is_not_there_is_one_line(base: Path, tmp_path: Path, hub: str) -> None:
    (folder,) = export_model(str(base), tmp_path / "out", Config(), None)
    Hub.said_no = True
    for endpoint in (hub, "http://127.0.0.1:9"):
        done = _push(folder, endpoint)
        assert "ConfigError: cannot push to 'me/mine': " in done.stderr.splitlines()[-1], done.stderr
