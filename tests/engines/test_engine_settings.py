"""What an engine may be told is checked without loading it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.engines.settings import GIVEN, OWN
from himac.plugins import KNOWN, resolve
from himac.toml import _parameters


def test_the_tables_are_those_of_the_engines_signatures() -> None:
    assert set(OWN) == set(KNOWN["engines"])
    for name, kinds in OWN.items():
        found = {key: kind for key, kind in _parameters(resolve("engines", name)).items() if key not in GIVEN}
        assert found == kinds, name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["engine.nmae=x"],
            "unknown key 'engine.nmae'; known: name, max_kv_tokens, fixed_shapes; did you mean 'name'?",
        ),
        (["engine.max_kv_token=4096"], "did you mean 'max_kv_tokens'?"),
        (["engine.name=vllm", "engine.max_lenght=3"], "did you mean 'max_length'?"),
        (["engine.name=vllm-server", "engine.adress=x"], "did you mean 'address'?"),
        (["engine.name=vllm-server", "engine.timeout_s=0"], "engine.timeout_s must be at least 1, got 0"),
        (["engine.name=tranformers"], "did you mean 'transformers'?"),
        (["engine.name=engine_of_mine:Mine", "engine.patiense=2"], "did you mean 'patience'?"),
        (["env.nmae=toy"], "did you mean 'name'?"),
    ],
)
def test_a_slip_in_the_engine_s_table_is_refused(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "engine_of_mine.py").write_text(
        "class Mine:\n    def __init__(self, model, tokenizer, *, max_batch=1, patience: int = 1): ...\n"
    )
    for verb in (["config", "demo"], ["train", "demo", "--dry-run"]):
        assert main([*verb, *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["config", "demo", "engine.name=engine_of_mine:Mine", "engine.patience=2"]) == 0


def test_it_loads_no_torch() -> None:
    code = (
        "import sys; from himac.cli.main import main\n"
        "status = main(['config', 'demo', 'engine.name=vllm', 'engine.max_length=512'])\n"
        "sys.exit(status or 'torch' in sys.modules or 'vllm' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0
    )
