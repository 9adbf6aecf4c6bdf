"""The expert: the solver's play, cut into sub-goals that a person would write.

A sub-goal is one straight run of pushes of one box, in words with coordinates, together with the
walk that leads to it. Noise only ever wanders (no noisy step pushes a box), so the blueprint of the first
solution stays exactly what happens; what changes is the walking, and the expert finds back.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from himac.envs.sokoban.rules import ACTIONS, Level, State, offsets, play
from himac.envs.sokoban.solve import Push, Solution, solve, walk
from himac.envs.splits import pick, rng_from
from himac.types import Demonstration, EnvSpec, Task


class _HasLevels(Protocol):
    spec: EnvSpec

    def level(self, task: Task) -> Level: ...


class SokobanExpert:
    """Demonstrates the solution with the fewest steps (the fewest pushes where that is too much search)."""

    def __init__(self, env: _HasLevels) -> None:
        self.env = env

    def demonstrate(self, task: Task, *, seed: int = 0, noise: float = 0.0) -> Demonstration | None:
        """Play a task within the episode's step limit; None when that cannot be done."""
        level = self.env.level(task)
        solution = solution_of(level)
        if solution is None:
            return None
        return self._show(task, level, solution.pushes, seed=seed, noise=noise)

    def careless(self, task: Task, *, seed: int = 0, noise: float = 0.0) -> Demonstration | None:
        """Push each box once, straight on until it is blocked or on a target: nobody walks around a box.

        Levels that need no turn are solved like that, all others are lost.
        """
        level = self.env.level(task)
        solution = solution_of(level)
        if solution is None:
            return None
        return self._show(task, level, straight_on(level, solution.pushes), seed=seed, noise=noise)

    def _show(
        self, task: Task, level: Level, pushes: tuple[Push, ...], *, seed: int, noise: float
    ) -> Demonstration | None:
        """Play pushes, wandering now and then; None where they do not fit into the step limit."""
        limit = self.env.spec.max_steps
        steps = _steps_of(level, pushes)
        if not pushes or sum(steps) > limit:
            return None
        runs = straight_runs(level, pushes)
        rng = rng_from("sokoban noise", task.split, task.index, seed)
        actions, segment_of, is_noise = _play_runs(level, runs, steps, rng, noise, limit)
        return Demonstration(
            task=task,
            subgoals=tuple(name_runs(level, runs)),
            actions=tuple(actions),
            segment_of=tuple(segment_of),
            is_noise=tuple(is_noise),
        )


def solution_of(level: Level) -> Solution | None:
    """Return the expert's solution of a level."""
    return solve(level, max_nodes=20_000) or solve(level, minimize="pushes")


def straight_runs(level: Level, pushes: tuple[Push, ...]) -> list[list[Push]]:
    """Group pushes into runs: the same box, straight on."""
    runs: list[list[Push]] = []
    for push in pushes:
        last = runs[-1][-1] if runs else None
        if last and last.action == push.action and last.box + offsets(level.width)[push.action] == push.box:
            runs[-1].append(push)
        else:
            runs.append([push])
    return runs


def straight_on(level: Level, pushes: tuple[Push, ...]) -> tuple[Push, ...]:
    """Return, per box in the order of a solution, its first push and the same again as far as it goes."""
    state, moved, straight = level.start, 0, []
    for first in pushes:
        step = offsets(level.width)[first.action]
        box, start = first.box, 1 << first.box
        if not level.boxes & ~moved & start or walk(level, state, box - step) is None:
            continue
        moved |= start
        while (level.floor & ~state.boxes) >> box + step & 1:
            straight.append(Push(box=box, action=first.action))
            state = State(boxes=state.boxes ^ (1 << box | 1 << box + step), player=box)
            box += step
            if level.targets >> box & 1:
                break
    return tuple(straight)


def name_runs(level: Level, runs: list[list[Push]]) -> list[str]:
    """Return each run as a sub-goal; the last run of a box names the target it ends on.

    With several boxes it is said where box and target are; with one, "the box" and "the target" are enough.
    """
    several = level.boxes.bit_count() > 1
    names = []
    for index, run in enumerate(runs):
        action = run[0].action
        end = run[-1].box + offsets(level.width)[action]
        row, column = level.row_column(end)
        stays = all(later[0].box != end for later in runs[index + 1 :])
        if stays and level.targets >> end & 1:
            goal = f"onto the target at {level.name_of(end)}" if several else "onto the target"
        else:
            goal = f"to row {row}" if action in ("up", "down") else f"to column {column}"
        box = f"the box at {level.name_of(run[0].box)}" if several else "the box"
        names.append(f"push {box} {action} {goal}")
    return names


def _play_runs(
    level: Level, runs: list[list[Push]], steps: list[int], rng: random.Random, noise: float, limit: int
) -> tuple[list[str], list[int], list[bool]]:
    """Play the pushes in order; with probability `noise` step aside first, as long as time remains.

    `steps` is what each push takes, see `_steps_of`.
    """
    pushes = [(push, index) for index, run in enumerate(runs) for push in run]
    rests = [sum(steps[index + 1 :]) for index in range(len(steps))]
    actions: list[str] = []
    segment_of: list[int] = []
    is_noise: list[bool] = []
    state = level.start
    for (push, segment), rest in zip(pushes, rests):
        behind = push.box - offsets(level.width)[push.action]
        while True:
            way = walk(level, state, behind)
            assert way is not None, "wandering never closes the way to the next push"
            action = (*way, push.action)[0]
            aside = _step_aside(level, state, rng, action) if rng.random() < noise else None
            if aside is not None:
                back = walk(level, play(level, state, aside), behind)
                if back is None or len(actions) + 1 + len(back) + 1 + rest > limit:
                    aside = None
            state = play(level, state, aside or action)
            actions.append(aside or action)
            segment_of.append(segment)
            is_noise.append(aside is not None)
            if aside is None and not way:
                break
    return actions, segment_of, is_noise


def _step_aside(level: Level, state: State, rng: random.Random, wanted: str) -> str | None:
    """Return a random direction other than the wanted one that pushes no box; it may be blocked."""
    others = [
        action for action in ACTIONS if action != wanted and play(level, state, action).boxes == state.boxes
    ]
    return others[pick(rng, len(others))] if others else None


def _steps_of(level: Level, pushes: Sequence[Push]) -> list[int]:
    """Return, per push, how many steps it takes, the walk to it included."""
    state, steps = level.start, []
    for push in pushes:
        step = offsets(level.width)[push.action]
        way = walk(level, state, push.box - step)
        assert way is not None, "a push of the solution cannot be reached"
        steps.append(len(way) + 1)
        state = State(boxes=state.boxes ^ (1 << push.box | 1 << push.box + step), player=push.box)
    return steps
