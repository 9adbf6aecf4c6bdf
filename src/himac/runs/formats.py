"""A run's files, today's and those of earlier formats, read as today's.

    format 1   0.1.0: phases and roles are "macro" and "micro"; the turn that wrote a blueprint is "plan"
    format 2   "planner" and "executor"; "planning"

A run's config says its format; where it says none, it is 1. The old words appear nowhere in format 2, so a line
is known by itself and readers need not look up where it came from.
"""

from __future__ import annotations

from pathlib import Path

from himac.config import FORMAT, Config, config_from_dict
from himac.errors import ConfigError
from himac.renamed import GONE, RENAMED, TINY
from himac.runs.rows import parse_line
from himac.toml import read_toml
from himac.types import Row

ROLES = {"macro": "planner", "micro": "executor"}
"""What format 1 called the roles, and the phases that train them."""


_PARAMETERS_1 = {
    "gigpo": ("gamma", "step_weight"),
    "gigpo_mean": ("gamma", "step_weight"),
    "subgoal": ("gamma", "step_weight"),
    "ppo": ("gamma", "gae_lambda", "value_lr", "value_coef"),
}
"""Which of format 1's [algo] keys an estimator took: every run had them all."""


def read_line(line: str | bytes) -> Row | None:
    """Return a line's row in today's words; None where it is broken or no row."""
    row = parse_line(line)
    return modern(row) if row is not None else None


def modern(row: Row) -> Row:
    """Return a row in today's words.

    >>> modern({"iteration": 1, "phase": "macro"})
    {'iteration': 1, 'phase': 'planner'}
    """
    phase = row.get("phase")
    if isinstance(phase, str):
        row["phase"] = ROLES.get(phase, phase)
    if "plan" in row and "segments" in row:
        row["planning"] = row.pop("plan")
        segments = row["segments"] if isinstance(row["segments"], list) else []
        told = [segment.get("turns") for segment in segments if isinstance(segment, dict)]
        turns = [row["planning"], *(t for turns in told if isinstance(turns, list) for t in turns)]
        for turn in turns:
            if isinstance(turn, dict) and "role" in turn:
                turn["role"] = ROLES.get(str(turn["role"]), turn["role"])
    return row


def load_saved(path: str | Path) -> Config:
    """Read the config that a run's folder holds, of whatever format.

    Raises:
        MissingFileError: no such file.
        ConfigError: damaged, or written by a newer himac.
    """
    tree = read_toml(Path(path))
    written = tree.get("format", 1)
    if not isinstance(written, int) or not 1 <= written <= FORMAT:
        raise ConfigError(
            f"{str(path)!r} has format {written!r}; this himac reads 1 to {FORMAT}", hint="upgrade himac"
        )
    if written == 2 and "engine" in tree.get("rollout", {}):  # before 0.2.0 was out
        tree.setdefault("engine", {})["name"] = tree["rollout"].pop("engine")
    return config_from_dict(_upgraded(tree) if written == 1 else tree)


def _upgraded(tree: Row) -> Row:
    """Return the tree of a format 1 config in today's words."""
    found: Row = {}
    for section, table in tree.items():
        for key, value in table.items():
            old = f"{section}.{key}"
            if old not in GONE:
                *path, leaf = RENAMED.get(old, old).split(".")
                at = found
                for name in path:
                    at = at.setdefault(name, {})
                at[leaf] = value
    algo, was = found.setdefault("algo", {}), tree.get("algo", {})
    if "clip_low" in was and "clip_high" in was:
        algo["clip"] = [was["clip_low"], was["clip_high"]]
    endpoint = tree.get("endpoint", {})
    if "max_requests" in endpoint and "max_tokens" in endpoint:
        found.setdefault("endpoint", {})["budget"] = [endpoint["max_requests"], endpoint["max_tokens"]]
    if "minibatches" in was:
        algo["minibatches"] = [was.get("macro_minibatches") or was["minibatches"], was["minibatches"]]
    if "macro_updates" in was and "micro_updates" in was:
        algo["epochs"] = [was["macro_updates"], was["micro_updates"]]
    model = tree.get("model", {})
    if all(f"tiny_{key}" in model for key in TINY):
        found["model"]["tiny"] = [model[f"tiny_{key}"] for key in TINY]
    _agent_of_1(found.setdefault("agent", {}), tree.get("agent", {}), algo)
    base = algo.get("estimator", "group_relative")
    if was.get("credit") == "subgoal":
        algo["estimator"] = "subgoal"
    found.setdefault("optimizer", {}).setdefault(
        "shared_state", True
    )  # what 0.1.0 did, when such a run goes on
    algo.setdefault("drop_flat_groups", True)
    given = algo.pop("estimator_settings", {})
    kept = {key: given[key] for key in _PARAMETERS_1.get(algo.get("estimator", ""), ()) if key in given}
    algo["estimator_settings"] = kept | ({"base": base} if algo.get("estimator") == "subgoal" else {})
    return found


def _agent_of_1(agent: Row, was: Row, algo: Row) -> None:
    """Lay down what format 1's prompts and penalties were, where today's defaults are others."""
    agent["think"] = False
    if isinstance(was.get("invalid_penalty"), int | float):
        agent["invalid_penalty"] = [was["invalid_penalty"]] * 2
    if "format_penalty" in was:
        agent["malformed_penalty"] = min(1.0, was["format_penalty"] / 10)  # rewards of success were 10 or 11
    if algo.get("method") == "flat" and agent.get("context", "segment") == "segment":
        agent["context"] = "full"
