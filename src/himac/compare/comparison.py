"""A plan: which methods, in which environments, with which seeds, for how much.

A plan is written in the words of recipes, and whatever could make a comparison unfair has one place in it. The
environment's recipe says how all are evaluated and where all start; the budget is the plan's; a method may change the
agent, the rollout, the algorithm and the optimizer, and nothing else. Each method's warm start is in the format that it will
read and write; all see the same demonstrations for as many optimizer steps.

    seeds = [0, 1, 2]
    target = 0.75                  # report what it costs to reach this success rate

    [budget]                       # a run ends with the iteration in which it has spent one of these
    env_steps = 200_000
    iterations = 100

    [environments.sokoban]
    recipe = "demo.toml"           # beside the plan; any further setting may follow
    eval.every = 2

    [methods.himac]                # the first is the reference that the others are compared against

    [methods.grpo]
    algo.method = "flat"
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from himac.compare.terms import Budget, budget_of, refuse_unknown, seeds_of, share_of, starts_word, tables_of
from himac.compare.tuning import Tuning, search_of, tuning_of
from himac.config import BudgetConfig, Config, load_config
from himac.errors import ConfigError, HimacError, closest
from himac.plugins import resolve
from himac.recipes import find
from himac.toml import flat, read_toml, write_value
from himac.types import Json, Row

Tree = Row
"""Settings as nested tables, as in a recipe."""

_OF_METHOD = ("agent", "rollout", "algo", "optimizer", "model", "sft")
_OF_PLAN = {
    "model.name": "the start is the environment's",
    "run.seed": "say seeds = [...]",
    "run.name": "the plan names the runs",
    "run.dir": "say --out",
    "run.iterations": "say it under the plan's [budget]",
    **{f"budget.{f.name}": "say it under the plan's [budget]" for f in fields(BudgetConfig)},
}
_EFFORT = ("demonstrations", "describe", "kinds", "noise", "careless", "epochs", "batch")
"""Settings of a warm start that all methods have in common: what is shown, and how many steps are taken on it."""
_OF_ENVIRONMENT = ("recipe", "start", "starts_from", "target")  # keys that are no settings
STARTS = "starts"  # folder of the warm starts, in the comparison's
_FOREVER = 1_000_000  # iterations, where environment steps or tokens end a run
NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedEnv:
    """One environment of a plan: a recipe, what the plan changes in it, and where its runs start."""

    name: str
    recipe: Path | None  # None: the defaults
    settings: Tree
    start: str = ""  # model to start from, "{seed}" filled in; "": the recipe's warm start or its model
    target: float = 0.0  # report what it costs to reach this success rate; 0: the plan's
    starts_from: str = ""  # environment whose warm starts its runs begin from; "": its own


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One run that a plan asks for."""

    environment: str
    method: str
    seed: int
    folder: Path
    words: tuple[str, ...]  # recipe and key=value, for `himac train`
    config: Config  # what they come to
    needs: str = ""  # name of the warm start it needs; "": none


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """A warm start that a plan asks for, shared by the methods of an environment and seed that read alike."""

    name: str
    folder: Path
    words: tuple[str, ...]  # for `himac sft`
    config: Config

    @property
    def model(self) -> Path:
        """Folder of the model that the warm start makes."""
        return self.folder / "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A comparison to make."""

    name: str
    worlds: tuple[ComparedEnv, ...]
    methods: dict[str, Tree]  # name: settings
    seeds: tuple[int, ...]
    budget: Budget
    reference: str  # the method that the others are compared against
    target: float  # report what it costs to reach this success rate; 0: found from the curves
    starts: str = (
        "alike"  # "own": methods may be shown different things, so that their starts are equally good
    )
    tuning: Tuning | None = None  # the search that every method gets first; None: none is tuned
    tuned: dict[tuple[str, str], Row] = field(default_factory=dict)  # {(environment, method): what it found}
    is_search: bool = False  # of a search: validation alone


def read_comparison(path: Path, *, check: Callable[[Config], object] | None = None) -> Comparison:
    """Read and check a plan, every run of it included.

    Args:
        path: the plan.
        check: refuses a config that cannot be trained; called with each run's.

    Raises:
        MissingFileError: no such plan, or a recipe it names is absent.
        ConfigError: unknown key, wrong type, or a setting that would make the comparison unfair.
    """
    tree = read_toml(path)
    known = ("name", "seeds", "reference", "target", "budget", "starts", "tuning", "environments", "methods")
    refuse_unknown(tree, known, "of the plan")
    methods, seeds = tables_of(tree, "methods"), seeds_of(tree.get("seeds", [0, 1, 2]))
    plan = Comparison(
        name=tree.get("name", path.stem),
        worlds=tuple(
            _world(name, table, path.parent) for name, table in tables_of(tree, "environments").items()
        ),
        methods=methods,
        seeds=seeds,
        budget=budget_of(tree.get("budget", {})),
        reference=tree.get("reference", next(iter(methods))),
        target=share_of(tree.get("target", 0.0), "target"),
        starts=starts_word(tree.get("starts", "alike")),
        tuning=tuning_of(tree["tuning"], seeds) if "tuning" in tree else None,
    )
    _check_names(plan)
    _check_starts_from(plan)
    runs = planned_runs(plan, Path())[1]  # a wrong setting is said before anything runs
    runs += planned_runs(search_of(plan), Path())[1] if plan.tuning else []
    for run in runs if check else ():
        with _said_of(f"method {run.method!r} in environment {run.environment!r}"):
            check(run.config)  # type: ignore[misc]
    folders = [run.folder for run in runs]
    if len(set(folders)) < len(folders):
        raise ConfigError("two runs of the plan would share a folder; rename an environment or a method")
    return plan


