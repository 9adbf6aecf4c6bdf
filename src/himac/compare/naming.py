"""What a run is called beside others.

A run's config says which method it is. The ablations and baselines have names of their own; whatever else two
runs of one name differ in is added to both, so nothing is averaged that was not the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from himac.compare.reading import RunRecord
from himac.config import Config
from himac.errors import DataError
from himac.types import Row

LABELS = {
    "himac": "HiMAC", "grpo": "GRPO", "rloo": "RLOO", "gigpo": "GiGPO", "ppo": "PPO", "no_coevolution": "no co-evolution",
    "gigpo_mean": "GiGPO (mean)", "one_stream": "one stream", "one-stream": "one stream", "frozen_planner": "HiMAC, planner frozen",
    "critics": "HiMAC, a critic a level", "no_sub_done": "no <sub_done>", "random_blueprint": "random blueprint", "full_context": "full context",
}  # fmt: skip
"""How known methods are written in tables; any other name stands as it is."""

_ESTIMATORS = {"group_relative": "grpo", "group_mean": "grpo", "gigpo_mean": "gigpo"}
_ABLATIONS: tuple[tuple[str, Callable[[Config], bool]], ...] = (
    ("no_coevolution", lambda c: not c.algo.coevolution),
    ("no_sub_done", lambda c: not c.agent.explicit_done),
    ("random_blueprint", lambda c: c.rollout.select == "random"),
    ("full_context", lambda c: c.agent.context == "full"),
)
_OF_RUN = ("run.", "sft.", "model.name", "model.tiny_")  # the run's own, or its start's
_OF_WORLD = ("env.", "eval.")
_OF_METHOD = ("agent.", "rollout.", "algo.", "optimizer.", "model.")
_NAMED = ("algo.method", "algo.coevolution", "agent.explicit_done", "rollout.select", "agent.context")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A run under the names it is compared by."""

    environment: str
    method: str
    run: RunRecord


def label(method: str) -> str:
    """Return a method's name as tables write it.

    >>> label("gigpo"), label("himac (optimizer.lr=0.001)"), label("no_sub_done+full_context")
    ('GiGPO', 'HiMAC (optimizer.lr=0.001)', 'no <sub_done> + full context')
    """
    name, _, rest = method.partition(" ")
    written = " + ".join(LABELS.get(part, part) for part in name.split("+"))
    return f"{written} {rest}".strip()


def method_of(config: Config) -> str:
    """Return the name of a config's method.

    >>> method_of(Config())
    'himac'
    """
    known = _ESTIMATORS.get(config.algo.estimator, config.algo.estimator)
    if config.algo.method == "flat":
        return known
    if config.algo.method != "himac":
        return config.algo.method
    ablations = [name for name, holds in _ABLATIONS if holds(config)]
    return "+".join(ablations) or ("himac" if known == "grpo" else f"himac-{known}")


def name_runs(runs: Sequence[RunRecord]) -> list[Named]:
    """Name runs from their configs; what runs of one name differ in becomes part of their names.

    Raises:
        DataError: two runs have the same settings and the same seed.
    """
    worlds = _told_apart([r.config.env.name for r in runs], [_leaves(r.config, _OF_WORLD) for r in runs])
    bases = [f"{world}\n{method_of(run.config)}" for world, run in zip(worlds, runs)]
    settings = [_leaves(run.config, _OF_METHOD) for run in runs]
    methods = _told_apart(bases, settings)
    named = [Named(environment=w, method=m.split("\n")[1], run=r) for w, m, r in zip(worlds, methods, runs)]
    _refuse_twins(named)
    return named


def name_planned(names: Mapping[str, Sequence[str]], runs: Sequence[RunRecord]) -> list[Named]:
    """Name a plan's runs as the plan does.

    Args:
        names: {folder's name: (environment, method)}, in the plan's order.
        runs: those that are there; others in the folder are left out.
    """
    by_name = {run.folder.name: run for run in runs}
    return [
        Named(environment=environment, method=method, run=by_name[folder])
        for folder, (environment, method) in names.items()
        if folder in by_name
    ]


def settings_of(config: Config) -> Row:
    """Return {dotted key: value} of all that makes a method, in JSON's types."""
    told = {key: _leaf(config, key) for key in _NAMED} | _leaves(config, _OF_METHOD)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}


def _told_apart(names: Sequence[str], settings: Sequence[Row]) -> list[str]:
    """Add to each name the settings in which its bearers differ.

    >>> _told_apart(["a", "a", "b"], [{"x": 1, "y": 0}, {"x": 2, "y": 0}, {"x": 3, "y": 0}])
    ['a (x=1)', 'a (x=2)', 'b']
    """
    told = []
    for name, own in zip(names, settings):
        peers = [other for other_name, other in zip(names, settings) if other_name == name]
        keys = sorted({key for peer in peers for key in peer})
        differing = [key for key in keys if len({repr(peer.get(key)) for peer in peers}) > 1]
        told.append(f"{name} ({', '.join(f'{k}={own.get(k)}' for k in differing)})" if differing else name)
    return told


def _leaves(config: Config, sections: tuple[str, ...]) -> Row:
    """Return {dotted key: value} of some sections, without what belongs to the single run or to the name."""
    tree = asdict(config)
    tree["env"] |= tree["env"].pop("settings")
    flat = {f"{section}.{key}": value for section, table in tree.items() for key, value in table.items()}
    return {
        key: value
        for key, value in flat.items()
        if key.startswith(sections) and not key.startswith(_OF_RUN) and key not in _NAMED
    }


def _leaf(config: Config, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def _refuse_twins(named: Sequence[Named]) -> None:
    seen: dict[tuple[str, str, int], RunRecord] = {}
    for item in named:
        key = (item.environment, item.method, item.run.seed)
        if key in seen:
            raise DataError(
                f"{str(seen[key].folder)!r} and {str(item.run.folder)!r} are the same method with the same seed",
                hint="leave one out, or run it with another run.seed",
            )
        seen[key] = item.run
