"""What is asked of runs: reference, target, budget, names.

A plan's terms are saved beside its runs, so that the folder can be judged again, elsewhere and without the plan,
under the same names. Runs that no plan made are named by their configs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from himac.compare.comparison import Comparison, planned_runs
from himac.errors import ConfigError, DataError
from himac.files import write_text
from himac.types import Json

FILE = "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """The terms of a comparison."""

    name: str
    reference: str = ""  # method that the others are compared against; "": himac, else the first
    target: float = 0.0  # report what it costs to reach this success rate; 0: found from the curves
    targets: dict[str, float] = field(default_factory=dict)  # {environment: its own target}; 0: the one above
    budget: dict[str, int] = field(default_factory=dict)  # the plan's; {}: there is no plan
    names: dict[str, tuple[str, str]] = field(
        default_factory=dict
    )  # {folder: (environment, method)}; {}: from configs

    starts: dict[str, Json] = field(default_factory=dict)  # {folder: its warm start's name and size}

    def target_of(self, environment: str) -> float:
        """Return the target in an environment; 0 when none was given."""
        return self.targets.get(environment, 0.0) or self.target


def criteria_of(plan: Comparison) -> Criteria:
    """Return a plan's terms."""
    starts, runs = planned_runs(plan, Path())
    taught = {
        s.name: {
            "name": s.name.removesuffix(f"-{s.config.run.seed}"),
            "demonstrations": s.config.sft.demonstrations,
            "steps": s.config.sft.steps,
        }
        for s in starts
    }
    return Criteria(
        name=plan.name,
        reference=plan.reference,
        target=plan.target,
        targets={world.name: world.target for world in plan.worlds if world.target},
        budget={key: value for key, value in asdict(plan.budget).items() if value},
        names={run.folder.name: (run.environment, run.method) for run in runs},
        starts={run.folder.name: taught[run.needs] for run in runs if run.needs},
    )


def refuse_low_target(target: float, first: Json, run: str) -> None:
    """Refuse a target that a run begins at or above: reaching it costs nothing.

    Args:
        target: the success rate.
        first: the run's first evaluation on the validation split, or {}.
        run: its name.

    Raises:
        ConfigError: the target is not above the start.
    """
    if first.get("iteration") == 0 and first["success"] >= target - 1e-9:
        raise ConfigError(
            f"target {target:g} is not above the start of {run}, which succeeds at {first['success']:.3f} on "
            f"{first['split']!r}",
            hint="give a target above every start (--target), or none: then one is found from the curves",
        )


def write_criteria(terms: Criteria, folder: Path) -> None:
    """Save the terms beside the runs."""
    write_text(folder / FILE, json.dumps(asdict(terms), indent=1) + "\n")


def read_criteria(folder: Path) -> Criteria:
    """Return the terms saved in a folder of runs; without any, only its name.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return Criteria(name=folder.resolve().name)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        names = {name: (pair[0], pair[1]) for name, pair in tree.pop("names").items()}
        return Criteria(**tree, names=names)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"cannot read {str(path)!r}: {error}") from error
