"""`himac eval` on an endpoint: a folder that keeps what was finished, through kills, dead servers and spent budgets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from himac.cli.main import main
from himac.engines import endpoint as endpoint_module
from himac.envs.base import make_env
from himac.rollout.evaluate import subset

sys.path.append(str(Path(__file__).parents[1] / "engines"))
from endpoint import Answer, Endpoint, fails, says

pytest.importorskip("openai", reason="needs the extra openai: pip install 'himac[openai]'")

KEY = "sk-secret-0123456789"
CHOSEN = [task.index for task in subset(make_env("toy", doors=1).tasks("val"), 6)]
"""The tasks that `eval.tasks=6` looks at."""
TOY = ["env=toy", "env.doors=1", "split=val", "eval.tasks=6", "agent.max_steps=4"]
PLAN = "<blueprint>\n1. wait\n2. look\n</blueprint>"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(endpoint_module, "_FIRST_WAIT_S", 0.02)


def _answer(body: dict[str, Any], number: int) -> Answer:
    """Answer by what was said alone, so that an answer does not depend on when it is asked for."""
    if "You plan." in body["messages"][0]["content"]:
        return says(PLAN)
    return says(f"<action>go to {['barn', 'hall', 'porch'][len(body['messages']) % 3]}</action>")


def _only_run() -> Path:
    (folder,) = Path("runs").iterdir()
    return folder


def _rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the whole lines."""
    path = folder / "episodes.jsonl"
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text())


def test_an_endpoint_is_evaluated_and_its_folder_is_a_run_s(capsys: pytest.CaptureFixture[str]) -> None:
    with Endpoint(_answer) as server:
        assert main(["eval", f"{server.url}#m", *TOY, "--out", "copy/result.json"]) == 0
    out = capsys.readouterr().out
    assert "| val   | 6        | 0.000" in out and "6 of 6 tasks" in out
    folder = _only_run()
    assert folder.name.startswith("eval-toy-val-himac-")
    result = _result(folder)
    assert result["complete"] and result["episodes"] == result["asked"] == 6
    assert json.loads(Path("copy/result.json").read_text()) == result
    assert result["usage"]["requests"] == len(server.requests) == 6 * 5
    assert result["usage"]["prompt_tokens"] == 10 * len(server.requests)
    rows = _rows(folder)
    assert sorted(row["task"]["index"] for row in rows) == CHOSEN and all(row["tokens"] == 15 for row in rows)
    assert main(["show", str(folder), "--count", "1"]) == 0
    assert main(["report", str(folder), "--out", "report.html"]) == 0
    assert "<html" in Path("report.html").read_text()


