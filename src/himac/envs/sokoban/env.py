"""Sokoban as an `Env`: one level at a time, in text and, if asked, in pictures.

The environment only keeps the state and counts steps; rules, text, images and levels are pure
functions elsewhere in this package. What it decides itself:

- An action is one of the four words, in any case, with any space around. A known direction that is blocked
  is a legal action: nothing moves, it costs a step, `valid` is True. Any other text is not an action:
  nothing moves, it costs the same, `valid` is False.
- The episode ends solved (terminated) or at `max_steps` (truncated). The last observation shows the last board.
- `score` is the share of boxes on targets.

gym-sokoban counts boxes on target from zero at the start of an episode; here they are counted on the board,
which differs only for level files that begin with a box on a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from himac.envs.sokoban.levels import LevelSource
from himac.envs.sokoban.rules import (
    ACTIONS,
    REWARD_SOLVED,
    Level,
    State,
    is_solved,
    num_on_target,
    play,
    reward,
)
from himac.envs.sokoban.text import FORMS, rows, told
from himac.envs.splits import SEALED, SPLITS, refused_split
from himac.errors import ConfigError, EnvError
from himac.types import EnvSpec, Observation, StepResult, Task

if TYPE_CHECKING:
    from himac.envs.base import Expert

_SYMBOLS = """Symbols: # wall, _ floor, O target, X box, √ box on a target, P you, S you on a target."""

_PICTURES = (
    "In the picture: brown bricks are walls, dark grey is floor, a red diamond in a red frame is a target, a yellow crate "
    "with an orange X is a box, in a red frame once it is on a target, and the green figure is you."
)

RULES = """You move on a board of cells and push boxes.
{symbols}Rows are counted from 1 at the top, columns from 1 at the left.
Actions: up, down, left, right. Each moves you one cell, or pushes the box in that cell one cell further.
You cannot pull. Nothing moves into a wall, and no box into another box.
A box pushed into a corner that is not a target is lost."""

EXAMPLE_PLAY = (
    (
        "# # # # # #\n# # # # # #\n# # # # # #\n# P # _ _ #\n# _ X _ O #\n# # # # # #",
        "<think>The box at row 5 column 3 has to go right by two, to the target at row 5 column 5. I push it from its "
        "left side, row 5 column 2, which is just below me.</think><action>down</action>",
    ),
    (
        "# # # # # #\n# # # # # #\n# # # # # #\n# _ # _ _ #\n# P X _ O #\n# # # # # #",
        "<think>I stand left of the box and the cell behind it is free: I push.</think><action>right</action>",
    ),
    (
        "# # # # # #\n# # # # # #\n# # # # # #\n# _ # _ _ #\n# _ P X O #\n# # # # # #",
        "<think>One more push and the box is on the target.</think><action>right</action>",
    ),
)
"""Task 3 of split "train", size 6x6, one box. Shown with boards as grids; the other forms go without."""


EXAMPLE_OF_ONE_BOX = ("push the box left to column 2", "push the box down onto the target")
EXAMPLE_OF_SEVERAL = (
    "push the box at row 3 column 4 left to column 2",
    "push the box at row 3 column 2 down onto the target at row 5 column 2",
)
"""Sub-goals as the expert words them: with one box it need not be said which."""


