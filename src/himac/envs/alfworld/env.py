"""The ALFWorld environment: tasks of a source, one world at a time.

The environment adds to a world only what the Env protocol asks for: tasks, rewards, limits and
refusal to be used out of order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from himac.envs.alfworld.game import Game
from himac.envs.alfworld.games import Playable, Source, start
from himac.envs.splits import SEALED, refused_split
from himac.errors import ConfigError, EnvError
from himac.types import EnvSpec, Observation, StepResult, Task

if TYPE_CHECKING:
    from himac.envs.base import Expert

REWARD_SUCCESS = 10.0
"""What a solved task pays, as in the published experiments; every other step pays 0."""

RULES = """\
You are in a household and act by text commands:
go to RECEPTACLE, open RECEPTACLE, close RECEPTACLE, take OBJECT from RECEPTACLE, move OBJECT to RECEPTACLE
(older games: put OBJECT in/on RECEPTACLE), clean OBJECT with SINKBASIN, heat OBJECT with MICROWAVE,
cool OBJECT with FRIDGE, slice OBJECT with KNIFE, use LAMP, examine THING, look, inventory.
Things carry a number, as in "take apple 1 from countertop 2". You can hold one object at a time.
What lies in a closed receptacle is seen only after opening it."""

EXAMPLE_SUBGOALS = (
    "find and take a mug",
    "clean the mug",
    "put the mug in the coffeemachine",
)

EXAMPLE_PLAY = (
    (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see a "
        "bathtubbasin 1, a cabinet 4, a cabinet 3, a cabinet 2, a cabinet 1, a garbagecan 1, a handtowelholder 1, a "
        "sinkbasin 1, a toilet 1, a toiletpaperhanger 1, and a towelholder 1.\n\n"
        "Your task is to: clean some soapbar and put it in cabinet.",
        "<think>I have to find a soapbar, clean it at the sinkbasin and put it in a cabinet. Soap may lie on the toilet "
        "or in the sinkbasin; I look at the toilet first.</think><action>go to toilet 1</action>",
    ),
    (
        "You arrive at toilet 1. On the toilet 1, you see a candle 1, and a soapbottle 1.",
        "<think>A soapbottle is not a soapbar. The sinkbasin is next.</think><action>go to sinkbasin 1</action>",
    ),
    (
        "You arrive at sinkbasin 1. On the sinkbasin 1, you see a soapbar 2.",
        "<think>Here is a soapbar. I take it.</think><action>take soapbar 2 from sinkbasin 1</action>",
    ),
    (
        "You pick up the soapbar 2 from the sinkbasin 1.",
        "<think>I am at the sinkbasin already, so I clean it now.</think>"
        "<action>clean soapbar 2 with sinkbasin 1</action>",
    ),
    (
        "You clean the soapbar 2 using the sinkbasin 1.",
        "<think>It is clean. Any cabinet will do.</think><action>go to cabinet 4</action>",
    ),
    (
        "You arrive at cabinet 4. The cabinet 4 is closed.",
        "<think>It has to be opened first.</think><action>open cabinet 4</action>",
    ),
    (
        "You open the cabinet 4. The cabinet 4 is open. In it, you see nothing.",
        "<think>Now I put the soapbar in, which completes the task.</think><action>move soapbar 2 to cabinet 4</action>",
    ),
)
"""Task 219 of the generated split "train"."""


class AlfworldEnv:
    """One household at a time.

    Args:
        source: the games.
        engine: who plays them, "himac" or "textworld".
        max_steps: steps after which an unsolved episode is truncated.
        kinds: task types to offer; empty for all.
        list_admissible: whether prompts list the admissible commands.
    """

    def __init__(
        self,
        source: Source,
        *,
        engine: str,
        max_steps: int,
        kinds: Sequence[str] = (),
        list_admissible: bool = True,
    ) -> None:
        self.source = source
        self.spec = EnvSpec(
            name="alfworld",
            rules=RULES,
            example_subgoals=EXAMPLE_SUBGOALS,
            max_steps=max_steps,
            list_admissible=list_admissible,
            splits=source.splits,
            reward_success=REWARD_SUCCESS,
            example_play=EXAMPLE_PLAY,
        )
        self._engine = engine
        self._kinds = frozenset(kinds)
        self._tasks: dict[str, tuple[Task, ...]] = {}
        self._world: Playable | None = None
        self._steps = 0

    def tasks(self, split: str) -> Sequence[Task]:
        """Return the split's tasks in their fixed order; `kinds` leaves gaps in their indices."""
        if split not in self.source.splits:
            raise refused_split("alfworld", split, self.source.splits)
        return self._listed(split)

    def sealed(self) -> Sequence[Task]:
        """Return the sealed tasks, as many as unseen kitchens, see `himac.envs.base.Seals`."""
        if not self.source.seals:
            raise ConfigError(
                "alfworld has no sealed split: its games come from files, and only a generator has others",
                hint='env.path = "generated"',
            )
        return self._listed(SEALED)

    def _listed(self, split: str) -> Sequence[Task]:
        if split not in self._tasks:
            self._tasks[split] = tuple(
                Task(env="alfworld", split=split, index=index, kind=kind)
                for index, kind in enumerate(self.source.kinds(split))
                if not self._kinds or kind in self._kinds
            )
        return self._tasks[split]

    def reset(self, task: Task, *, seed: int = 0) -> Observation:
        """Start a task's game; the seed changes nothing, since a game's start is fixed.

        Raises:
            ConfigError: no such task.
            DataError: the game's file is damaged or foreign.
        """
        self._check(task.split, task.index)
        self._world = start(self.source, task.split, task.index, self._engine)
        self._steps = 0
        return Observation(text=self._world.intro(), admissible=self._world.admissible)

    def step(self, action: str) -> StepResult:
        """Carry out one command; an inadmissible one is answered "Nothing happens."."""
        world = self._world
        if world is None:
            raise EnvError("alfworld: step called before reset or after the episode's end; call reset first")
        valid = action.strip() in world.admissible
        text = world.step(action)
        self._steps += 1
        won = world.won
        truncated = not won and self._steps >= self.spec.max_steps
        if won or truncated:
            self._world = None
        return StepResult(
            observation=Observation(text=text, admissible=world.admissible),
            reward=REWARD_SUCCESS if won else 0.0,
            terminated=won,
            truncated=truncated,
            success=won,
            score=1.0 if won else 0.0,
            valid=valid,
        )

    def expert(self) -> Expert:
        """Return the solver that demonstrates."""
        from himac.envs.alfworld.player import AlfworldExpert  # which plays in this very class

        return AlfworldExpert(self)

    def close(self) -> None:
        """Let the world go."""
        self._world = None

    def game(self, task: Task) -> Game:
        """Return a task's compiled game: what an oracle may see and an agent may not."""
        self._check(task.split, task.index)
        return self.source.game(task.split, task.index)

    def _check(self, split: str, index: int = 0) -> None:
        if split not in self.source.splits and not (split == SEALED and self.source.seals):
            raise refused_split("alfworld", split, self.source.splits)
        number = len(self.source.kinds(split))
        if not 0 <= index < max(number, 1):
            raise ConfigError(f"alfworld split {split!r} has {number} games, got index {index}")
