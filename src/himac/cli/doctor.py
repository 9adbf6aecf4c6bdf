"""`himac doctor`: what is installed, and what each missing piece would enable."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path

import click

from himac import __version__

_CORE = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "rich", "matplotlib")
_EXTRAS = {
    "lora": (("peft",), "training an adapter instead of all weights (model.lora_rank)"),
    "gym": (("gymnasium",), "himac worlds as gymnasium environments, and the other way round"),
    "parity": (("gym_sokoban",), "tests of Sokoban against gym-sokoban"),
    "textworld": (
        ("alfworld", "textworld"),
        "ALFWorld on TextWorld itself (engine = textworld)",
    ),
    "openai": (("openai",), "agents on OpenAI-compatible endpoints"),
    "tensorboard": (("tensorboard",), "run.sinks = ['tensorboard']"),
    "wandb": (("wandb",), "run.sinks = ['wandb']"),
    "mlflow": (("mlflow",), "run.sinks = ['mlflow']"),
    "trackio": (("trackio",), "run.sinks = ['trackio']"),
}
_FOLDERS = {
    "ALFWORLD_DATA": "official ALFWorld games; without it himac generates its own",
    "HIMAC_CACHE": "where indices are kept; without it ~/.cache/himac",
}


@click.command()
def doctor() -> None:
    """Say what is installed, and what each missing piece would enable."""
    print(report())


def report() -> str:
    """Return the whole report."""
    parts = [
        f"himac {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    ]
    parts += ["", "core"] + [
        f"  {'ok ' if _version(p) else 'NO '} {p} {_version(p) or ''}".rstrip() for p in _CORE
    ]
    parts += ["", "device", *(f"  {line}" for line in _devices())]
    parts += ["", "several processes", *(f"  {line}" for line in _processes())]
    parts += ["", "extras"] + [_extra_line(name) for name in _EXTRAS]
    parts += ["", "folders"] + [
        f"  {'ok ' if os.environ.get(name) and Path(os.environ[name]).is_dir() else '-  '} ${name}: {what}"
        for name, what in _FOLDERS.items()
    ]
    free_gib = shutil.disk_usage(".").free / 2**30
    parts += ["", f"disk: {free_gib:.0f} GiB free here"]
    return "\n".join(parts)


def _extra_line(name: str) -> str:
    packages, enables = _EXTRAS[name]
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    if not missing:
        return f"  ok  {name}: {enables}"
    return f"  -   {name}: would enable {enables}; pip install 'himac[{name}]'"


def _devices() -> list[str]:
    cores = os.cpu_count()
    lines = [f"cpu: {cores} cores"]
    if importlib.util.find_spec("torch") is None:
        return lines
    import torch

    if not torch.cuda.is_available():
        return [*lines, "cuda: none that torch sees"]
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        lines.append(f"cuda:{index}: {found.name}, {found.total_memory / 2**30:.0f} GiB")
    return lines


def _processes() -> list[str]:
    """Say what training with several processes would need here (docs/scale.md)."""
    if importlib.util.find_spec("torch") is None:
        return ["-   torch.distributed: comes with torch"]
    import torch.distributed as dist

    if not dist.is_available():
        return ["-   torch.distributed: this build of torch has none; install an ordinary one"]
    backends = [
        name for name, has in (("gloo", dist.is_gloo_available()), ("nccl", dist.is_nccl_available())) if has
    ]
    from himac.parallel.replicated import why_no_sharding

    why = why_no_sharding()
    ray = _version("ray")
    return [
        f"ok  torch.distributed ({', '.join(backends)}): torchrun --nproc-per-node N -m himac train RECIPE",
        f"-   sharded weights: {why}; pip install --upgrade torch"
        if why
        else "ok  sharded weights (FSDP2): the same, and parallel.shard=true",
        f"ok  Ray {ray}: himac train RECIPE parallel.collectors=N; a Ray of this machine alone has room for {os.cpu_count()}"
        if ray
        else "-   Ray: would have its actors run episodes, here and on other machines; pip install 'himac[ray]'",
    ]


def _version(package: str) -> str | None:
    from importlib.metadata import (
        PackageNotFoundError,
        version,
    )  # slow to import, and --help needs none of it

    try:
        return version(package)
    except PackageNotFoundError:
        return None