class SokobanEnv:
    """Sokoban with gym-sokoban's rules and rewards."""

    def __init__(
        self,
        source: LevelSource,
        *,
        max_steps: int,
        observation: str,
        image: bool,
        one_box: bool = False,
        cell_pixels: int = 16,
    ) -> None:
        symbols = {"coord": "", "image": _PICTURES + "\n"}.get(observation, _SYMBOLS + "\n")
        self.spec = EnvSpec(
            name="sokoban",
            rules=RULES.format(symbols=symbols),
            example_subgoals=EXAMPLE_OF_ONE_BOX if one_box else EXAMPLE_OF_SEVERAL,
            max_steps=max_steps,
            list_admissible=False,
            splits=SPLITS,
            reward_success=REWARD_SOLVED,
            goal="push every box onto a target",
            example_play=EXAMPLE_PLAY if observation == "grid" else (),
            images=observation == "image",
        )
        self._source = source
        self._tasks: dict[str, tuple[Task, ...]] = {}  # by split, made when first asked for
        self._write = FORMS[observation]
        self._image, self._cell_pixels = image or self.spec.images, cell_pixels
        self._level: Level | None = None
        self._state = State(boxes=0, player=0)
        self._num_steps = 0
        self._over = False

    def tasks(self, split: str) -> Sequence[Task]:
        """Return the split's tasks in their fixed order."""
        if split not in SPLITS:
            raise refused_split("sokoban", split, SPLITS)
        return self._listed(split)

    def sealed(self) -> Sequence[Task]:
        """Return the sealed tasks, as many as the test split has, see `himac.envs.base.Seals`."""
        if not self._source.seals:
            raise ConfigError(
                "sokoban has no sealed split: its levels come from files, and only a generator has others",
                hint="leave env.levels out",
            )
        return self._listed(SEALED)

    def _listed(self, split: str) -> Sequence[Task]:
        if split not in self._tasks:
            self._tasks[split] = tuple(
                Task(env="sokoban", split=split, index=index)
                for index in range(self._source.num_levels(split))
            )
        return self._tasks[split]

    def level(self, task: Task) -> Level:
        """Return the level of a task."""
        has = task.split in SPLITS or (task.split == SEALED and self._source.seals)
        num_levels = self._source.num_levels(task.split) if has else 0
        if not 0 <= task.index < num_levels:
            raise ConfigError(
                f"sokoban has no task {task.index} in split {task.split!r}: it has {num_levels} tasks"
            )
        return self._source.level(task.split, task.index)

    def reset(self, task: Task, *, seed: int = 0) -> Observation:
        """Start a task; the seed changes nothing."""
        self._level = self.level(task)
        self._state = self._level.start
        self._num_steps = 0
        self._over = False
        return self._observe(self._level)

    def step(self, action: str) -> StepResult:
        """Walk, push, or do nothing; see the module's docstring for what counts as valid."""
        level = self._level
        if level is None or self._over:
            raise EnvError(
                "sokoban: step called " + ("before reset" if level is None else "after the episode's end"),
                hint="call reset(task) first",
            )
        word = action.strip().lower()
        valid = word in ACTIONS
        before = self._state
        self._state = play(level, before, word) if valid else before
        self._num_steps += 1
        success = is_solved(level, self._state)
        truncated = not success and self._num_steps >= self.spec.max_steps
        self._over = success or truncated
        return StepResult(
            observation=self._observe(level),
            reward=reward(level, before, self._state),
            terminated=success,
            truncated=truncated,
            success=success,
            score=num_on_target(level, self._state) / level.num_boxes,
            valid=valid,
        )

    def describe(self, *, brief: bool = False) -> str:
        """Return what is to be seen now, in words; brief: what the next step needs."""
        if self._level is None:
            raise EnvError("sokoban: describe called before reset", hint="call reset(task) first")
        return told(self._level, self._state, brief=brief)

    def board(self) -> str:
        """Return where things stand as rows of symbols, see `text.SYMBOLS`, whatever form the agent is shown."""
        if self._level is None:
            raise EnvError("sokoban: board called before reset", hint="call reset(task) first")
        return rows(self._level, self._state)

    def expert(self) -> Expert:
        """Return the solver that demonstrates."""
        from himac.envs.sokoban.expert import SokobanExpert  # which plays in this very class

        return SokobanExpert(self)

    def close(self) -> None:
        """Release nothing: there is nothing to release."""

    def _observe(self, level: Level) -> Observation:
        image = None
        if self._image:
            from himac.envs.sokoban.images import draw

            image = draw(level, self._state, self._cell_pixels)
        return Observation(text=self._write(level, self._state), image=image, admissible=ACTIONS)
