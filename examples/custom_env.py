"""A world of your own: a corridor of lamps, all of which have to be lit. Nothing of himac has to be edited.

cd examples
himac check env=custom_env:Lamps           # does it keep what an environment promises, and does its expert win?
himac play env=custom_env:Lamps            # play it yourself
himac train custom_env.toml                # a tiny model learns it from nothing, in some minutes of one core
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from himac.errors import ConfigError, EnvError
from himac.types import Demonstration, EnvSpec, Observation, StepResult, Task


class Lamps:
    """You stand in a corridor of lamps and light those that are dark.

    Args:
        lamps: how many there are.
        max_steps: steps after which an unsolved episode ends.
    """

    def __init__(self, *, lamps: int = 5, max_steps: int = 20) -> None:
        self._max_steps, self._lit, self._at, self._steps = max_steps, [True] * lamps, 0, 0
        self.spec = EnvSpec(
            name="lamps",
            rules="You walk along a corridor of lamps and light them. Actions: left, right, light.",
            example_subgoals=("light lamp 2", "light lamp 4"),
            goal="Light every lamp.",
            max_steps=max_steps,
            list_admissible=True,
            splits=("train", "val", "test"),
            reward_success=1.0,
        )

    def tasks(self, split: str) -> Sequence[Task]:
        """Return the problems of a split, always the same ones in the same order."""
        if split not in self.spec.splits:
            raise ConfigError(f"lamps has no split {split!r}; splits: {', '.join(self.spec.splits)}")
        return [Task(env="lamps", split=split, index=index) for index in range(200)]

    def reset(self, task: Task, *, seed: int = 0) -> Observation:
        """Begin a problem; nothing here is left to chance, so the seed is not needed."""
        draw = random.Random(f"{task.split} {task.index} {len(self._lit)}")
        self._lit = [draw.random() < 0.5 for _ in self._lit]
        self._lit[draw.randrange(len(self._lit))] = False  # at least one is dark
        self._at, self._steps = draw.randrange(len(self._lit)), 0
        return self._see()

    def step(self, action: str) -> StepResult:
        """Carry out an action; one that cannot be done changes nothing and is not valid."""
        if all(self._lit) or self._steps >= self._max_steps:
            raise EnvError("Lamps.step was called after the episode's end")
        valid = action in self._actions()
        if valid and action == "light":
            self._lit[self._at] = True
        elif valid:
            self._at += 1 if action == "right" else -1
        self._steps += 1
        solved = all(self._lit)
        return StepResult(
            observation=self._see(),
            reward=float(solved),
            terminated=solved,
            truncated=not solved and self._steps >= self._max_steps,
            success=solved,
            score=sum(self._lit) / len(self._lit),
            valid=valid,
        )

    def board(self) -> str:
        """Return the corridor as people see it in reports and when they play; a world can do without."""
        lamps = " ".join("*" if lit else "o" for lit in self._lit)
        return f"{lamps}\n{'  ' * self._at}^"

    def close(self) -> None:
        """Nothing to release."""

    def expert(self) -> LampLighter:
        """Return who can demonstrate; a world without one trains a model that needs no warm start."""
        return LampLighter(self)

    def _actions(self) -> tuple[str, ...]:
        moves = [
            ("left", self._at > 0),
            ("right", self._at < len(self._lit) - 1),
            ("light", not self._lit[self._at]),
        ]
        return tuple(name for name, possible in moves if possible)

    def _see(self) -> Observation:
        lamps = " ".join(f"{number}:{'lit' if lit else 'dark'}" for number, lit in enumerate(self._lit, 1))
        return Observation(text=f"Lamps {lamps}. You are at lamp {self._at + 1}.", admissible=self._actions())


class LampLighter:
    """Walks to the nearest dark lamp and lights it, again and again; each lamp is a sub-goal."""

    def __init__(self, env: Lamps) -> None:
        self._env = env

    def demonstrate(self, task: Task, *, seed: int, noise: float) -> Demonstration | None:
        """Play a task to its end; `noise` is the share of random actions, which are shown and not imitated."""
        env, draw = self._env, random.Random(seed)
        env.reset(task)
        subgoals: list[str] = []
        played: list[tuple[str, int, bool]] = []  # (action, its sub-goal, whether it was random)
        while not all(env._lit) and len(played) < env.spec.max_steps:
            target = min((i for i, lit in enumerate(env._lit) if not lit), key=lambda i: abs(i - env._at))
            if not subgoals or subgoals[-1] != f"light lamp {target + 1}":
                subgoals.append(f"light lamp {target + 1}")
            is_noise = draw.random() < noise
            wanted = "light" if target == env._at else "right" if target > env._at else "left"
            action = draw.choice(env._actions()) if is_noise else wanted
            env.step(action)
            played.append((action, len(subgoals) - 1, is_noise))
        if not all(env._lit):
            return None
        actions, segment_of, is_noise_of = zip(*played, strict=True)
        return Demonstration(
            task=task, subgoals=tuple(subgoals), actions=actions, segment_of=segment_of, is_noise=is_noise_of
        )
