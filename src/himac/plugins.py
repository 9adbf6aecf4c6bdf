"""A name may be yours: what a recipe's names mean.

Wherever a recipe names an environment, an estimator, an agent, an engine or a sink, it takes

    sokoban                         a short name of himac's own
    my_package.worlds:CountEnv      an import path: module, colon, object
    count                           an entry point of an installed package, in the group himac.envs (or .estimators, ...)

in this order. The current folder is importable, so a file beside the recipe needs no installation.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from himac.errors import ConfigError, closest
from himac.files import reason

KNOWN: dict[str, dict[str, str]] = {
    "envs": {
        "toy": "himac.envs.toy:make",
        "sokoban": "himac.envs.sokoban:make",
        "alfworld": "himac.envs.alfworld:make",
        "webshop": "himac.envs.webshop:make",
        "gym": "himac.envs.adapters.gymnasium:make",
        "openenv": "himac.envs.adapters.openenv:make",
        "verifiers": "himac.envs.adapters.verifiers:make",
        "textarena": "himac.envs.adapters.textarena:make",
    },
    "estimators": {
        "group_relative": "himac.algo.group:GroupRelative",
        "group_mean": "himac.algo.group:GroupMean",
        "rloo": "himac.algo.group:LeaveOneOut",
        "gigpo": "himac.algo.gigpo:GiGPO",
        "gigpo_mean": "himac.algo.gigpo:GiGPOMean",
        "ppo": "himac.algo.ppo:GeneralizedAdvantage",
        "deletion": "himac.algo.deletion:Deletion",
        "subgoal": "himac.algo.subgoal:SubgoalRelative",
    },
    "agents": {
        "himac": "himac.agents.hierarchical:HierarchicalAgent",
        "flat": "himac.agents.flat:FlatAgent",
        "himac-replan": "himac.agents.replanning:ReplanningAgent",
        "one-stream": "himac.agents.one_stream:OneStreamAgent",
        "react": "himac.agents.react:ReActAgent",
        "reflexion": "himac.agents.reflexion:ReflexionAgent",
    },
    "engines": {
        "transformers": "himac.engines.transformers:TransformersEngine",
        "vllm": "himac.engines.vllm:VLLMEngine",
        "vllm-server": "himac.engines.vllm_server:VLLMServerEngine",
    },
    "sinks": {
        "tensorboard": "himac.runs.sinks:TensorBoard",
        "wandb": "himac.runs.trackers:Wandb",
        "mlflow": "himac.runs.trackers:MLflow",
        "trackio": "himac.runs.trackers:Trackio",
    },
}
"""Short name -> import path, by kind."""


def resolve(kind: str, name: str) -> Any:
    """Return what a name of a kind ("envs", "estimators", "agents", "engines", "sinks") stands for.

    Raises:
        ConfigError: nothing has this name, or its module cannot be imported.
    """
    path = KNOWN[kind].get(name, name)
    if ":" in path:
        return _load(kind, name, path)
    installed = {point.name: point for point in _entry_points(kind)}
    if name in installed:
        return _load(kind, name, installed[name].value)
    known = [*KNOWN[kind], *installed]
    raise ConfigError(
        f"unknown {kind.removesuffix('s')} {name!r}; known: {', '.join(known)}{closest(name, known)}",
        hint=f"to use your own, give its import path: package.module:Object, or an entry point in himac.{kind}",
    )


def register(kind: str, name: str, path: str) -> None:
    """Make `name` stand for an import path `package.module:Object` in this process."""
    KNOWN[kind][name] = path


def add_current_folder() -> None:
    """Make modules of the current folder importable: a console script does not look there, `python -m` does."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _load(kind: str, name: str, path: str) -> Any:
    module, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise ConfigError(
            f"{kind.removesuffix('s')} {name!r} is no import path",
            hint="package.module:Object, both dotted names",
        )
    add_current_folder()
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        is_own = error.name is not None and f"{module}.".startswith(f"{error.name}.")
        hint = "the current folder and installed packages are searched"
        raise ConfigError(
            f"{kind.removesuffix('s')} {name!r}: no module {error.name!r}",
            hint=hint if is_own else f"{module} imports it: install it",
        ) from error
    except AttributeError as error:
        raise ConfigError(f"{kind.removesuffix('s')} {name!r}: {error}") from error
    except (
        Exception
    ) as error:  # whatever the user's own module does while it is imported, a slip of the pen included
        raise ConfigError(
            f"{kind.removesuffix('s')} {name!r} cannot be imported: {type(error).__name__}: {_where(error)}{reason(error)}"
        ) from error
    return found


def _where(error: Exception) -> str:
    """Return "FILE, line N: " of the place where an import broke off."""
    if isinstance(error, SyntaxError):
        return ""  # it names its place by itself
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(last.filename)}, line {last.lineno}: "


def _entry_points(kind: str) -> list[EntryPoint]:
    return list(entry_points(group=f"himac.{kind}"))