def planned_runs(plan: Comparison, out: Path) -> tuple[list[WarmStart], list[PlannedRun]]:
    """Return every warm start and run of a plan, in the order they are worth having: seed by seed.

    Args:
        plan: the plan.
        out: folder of the comparison; runs lie in it.
    """
    starts: dict[str, WarmStart] = {}
    runs: list[PlannedRun] = []
    taught = {world.name: world for world in plan.worlds}
    for seed in plan.seeds:
        for world in plan.worlds:
            begins = _starts(plan, taught[world.starts_from or world.name], seed, out)
            starts |= {start.name: start for start in begins.values()}
            runs += [_run(plan, world, method, seed, begins.get(method), out) for method in plan.methods]
    return list(starts.values()), runs


def words_of(tree: Tree, prefix: str = "") -> list[str]:
    """Return nested tables as `key=value` words.

    >>> words_of({"algo": {"method": "flat"}, "env": {"size": [6, 6]}})
    ['algo.method="flat"', 'env.size=[6, 6]']
    """
    return [f"{key}={write_value(value)}" for key, value in flat(tree, prefix).items()]


def _starts(plan: Comparison, world: ComparedEnv, seed: int, out: Path) -> dict[str, WarmStart]:
    """Return each method's warm start in an environment, for one seed; {} when its model is given.

    A method imitates what it will read and say itself: demonstrations in its own format, under its own [agent]
    settings. Methods that agree in these share a start.
    """
    if world.start:
        return {}
    kinds: dict[tuple[str, ...], list[str]] = {}
    for method in plan.methods:
        kinds.setdefault(_read_by(plan, world, method), []).append(method)
    found: dict[str, WarmStart] = {}
    for words, methods in kinds.items():
        name = f"{world.name}-{seed}" if len(kinds) == 1 else f"{world.name}-{methods[0]}-{seed}"
        start = _start(world, words, name, seed, out)
        found |= dict.fromkeys(methods, start) if start else {}
    if plan.starts == "alike":
        _check_effort(found, world)
    return found


def _read_by(plan: Comparison, world: ComparedEnv, method: str) -> tuple[str, ...]:
    """Return the words in which a method's warm start differs from the environment's."""
    tree = plan.methods[method]
    own = words_of({section: tree[section] for section in ("agent", "sft") if section in tree})
    where = f"method {method!r} in environment {world.name!r}"
    config = _resolved([*_recipe_words(world), *words_of(tree)], where)
    with _said_of(where):
        agent = resolve("agents", config.algo.method)
    told = getattr(agent, "style", "himac" if getattr(agent, "plans", False) else "flat")
    style = [f'sft.style="{told}"'] if config.sft.style == "method" else []
    return (*own, *style)


def _start(world: ComparedEnv, words: Sequence[str], name: str, seed: int, out: Path) -> WarmStart | None:
    """Return a warm start; None where the recipe has none."""
    folder = out / STARTS / name
    own = [f"run.seed={seed}", f"run.dir={write_value(str(folder.parent))}", f"run.name={write_value(name)}"]
    whole = [*_recipe_words(world), *words, *own]
    config = _resolved(whole, f"environment {world.name!r}")
    return (
        WarmStart(name=name, folder=folder, words=tuple(whole), config=config)
        if config.sft.demonstrations
        else None
    )


def _check_effort(starts: dict[str, WarmStart], world: ComparedEnv) -> None:
    """Refuse warm starts that were shown other things, or taught for longer, than their peers."""
    for method, start in starts.items():
        first, base = next(iter(starts.items()))
        for key in _EFFORT:
            got, wanted = (getattr(s.config.sft, key) for s in (start, base))
            if got != wanted:
                raise ConfigError(
                    f"method {method!r} in environment {world.name!r} has a warm start with sft.{key} = {got!r}, "
                    f"method {first!r} one with {wanted!r}",
                    hint=f"say sft.{key} under the environment, so that all are shown the same for as many steps; "
                    'starts = "own" compares starts that are equally good instead',
                )


