"""A world to start from: a courier carries parcels along a corridor of rooms. Change it into yours.

himac check env=world:Courier      # does it keep what an environment promises, and does its expert win?
himac play env=world:Courier       # play it yourself
himac train recipe.toml            # a tiny model learns it from nothing
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from himac.errors import ConfigError, EnvError
from himac.types import Demonstration, EnvSpec, Observation, StepResult, Task

MOST = 2400  # problems, all splits together
SHARES = {"train": 10, "val": 1, "test": 1}  # of twelve
COLOURS = ("red", "blue", "green", "white")


@dataclass(frozen=True)
class Parcel:
    """A parcel, where it lies, and where it belongs."""

    colour: str
    room: int  # 0: carried
    target: int

    @property
    def is_delivered(self) -> bool:
        """Whether it lies where it belongs."""
        return self.room == self.target


class Courier:
    """Bring every parcel to its room; one can be carried at a time.

    Args:
        rooms: of the corridor, numbered from 1.
        parcels: at most 4.
        max_steps: after which an episode ends.
    """

    def __init__(self, *, rooms: int = 6, parcels: int = 2, max_steps: int = 30) -> None:
        if not 1 <= parcels <= len(COLOURS):
            raise ConfigError(f"parcels must be 1 to {len(COLOURS)}, got {parcels}")
        if rooms < 2:
            raise ConfigError(f"rooms must be at least 2, got {rooms}")
        self._rooms, self._count = rooms, parcels
        self._problems = self._split()
        self._parcels: tuple[Parcel, ...] = ()
        self._at, self._steps = 1, max_steps
        self.spec = EnvSpec(
            name="courier",
            rules="You walk along rooms in a row and carry one parcel at a time. Actions: left, right, take, put.",
            goal="Bring every parcel to its room.",
            example_subgoals=("take the red parcel in room 2", "put the red parcel in room 5"),
            max_steps=max_steps,
            list_admissible=True,
            splits=tuple(SHARES),
            reward_success=1.0,
        )

    def tasks(self, split: str) -> Sequence[Task]:
        """Return the problems of a split, always the same ones in the same order."""
        if split not in SHARES:
            raise ConfigError(f"courier has no split {split!r}; splits: {', '.join(SHARES)}")
        return [Task(env="courier", split=split, index=index) for index in range(len(self._problems[split]))]

    def reset(self, task: Task, *, seed: int = 0) -> Observation:
        """Begin a problem. It follows from the task alone; `seed` is for worlds that leave something to chance."""
        rest, at = divmod(self._problems[task.split][task.index], self._rooms)
        self._at, self._steps, parcels = at + 1, 0, []
        for colour in COLOURS[: self._count]:
            rest, target = divmod(rest, self._rooms)
            rest, other = divmod(rest, self._rooms - 1)
            parcels.append(
                Parcel(colour, room=1 + (other if other < target else other + 1), target=1 + target)
            )
        self._parcels = tuple(parcels)
        return self._see()

    def step(self, action: str) -> StepResult:
        """Carry out an action; one that cannot be done changes nothing, and is not valid."""
        if self._is_solved or self._steps >= self.spec.max_steps:
            raise EnvError("step was called after the episode's end")
        valid = action in self._actions()
        if valid and action in ("left", "right"):
            self._at += 1 if action == "right" else -1
        elif valid:
            self._parcels = tuple(self._moved(parcel, action) for parcel in self._parcels)
        self._steps += 1
        solved = self._is_solved
        return StepResult(
            observation=self._see(),
            reward=float(solved),
            terminated=solved,
            truncated=not solved and self._steps >= self.spec.max_steps,
            success=solved,
            score=sum(parcel.is_delivered for parcel in self._parcels) / len(self._parcels),
            valid=valid,
        )

    def close(self) -> None:
        """Nothing to release."""

    def expert(self) -> Postman:
        """Return who can demonstrate. A pretrained model may do without one; a tiny model from nothing cannot."""
        return Postman(self)

    def _split(self) -> dict[str, list[int]]:
        """Return the numbers of each split's problems: every problem there is has one, and is in one split at most.

        Problems drawn anew for each split would meet again: a model would be tested on what it was shown.
        """
        total = self._rooms * (self._rooms * (self._rooms - 1)) ** self._count
        numbers = random.Random("courier").sample(range(total), min(total, MOST))
        cut = {split: len(numbers) * share // sum(SHARES.values()) for split, share in SHARES.items()}
        return {split: [numbers.pop() for _ in range(most)] for split, most in cut.items()}

    @property
    def _is_solved(self) -> bool:
        return all(parcel.is_delivered for parcel in self._parcels)

    def _moved(self, parcel: Parcel, action: str) -> Parcel:
        if action == "put":
            return replace(parcel, room=self._at) if parcel.room == 0 else parcel
        return replace(parcel, room=0) if parcel == self._here() else parcel

    def _here(self) -> Parcel | None:
        """Return the parcel that `take` would take."""
        return next((p for p in self._parcels if p.room == self._at and not p.is_delivered), None)

    def _actions(self) -> tuple[str, ...]:
        carries = any(parcel.room == 0 for parcel in self._parcels)
        possible = {
            "left": self._at > 1,
            "right": self._at < self._rooms,
            "take": not carries and self._here() is not None,
            "put": carries,
        }
        return tuple(action for action, is_possible in possible.items() if is_possible)

    def _see(self) -> Observation:
        """Say all that later sub-goals need: the executor's memory starts afresh at each of them."""
        parcels = ", ".join(
            f"{p.colour} for room {p.target} {f'is in room {p.room}' if p.room else 'is in your hands'}"
            for p in self._parcels
        )
        return Observation(
            text=f"Parcels: {parcels}. You are in room {self._at}.", admissible=self._actions()
        )


