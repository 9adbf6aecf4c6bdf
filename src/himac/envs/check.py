"""Does an environment keep the Env protocol, and can its expert be imitated?

`check_env`: play a few tasks of every split twice with the same seeded actions, nonsense included, and compare.
Whatever breaks is named in one line: which task, which step, what was seen, what the protocol asks for.
It finds no flaw in the world itself (an unsolvable task, a wrong reward), only in how it is served.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from himac.envs.base import MOST_BOARD, Draws, Env, Expert
from himac.envs.splits import pick, rng_from
from himac.errors import ConfigError, EnvError
from himac.images import check_picture
from himac.types import Demonstration, EnvSpec, Observation, StepResult, Task

_NONSENSE = ("", "   ", "no such action", "\u0000\ud83d", "go " * 2000)
_P_NONSENSE = 0.1  # share of nonsense among the actions tried


def check_env(
    env: Env,
    *,
    num_tasks: int = 3,
    max_steps: int = 200,
    actions: Sequence[str] = (),
    identity: Callable[[Task], Hashable] | None = None,
) -> None:
    """Check an environment against the protocol; return nothing when it keeps it. The env is closed after.

    Args:
        env: the environment.
        num_tasks: tasks to play in each split: the first ones and the last.
        max_steps: steps after which an episode that does not end is left.
        actions: what to try where observations do not list the admissible actions.
        identity: what makes two tasks the same problem (`env.level`, say); the played tasks of different
            splits are then compared by it. None: not compared.

    Raises:
        EnvError: the first breach found, in one line.
    """
    if not isinstance(env, Env):
        missing = [name for name in ("spec", "tasks", "reset", "step", "close") if not hasattr(env, name)]
        raise EnvError(f"{type(env).__name__} is not an Env: it has no {', '.join(missing)}")
    _check_spec(env.spec)
    splits = {split: _check_tasks(env, split) for split in env.spec.splits}
    if not any(splits.values()):
        raise EnvError(f"no split of {env.spec.name} has a task; splits: {', '.join(splits)}")
    _check_unknown_split(env)
    seen: dict[Hashable, Task] = {}
    for tasks in splits.values():
        for task in dict.fromkeys([*tasks[: num_tasks - 1], *tasks[-1:]]):
            _check_task(env, task, max_steps, actions)
            twin = seen.setdefault(identity(task), task) if identity else task
            if twin.split != task.split:
                raise EnvError(f"{_name(task)} is the same problem as {_name(twin)}; splits must be disjoint")
    env.close()
    env.close()


def told_apart(env: Env, *, most: int = 2000, seconds: float = 10.0) -> list[str]:
    """Return a line for each split whose tasks begin as tasks of the training split do: they may be the same problems.

    A world may show little at first, so this is told and not refused.

    Args:
        env: the environment.
        most: tasks of a split that are looked at.
        seconds: after which no further ones are.
    """
    train, until = env.spec.train_split, time.monotonic() + seconds
    begins: dict[str, set[Hashable]] = {}
    for split in env.spec.splits:
        found: set[Hashable] = set()
        for task in env.tasks(split)[:most]:
            if time.monotonic() > until:
                break
            seen = env.reset(task)
            found.add((seen.text, seen.admissible, None if seen.image is None else seen.image.tobytes()))
        begins[split] = found
    return [
        f"{len(found & begins[train])} of {len(found)} beginnings of {split!r} are those of tasks in {train!r}. If the "
        f"tasks are the same too, {split!r} tests what was trained on; if they differ later on, all is well."
        for split, found in begins.items()
        if split != train and found & begins[train]
    ]


def _check_spec(spec: EnvSpec) -> None:
    if not isinstance(spec, EnvSpec):
        raise EnvError(f"env.spec must be an EnvSpec, got {type(spec).__name__}")
    for name in ("name", "rules", "splits", "example_subgoals"):
        if not getattr(spec, name):
            raise EnvError(f"env.spec.{name} is empty")
    if len(set(spec.splits)) != len(spec.splits):
        raise EnvError(f"env.spec.splits names a split twice: {', '.join(spec.splits)}")
    if spec.max_steps < 1:
        raise EnvError(f"env.spec.max_steps must be at least 1, got {spec.max_steps}")


def _check_tasks(env: Env, split: str) -> list[Task]:
    tasks = list(env.tasks(split))
    if tasks != list(env.tasks(split)):
        raise EnvError(f"tasks({split!r}) gives another list when it is called again")
    for position, task in enumerate(tasks):
        if not isinstance(task, Task):
            raise EnvError(f"tasks({split!r})[{position}] must be a Task, got {type(task).__name__}")
        if (task.env, task.split, task.index) != (env.spec.name, split, position):
            raise EnvError(
                f"tasks({split!r})[{position}] must be env {env.spec.name!r}, split {split!r}, "
                f"index {position}; got {task.env!r}, {task.split!r}, {task.index}"
            )
    return tasks


def _check_unknown_split(env: Env) -> None:
    try:
        env.tasks("no such split")
    except ConfigError:
        return
    except Exception as error:
        raise EnvError(f"tasks of an unknown split must raise ConfigError, not {error!r}") from error
    raise EnvError("tasks of an unknown split must raise ConfigError, got a result")


def _check_task(env: Env, task: Task, max_steps: int, actions: Sequence[str]) -> None:
    first, first_steps = _play(env, task, max_steps, actions)
    second, second_steps = _play(env, task, max_steps, actions)
    if not env.spec.deterministic:
        return
    if not _equal_observations(first, second):
        raise EnvError(f"{_name(task)}: reset with the same seed gives another observation")
    for number, (one, two) in enumerate(zip(first_steps, second_steps), start=1):
        differing = [field for field in _STEP_FIELDS if getattr(one, field) != getattr(two, field)]
        if not _equal_observations(one.observation, two.observation):
            differing.append("observation")
        if differing:
            raise EnvError(
                f"{_name(task)}, step {number}: the same actions give another {', '.join(differing)}",
                hint="make it depend on (task, seed, actions) alone or say deterministic=False in the spec",
            )


_STEP_FIELDS = ("reward", "terminated", "truncated", "success", "score", "valid")


def _play(
    env: Env, task: Task, max_steps: int, actions: Sequence[str]
) -> tuple[Observation, list[StepResult]]:
    """Play one episode with actions drawn from (task, step), checking every answer."""
    rng = rng_from("check_env", task.env, task.split, task.index)
    observation = first = env.reset(task, seed=0)
    _check_observation(observation, f"{_name(task)}, reset", images=env.spec.images)
    _check_board(env, f"{_name(task)}, reset")
    results: list[StepResult] = []
    for number in range(1, max_steps + 1):
        known = observation.admissible if observation.admissible is not None else tuple(actions)
        nonsense = not known or rng.random() < _P_NONSENSE
        action = _NONSENSE[pick(rng, len(_NONSENSE))] if nonsense else known[pick(rng, len(known))]
        where = f"{_name(task)}, step {number} ({action[:40]!r})"
        try:
            result = env.step(action)
        except Exception as error:
            raise EnvError(f"{where}: step must not raise, whatever the action, got {error!r}") from error
        _check_result(result, where, images=env.spec.images)
        _check_board(env, where)
        if observation.admissible is not None and result.valid is nonsense:
            listed = "is nonsense" if nonsense else "is listed as admissible"
            raise EnvError(f"{where}: the action {listed} but was reported with valid={result.valid}")
        results.append(result)
        observation = result.observation
        if result.terminated or result.truncated:
            _check_over(env, where)
            break
    return first, results


def _check_over(env: Env, where: str) -> None:
    try:
        env.step("no such action")
    except EnvError:
        return
    except Exception as error:
        raise EnvError(f"{where}: a step after the end must raise EnvError, not {error!r}") from error
    raise EnvError(f"{where}: a step after the end must raise EnvError, got a result")


def _check_result(result: StepResult, where: str, *, images: bool) -> None:
    if not isinstance(result, StepResult):
        raise EnvError(f"{where}: step must return a StepResult, got {type(result).__name__}")
    for name in ("terminated", "truncated", "success", "valid"):
        if not isinstance(getattr(result, name), bool):
            raise EnvError(f"{where}: {name} must be a bool, got {getattr(result, name)!r}")
    for name in ("reward", "score"):
        number = getattr(result, name)
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise EnvError(f"{where}: {name} must be a finite number, got {number!r}")
    if not 0 <= result.score <= 1:
        raise EnvError(f"{where}: score must lie between 0 and 1, got {result.score!r}")
    if result.terminated and result.truncated:
        raise EnvError(f"{where}: an episode ends either terminated or truncated, got both")
    _check_observation(result.observation, where, images=images)


def _check_observation(observation: Observation, where: str, *, images: bool) -> None:
    if not isinstance(observation, Observation):
        raise EnvError(f"{where}: expected an Observation, got {type(observation).__name__}")
    if not isinstance(observation.text, str):
        raise EnvError(f"{where}: Observation.text must be a str, got {type(observation.text).__name__}")
    image = observation.image
    if images and image is None:
        raise EnvError(f"{where}: spec.images is True, but the observation has no image")
    if not observation.text and image is None:
        raise EnvError(f"{where}: an observation needs a text or an image, got neither")
    if image is not None:
        check_picture(image, f"{where}: ")
    listed = observation.admissible
    if listed is None:
        return
    if not isinstance(listed, tuple) or not all(isinstance(action, str) and action for action in listed):
        raise EnvError(f"{where}: Observation.admissible must be a tuple of non-empty str, got {listed!r}")
    if len(set(listed)) != len(listed):
        twice = next(action for action in listed if listed.count(action) > 1)
        raise EnvError(f"{where}: Observation.admissible names {twice!r} twice")


def _check_board(env: Env, where: str) -> None:
    """Check `board()`, where the environment has one."""
    if not isinstance(env, Draws):
        return
    try:
        board: object = env.board()
    except Exception as error:
        raise EnvError(f"{where}: board must not raise, got {error!r}") from error
    if not isinstance(board, str) or not 0 < len(board) <= MOST_BOARD:
        found = f"{len(board):,} characters" if isinstance(board, str) else type(board).__name__
        raise EnvError(f"{where}: board must return a str of 1 to {MOST_BOARD:,} characters, got {found}")


def _equal_observations(one: Observation, two: Observation) -> bool:
    if one.image is None or two.image is None:
        same_image = one.image is two.image
    else:
        same_image = np.array_equal(one.image, two.image)
    return same_image and (one.text, one.admissible) == (two.text, two.admissible)


def _name(task: Task) -> str:
    return f"{task.env} {task.split} task {task.index}"


def check_expert(
    env: Env, expert: Expert, *, split: str = "train", num_tasks: int = 5, noise: float = 0.2
) -> None:
    """Check that an expert's demonstrations can be imitated; return nothing when they can. The env is closed after.

    Played again in the world, each action is valid and the play wins; the same seed gives the same play; every
    sub-goal ends where the next one begins. Without noise every sub-goal has an action of its own (with it, a random
    action may do a sub-goal's work); with noise some action is marked.

    Args:
        env: where it plays.
        expert: what demonstrates.
        split: whose first tasks are demonstrated.
        num_tasks: how many; a task that the expert declines (None) is passed over, but not all may be.
        noise: share of random actions in the second half of the check.

    Raises:
        EnvError: the first breach found, in one line.
    """
    if not isinstance(expert, Expert):
        raise EnvError(f"{type(expert).__name__} is not an Expert: it has no demonstrate")
    tasks = list(env.tasks(split)[:num_tasks])
    played = noisy = marked = 0
    for task in tasks:
        for share in (0.0, noise):
            demo = expert.demonstrate(task, seed=task.index, noise=share)
            if demo is None:
                continue
            played += 1
            noisy += share > 0
            marked += sum(demo.is_noise)
            if demo != expert.demonstrate(task, seed=task.index, noise=share):
                raise EnvError(
                    f"{_name(task)}: the expert plays otherwise when it is asked again with the same seed"
                )
            _check_demonstration(demo, task, noise=share)
            _check_replay(env, demo)
    if not played:
        raise EnvError(f"the expert of {env.spec.name} demonstrated none of {len(tasks)} tasks of {split!r}")
    if noisy and not marked:
        raise EnvError(
            f"the expert of {env.spec.name} marked no action of {noisy} plays as noise, though noise={noise:g}",
            hint="with few tasks and little noise there may be none: ask for more",
        )
    env.close()


def _check_demonstration(demo: Demonstration, task: Task, *, noise: float) -> None:
    """Check that the parts of a demonstration fit together."""
    where = _name(task)
    if demo.task != task:
        raise EnvError(f"{where}: the expert demonstrated {_name(demo.task)}")
    if not demo.actions:
        raise EnvError(
            f"{where}: a demonstration without actions; return None where there is nothing to show"
        )
    lengths = (len(demo.actions), len(demo.segment_of), len(demo.is_noise))
    if len(set(lengths)) > 1:
        raise EnvError(
            f"{where}: {lengths[0]} actions, {lengths[1]} segment_of and {lengths[2]} is_noise must be equal"
        )
    if list(demo.segment_of) != sorted(demo.segment_of):
        raise EnvError(f"{where}: segment_of must never decrease, got {demo.segment_of}")
    idle = [name for index, name in enumerate(demo.subgoals) if index not in demo.segment_of and noise == 0]
    if idle or not set(demo.segment_of) <= set(range(len(demo.subgoals))):
        what = (
            f"sub-goal {idle[0]!r} has no action"
            if idle
            else f"segment_of goes beyond {len(demo.subgoals)} sub-goals"
        )
        raise EnvError(f"{where}: {what}")
    if any(not name.strip() for name in demo.subgoals):
        raise EnvError(f"{where}: a sub-goal is empty")
    if noise == 0 and any(demo.is_noise):
        raise EnvError(f"{where}: an action is marked as noise, and none was asked for")


def _check_replay(env: Env, demo: Demonstration) -> None:
    """Check that the world takes every action, and that the play wins."""
    env.reset(demo.task)
    result: StepResult | None = None
    for number, (action, is_noise) in enumerate(zip(demo.actions, demo.is_noise, strict=True), start=1):
        if result is not None and (result.terminated or result.truncated):
            raise EnvError(
                f"{_name(demo.task)}: the episode ends before the expert's action {number}, {action!r}"
            )
        result = env.step(action)
        if not result.valid and not is_noise:
            raise EnvError(
                f"{_name(demo.task)}: the world does not take the expert's action {number}, {action!r}"
            )
    if result is None or not result.success:
        raise EnvError(f"{_name(demo.task)}: the expert's actions do not solve the task")