def _run(
    plan: Comparison, world: ComparedEnv, method: str, seed: int, start: WarmStart | None, out: Path
) -> PlannedRun:
    name = f"{world.name}-{method}-{seed}"
    model = world.start.replace("{seed}", str(seed)) or (str(start.model) if start else "")
    budget = plan.budget
    own = [
        *([f"model.name={write_value(model)}", "sft.demonstrations=0"] if model else []),
        f"run.iterations={budget.iterations or _FOREVER}",
        *(f"budget.{f.name}={getattr(budget, f.name, 0)}" for f in fields(BudgetConfig)),
        f"run.seed={seed}",
        f"run.dir={write_value(str(out))}",
        f"run.name={write_value(name)}",
    ]
    tuned = [f"{key}={write_value(value)}" for key, value in plan.tuned.get((world.name, method), {}).items()]
    words = [*_recipe_words(world), *words_of(plan.methods[method]), *tuned, *own]
    where = f"method {method!r} in environment {world.name!r}"
    config = _resolved(words, where)
    _check_evaluation(config, where, is_search=plan.is_search)
    return PlannedRun(
        environment=world.name,
        method=method,
        seed=seed,
        folder=out / name,
        words=tuple(words),
        config=config,
        needs=start.name if start else "",
    )


def _recipe_words(world: ComparedEnv) -> list[str]:
    return [*([str(world.recipe)] if world.recipe else []), *words_of(world.settings)]


def _resolved(words: list[str], where: str) -> Config:
    recipe = words[0] if words and "=" not in words[0] else None
    with _said_of(where):
        return load_config(recipe, words[1:] if recipe else words)


@contextlib.contextmanager
def _said_of(where: str) -> Iterator[None]:
    """Say of which run of the plan an error is."""
    try:
        yield
    except HimacError as error:
        raise type(error)(f"{where}: {error}", hint=error.hint) from error


def _check_evaluation(config: Config, where: str, *, is_search: bool) -> None:
    """A comparison needs curves, and a verdict on a split that training never looked at."""
    if not config.eval.every:
        raise ConfigError(f"{where}: eval.every must be at least 1 for learning curves, got 0")
    if not is_search and config.eval.final in ("", config.eval.split):
        raise ConfigError(
            f"{where}: eval.final must be a split of its own, got {config.eval.final!r} beside "
            f"eval.split = {config.eval.split!r}",
            hint='say eval.final = "test" under the environment',
        )


def _world(name: str, table: Json, folder: Path) -> ComparedEnv:
    if not isinstance(table, dict):
        raise ConfigError(f"[environments.{name}] must be a table, got {table!r}")
    settings = {key: value for key, value in table.items() if key not in _OF_ENVIRONMENT}
    _refuse_of_plan(settings, f"environment {name!r}", allowed=("model.name",))
    return ComparedEnv(
        name=name,
        recipe=_recipe(table["recipe"], folder) if "recipe" in table else None,
        settings=settings,
        start=table.get("start", ""),
        starts_from=table.get("starts_from", ""),
        target=share_of(table.get("target", 0.0), f"environments.{name}.target"),
    )


def _recipe(given: str, folder: Path) -> Path:
    """Return the recipe that a plan names: one beside it, or one that comes with himac."""
    beside = folder / given
    return beside if beside.is_file() else find(given)


def _check_starts_from(plan: Comparison) -> None:
    """Refuse a start that is borrowed from nobody, or from one who borrows it himself."""
    lenders = [world.name for world in plan.worlds if not world.starts_from and not world.start]
    for world in plan.worlds:
        if world.starts_from and (world.start or world.starts_from not in lenders):
            raise ConfigError(
                f"environment {world.name!r} says starts_from = {world.starts_from!r}; environments with warm starts of their own: "
                f"{', '.join(lenders) or 'none'}{closest(str(world.starts_from), lenders)}",
                hint="start = names a model instead; one of the two" if world.start else "",
            )


def _check_names(plan: Comparison) -> None:
    for name in [*plan.methods, *(world.name for world in plan.worlds)]:
        if not NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name a folder; allowed: letters, digits, '_', '-' and '.'")
    if plan.reference not in plan.methods:
        raise ConfigError(
            f"unknown reference {plan.reference!r}; methods: {', '.join(plan.methods)}"
            f"{closest(plan.reference, plan.methods)}"
        )
    for name, tree in plan.methods.items():
        if not isinstance(tree, dict):
            raise ConfigError(f"[methods.{name}] must be a table, got {tree!r}")
        _refuse_of_plan(tree, f"method {name!r}")
        for section in tree:
            if section not in _OF_METHOD:
                raise ConfigError(
                    f"method {name!r} sets [{section}]; allowed: {', '.join(_OF_METHOD)}",
                    hint="what all methods share is said under the environment",
                )


def _refuse_of_plan(tree: Tree, where: str, allowed: tuple[str, ...] = ()) -> None:
    for word in words_of(tree):
        key = word.partition("=")[0]
        if key in _OF_PLAN and key not in allowed:
            raise ConfigError(f"{where} cannot set {key}", hint=_OF_PLAN[key])