class Postman:
    """Takes the nearest parcel and delivers it, again and again; taking and delivering are sub-goals."""

    def __init__(self, env: Courier) -> None:
        self._env = env

    def demonstrate(self, task: Task, *, seed: int, noise: float) -> Demonstration | None:
        """Play a task to its end.

        Args:
            task: to be played.
            seed: of whatever the expert leaves to chance.
            noise: share of random actions; they are shown to the model and not imitated, so that it sees mistakes mended.
        """
        env, draw = self._env, random.Random(seed)
        env.reset(task)
        subgoals: list[str] = []
        played: list[tuple[str, int, bool]] = []  # (action, its sub-goal, whether it was random)
        while not env._is_solved and len(played) < env.spec.max_steps:
            subgoal, action = self._next()
            if not subgoals or subgoals[-1] != subgoal:
                subgoals.append(subgoal)
            is_noise = draw.random() < noise
            action = (
                draw.choice([a for a in env._actions() if a in ("left", "right")]) if is_noise else action
            )
            env.step(action)
            played.append((action, len(subgoals) - 1, is_noise))
        if not env._is_solved:
            return None
        actions, segment_of, is_noise_of = zip(*played, strict=True)
        return Demonstration(
            task=task, subgoals=tuple(subgoals), actions=actions, segment_of=segment_of, is_noise=is_noise_of
        )

    def _next(self) -> tuple[str, str]:
        """Return (sub-goal, action) of the state the world is in."""
        env = self._env
        carried = next((p for p in env._parcels if p.room == 0), None)
        if carried:
            return f"put the {carried.colour} parcel in room {carried.target}", self._towards(
                carried.target, "put"
            )
        waiting = [parcel for parcel in env._parcels if not parcel.is_delivered]
        nearest = min(waiting, key=lambda parcel: abs(parcel.room - env._at))
        if (here := env._here()) is not None:
            nearest = here  # of two in one room `take` takes this one
        return f"take the {nearest.colour} parcel in room {nearest.room}", self._towards(nearest.room, "take")

    def _towards(self, room: int, then: str) -> str:
        if room == self._env._at:
            return then
        return "right" if room > self._env._at else "left"