@pytest.mark.parametrize("method", ["himac", "flat", "react", "reflexion"])
def test_every_method_runs_on_an_endpoint(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Endpoint(_answer) as server:
        assert main(["eval", server.url, *TOY, f"method={method}", "eval.trials=2"]) == 0
    result = _result(_only_run())
    assert result["method"] == method and result["episodes"] == 6
    assert ("best of" in capsys.readouterr().out) == (method == "reflexion")
    calls = {"himac": 5, "flat": 4, "react": 4, "reflexion": 4 + 1 + 4}[method]
    assert result["turns"] == calls and len(server.requests) == 6 * calls


def test_the_key_is_written_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    def behave(body: dict[str, Any], number: int) -> Answer:
        if number == 3:
            return fails(400, f"maximum context length exceeded by the bearer of {KEY}")
        return says(f"<think>{KEY}</think><action>{KEY}</action>") if number > 9 else _answer(body, number)

    with Endpoint(behave) as server:
        assert main(["eval", f"{server.url}#m", *TOY]) == 0
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    said = capsys.readouterr()
    assert KEY not in said.out + said.err and "1 of 6 episodes could not be run" in said.err
    files = [path for path in Path(".").rglob("*") if path.is_file()]
    assert len(files) >= 5 and "[key]" in (_only_run() / "episodes.jsonl").read_text()
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_killed_evaluation_goes_on_to_the_same_result(tmp_path: Path) -> None:
    def slowly(body: dict[str, Any], number: int) -> Answer:
        time.sleep(0.15)
        return _answer(body, number)

    with Endpoint(slowly) as server:
        words = [
            "eval",
            f"{server.url}#m",
            *TOY,
            "endpoint.concurrency=2",
            "method=reflexion",
            "eval.trials=2",
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "himac", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        _wait_for(lambda: any(Path("runs").glob("*")) and len(_rows(_only_run())) >= 3, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    folder = _only_run()
    with open(folder / "episodes.jsonl", "a") as file:  # as if it had been killed while writing
        file.write('{"iteration":0,"phase":"eval","gro')
    finished = [(row["task"]["index"], row["replica"]) for row in _rows(folder)]
    assert 3 <= len(finished) < 12
    with Endpoint(_answer, port=server.port) as again:
        assert main(words) == 0
    rows = _rows(folder)
    assert sorted((row["task"]["index"], row["replica"]) for row in rows) == [
        (i, k) for i in CHOSEN for k in range(2)
    ]
    calls_left = sum(row["calls"] for row in rows) - sum(row["calls"] for row in rows[: len(finished)])
    assert len(again.requests) == calls_left
    assert _result(folder)["usage"]["requests"] >= sum(row["calls"] for row in rows)
    killed = _result(folder)
    with Endpoint(_answer, port=server.port):
        assert main([*words, "run.name=undisturbed"]) == 0
    undisturbed = _result(Path("runs/undisturbed"))
    for row in (killed, undisturbed):
        del row["usage"], row["seconds"]
    assert killed == undisturbed


def test_a_dead_server_leaves_what_was_finished_and_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def dies(body: dict[str, Any], number: int) -> Answer:
        return _answer(body, number) if number < 22 else fails(503, "shutting down")

    words = [*TOY, "endpoint.concurrency=2", "endpoint.retries=2"]
    with Endpoint(dies) as server:
        address = f"{server.url}#m"
        assert main(["eval", address, *words]) == 2
    said = capsys.readouterr()
    assert "failed 3 times" in said.err and "goes on where this one stopped" in said.err
    assert len([line for line in said.err.splitlines() if line.startswith("himac: ")]) == 1
    assert "4 of 6 tasks" in said.out
    assert not _result(_only_run())["complete"]
    with Endpoint(_answer, port=server.port) as again:
        assert main(["eval", address, *words]) == 0
    assert len(again.requests) == 2 * 5 and _result(_only_run())["complete"]


def test_a_spent_budget_stops_cleanly_and_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Endpoint(_answer) as server:
        words = ["eval", f"{server.url}#m", *TOY, "endpoint.concurrency=2", "endpoint.budget=[13, 0]"]
        assert main(words) == 2
        said = capsys.readouterr()
        assert (
            len(server.requests) == 13
            and "the budget of 13 requests" in said.err
            and "2 of 6 tasks" in said.out
        )
        folder = _only_run()
        assert [row["success"] for row in _rows(folder)] == [False, False] and not _result(folder)["complete"]
        assert main([*words[:-1], "endpoint.budget=[0, 0]"]) == 0  # another budget is not another evaluation
    assert _result(folder)["complete"] and len(_rows(folder)) == 6
    assert _result(folder)["usage"]["requests"] == len(server.requests) == 13 + 4 * 5


def test_a_finished_evaluation_asks_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Endpoint(_answer) as server:
        assert main(["eval", f"{server.url}#m", *TOY]) == 0
        count = len(server.requests)
        assert main(["eval", f"{server.url}#m", *TOY]) == 0
        assert len(server.requests) == count


def test_planner_and_executor_are_different_endpoints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANNERS_KEY", "other-key")
    with Endpoint(_answer) as planner, Endpoint(_answer) as executor:
        words = ["--planner", f"{planner.url}#p", "--executor", f"{executor.url}#e", *TOY]
        assert main(["eval", *words, "endpoint.planner_key_env=PLANNERS_KEY"]) == 0
    assert len(planner.requests) == 6 and len(executor.requests) == 6 * 4
    assert {r["model"] for r in planner.requests} == {"p"} and {r["model"] for r in executor.requests} == {
        "e"
    }
    assert planner.headers[0]["authorization"] == "Bearer other-key"
    assert executor.headers[0]["authorization"] == f"Bearer {KEY}"
    result = _result(_only_run())
    assert (result["planner"], result["executor"]) == (f"{planner.url}#p", f"{executor.url}#e")


def test_a_local_executor_follows_an_endpoint_s_plans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from himac.testing import tiny_model

    tiny_model(
        tmp_path / "tiny", ["<action>go to barn</action>", "You act. Work on the current sub-goal only."]
    )
    with Endpoint(_answer) as planner:
        words = ["--planner", f"{planner.url}#p", *TOY, "agent.executor_tokens=8"]
        assert main(["eval", str(tmp_path / "tiny"), *words]) == 0
    assert len(planner.requests) == 6
    rows = _rows(_only_run())
    assert all(row["blueprint"]["subgoals"] == ["wait", "look"] for row in rows)
    assert all(row["contexts"][0]["ids"] == [] and row["contexts"][1]["ids"] for row in rows)


@pytest.mark.parametrize("method", ["react", "reflexion"])
def test_prompting_methods_run_on_a_local_model(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from himac.testing import tiny_model

    tiny_model(
        tmp_path / "tiny", ["<action>go to barn</action>", "You act. Work on the current sub-goal only."]
    )
    words = [
        *TOY,
        f"method={method}",
        "eval.trials=2",
        "agent.executor_tokens=8",
        "agent.planner_tokens=8",
        "model.max_prompt=8000",
    ]
    assert main(["eval", str(tmp_path / "tiny"), *words, "--out", "result.json"]) == 0
    result = json.loads(Path("result.json").read_text())
    assert result["episodes"] == 6 and result["failed"] == 0
    assert result["turns"] == (4 if method == "react" else 4 + 1 + 4)
    assert result.get("best_of", 1) == (1 if method == "react" else 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval", *TOY], "needs a model that plans, got none"),
        (["eval", "--executor", "http://localhost:1/v1#m", *TOY], "needs a model that plans, got none"),
        (["eval", "http://me:word@localhost:1/v1#m", *TOY], "address is URL#MODEL"),
        (
            ["eval", "--planner", "http://localhost:1/v1#p", "--executor", "http://localhost:1/v1#e", *TOY, "method=react"],
            "method 'react' has no planner",
        ),
        (["train", "model=http://localhost:1/v1#m", "env=toy"], "cannot be trained"),
        (["train", "method=react", "env=toy"], "prompts a frozen model and is not trained"),
        (["train", "method=reflexion", "env=toy"], "himac eval MODEL method=reflexion"),
        (["train", "env=toy", "eval.executor=x"], "training has one model"),
        (["play", "env=toy", "--model", "http://localhost:1/v1#m"], "himac play takes local models"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_a_hint(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err.strip()
    assert message in err and err.startswith("himac: ") and len(err.splitlines()) <= 2
    assert not Path("runs").exists()


def test_a_folder_that_holds_something_else_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Endpoint(_answer) as server:
        assert main(["eval", f"{server.url}#m", *TOY, "run.name=mine"]) == 0
        before = {path: path.read_bytes() for path in Path("runs/mine").iterdir()}
        assert main(["eval", f"{server.url}#m", *TOY, "run.name=mine", "eval.temperature=0.4"]) == 2
    assert "holds another evaluation" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("runs/mine").iterdir()} == before


def test_without_the_package_one_line_names_the_extra() -> None:
    code = "import sys; sys.modules['openai'] = None; from himac.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["eval", "http://localhost:1/v1#m", *TOY]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "needs the package 'openai', which is not installed" in done.stderr
    assert "pip install 'himac[openai]'" in done.stderr and not Path("runs").exists()


def test_ctrl_c_says_how_to_go_on() -> None:
    def slowly(body: dict[str, Any], number: int) -> Answer:
        time.sleep(0.2)
        return _answer(body, number)

    with Endpoint(slowly) as server:
        words = ["eval", f"{server.url}#m", *TOY, "endpoint.concurrency=1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "himac", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ},
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL
            ),  # in a background job it is ignored
        )
        _wait_for(lambda: len(server.requests) >= 3, process)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"the same command goes on" in err and b"Traceback" not in err
    assert time.monotonic() - began < 30


def _wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to that in two minutes")


def test_an_evaluation_of_empty_answers_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    silent = says(None, finish="length", reasoning_content="a long thought")
    with Endpoint(lambda *_: silent) as server:
        assert main(["eval", f"{server.url}#m", *TOY]) == 0
    out = capsys.readouterr().out
    assert "answers: " in out and " a thought alone" in out and "agent.planner_tokens" in out
