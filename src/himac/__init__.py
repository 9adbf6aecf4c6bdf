"""himac: hierarchical macro-micro reinforcement learning for long-horizon LLM agents.

The package's front door. What is listed here is stable; everything else is imported from the module that owns it.
Importing himac loads nothing but itself: each name is fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from himac.config import load_config
    from himac.envs.base import Env, make_env
    from himac.train.door import evaluate, train
    from himac.types import Observation, StepResult, Task

__version__ = "0.2.0.dev0"
__all__ = [
    "Env", "Observation", "StepResult", "Task", "__version__", "evaluate", "load_config", "make_env", "train",
]  # fmt: skip

_HOME = {
    "Env": "himac.envs.base",
    "Observation": "himac.types",
    "StepResult": "himac.types",
    "Task": "himac.types",
    "evaluate": "himac.train.door",
    "load_config": "himac.config",
    "make_env": "himac.envs.base",
}


def __getattr__(name: str) -> Any:
    if name == "train":  # the folder of that name, which can be called: see its __init__
        return importlib.import_module("himac.train")
    if name not in _HOME:
        raise AttributeError(f"module 'himac' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
