"""A world of gymnasium with an expert: Taxi, told in words. Needs `pip install 'himac[gym]'`.

cd examples
himac check env=gym_taxi:Taxi              # does it keep what an environment promises, and does its expert win?
himac play env=gym_taxi:Taxi               # drive it yourself
himac train gym_taxi.toml                  # a tiny model learns it from nothing
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import gymnasium

from himac.envs.adapters.gymnasium import FromGym
from himac.types import Demonstration, EnvSpec, Task

ACTIONS = {"south": 0, "north": 1, "east": 2, "west": 3, "pick up": 4, "drop off": 5}
PLACES = ("R", "G", "Y", "B")  # red, green, yellow, blue


def describe(state: int, info: dict[str, Any], env: gymnasium.Env) -> str:
    """Write Taxi's observation, a number, as text: all that a segment which starts afresh has to know."""
    row, column, passenger, goal = env.unwrapped.decode(state)  # type: ignore[attr-defined]
    where = "in the taxi" if passenger == 4 else f"at {PLACES[passenger]}"
    return f"Taxi at row {row} column {column}. Passenger {where}, to {PLACES[goal]}."


class Taxi(FromGym):
    """Taxi-v4: fetch a passenger at one of four places and take him to another."""

    def __init__(self, *, max_steps: int = 40) -> None:
        super().__init__(
            gymnasium.make("Taxi-v4"),
            spec=EnvSpec(
                name="taxi",
                rules=f"You drive a taxi through a town of 5 rows and 5 columns with walls. Actions: {', '.join(ACTIONS)}.",
                example_subgoals=("pick up at Y", "drop off at B"),
                max_steps=max_steps,
                list_admissible=False,
                splits=("train", "val", "test"),
                reward_success=20.0,
            ),
            sizes={"train": 2000, "val": 200, "test": 200},
            actions=ACTIONS,
            describe=describe,
        )
        # A seed draws one of 300 beginnings, so beginnings of the test split were trained on; tables will say so.
        self.provenance = {"splits_overlap": True}

    def expert(self) -> Driver:
        """Return who can demonstrate."""
        return Driver(self)


class Driver:
    """Knows the town: takes a shortest way to the passenger, then one to the goal. Each is a sub-goal."""

    def __init__(self, taxi: Taxi) -> None:
        self._taxi = taxi

    def demonstrate(self, task: Task, *, seed: int, noise: float) -> Demonstration | None:
        """Play a task to its end; `noise` is the share of random moves, which are shown and not imitated."""
        taxi, draw = self._taxi, random.Random(seed)
        taxi.reset(task)
        town = taxi._env.unwrapped
        _, _, passenger, goal = town.decode(town.s)  # type: ignore[attr-defined]
        subgoals = (f"pick up at {PLACES[passenger]}", f"drop off at {PLACES[goal]}")
        played: list[tuple[str, int, bool]] = []  # (action, its sub-goal, whether it was random)
        for number, last in enumerate(("pick up", "drop off")):
            action = ""
            while action != last:
                if len(played) == taxi.spec.max_steps:
                    return None
                is_noise = draw.random() < noise
                action = draw.choice(list(ACTIONS)[:4]) if is_noise else self._next(last)
                taxi.step(action)
                played.append((action, number, is_noise))
        actions, segment_of, is_noise_of = zip(*played, strict=True)
        return Demonstration(
            task=task, subgoals=subgoals, actions=actions, segment_of=segment_of, is_noise=is_noise_of
        )

    def _next(self, last: str) -> str:
        """Return the first action of a shortest way to where `last` does what it should."""
        town = self._taxi._env.unwrapped
        moves: dict[int, Any] = town.P  # type: ignore[attr-defined]
        queue, seen = deque([(town.s, "")]), {town.s}  # type: ignore[attr-defined]
        while queue:
            state, first = queue.popleft()
            ((_, _, reward, _),) = moves[state][ACTIONS[last]]
            if reward > (0 if last == "drop off" else -10):  # elsewhere it is wrong, or no place to do it
                return first or last
            for name in list(ACTIONS)[:4]:
                ((_, after, _, _),) = moves[state][ACTIONS[name]]
                if after not in seen:
                    seen.add(after)
                    queue.append((after, first or name))
        raise AssertionError("every place of the town can be reached")
