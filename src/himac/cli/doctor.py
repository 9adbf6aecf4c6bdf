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
    "lora": (("peft",), "an adapter instead of all weights (model.lora_rank)"),
    "vllm": (("vllm",), "engine.name = 'vllm', in an environment of its own"),
    "ray": (("ray",), "parallel.collectors, here and on other machines"),
    "smollm2": (("gguf",), "himac model fetch smollm2"),
    "gym": (("gymnasium",), "env = 'gym', and himac's worlds for Gymnasium"),
    "openenv": (("openenv",), "env = 'openenv', and himac's worlds as a server"),
    "verifiers": (("verifiers",), "env = 'verifiers', and himac's worlds as a taskset"),
    "textarena": (("textarena",), "env = 'textarena'"),
    "textworld": (("alfworld", "textworld"), "ALFWorld on TextWorld itself (env.engine)"),
    "openai": (("openai",), "himac eval on OpenAI-compatible endpoints"),
    "tensorboard": (("tensorboard",), "run.sinks = ['tensorboard']"),
    "wandb": (("wandb",), "run.sinks = ['wandb']"),
    "mlflow": (("mlflow", "sqlalchemy", "alembic"), "run.sinks = ['mlflow']"),
    "trackio": (("trackio",), "run.sinks = ['trackio']"),
    "parity": (("gym_sokoban",), "tests of Sokoban against gym-sokoban"),
    "docs": (("mkdocs", "mkdocstrings", "material"), "make docs"),
    "dev": (("pytest", "hypothesis", "mypy"), "make check"),
}
"""Extra: the modules that it brings, and what they are for."""
_FOLDERS = {
    "ALFWORLD_DATA": "official ALFWorld games; else himac generates its own",
    "HIMAC_CACHE": "where indices are kept; else ~/.cache/himac",
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
    parts += ["", "extras: pip install 'himac[NAME]' adds one"] + [_extra_line(name) for name in _EXTRAS]
    parts += ["", "folders"] + [
        f"  {'ok ' if os.environ.get(name) and Path(os.environ[name]).is_dir() else '-  '} ${name}: {what}"
        for name, what in _FOLDERS.items()
    ]
    free_gib = shutil.disk_usage(".").free / 2**30
    parts += ["", f"disk: {free_gib:.0f} GiB free here"]
    return "\n".join(parts)


def _extra_line(name: str) -> str:
    packages, enables = _EXTRAS[name]
    is_there = all(importlib.util.find_spec(package) is not None for package in packages)
    return f"  {'ok ' if is_there else '-  '} {name:<11}  {enables}"


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
        f"ok  torch.distributed ({', '.join(backends)}):",
        "    torchrun --nproc-per-node N -m himac train RECIPE",
        f"-   sharded weights: {why}; pip install --upgrade torch"
        if why
        else "ok  sharded weights (FSDP2): the same, and parallel.shard=true",
        f"ok  Ray {ray}: parallel.collectors=N, up to {os.cpu_count()} on this machine alone"
        if ray
        else "-   Ray: parallel.collectors=N; pip install 'himac[ray]'",
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
