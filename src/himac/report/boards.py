"""Where things stood at every step, whatever the model was shown: worlds made again, and episodes replayed in them.

A run records what its model saw. Where that was words, the board is found by making the world of the run's config,
beginning the task and taking the recorded actions. A replay counts only if it answers as the run recorded, word for
word: after a change of the world there is no board rather than a wrong one.

A report must not fail for want of a board: whatever goes wrong becomes one line that says why there is none. Nor does
reading a run of somebody else execute what its config names: a world by import path is made on request alone.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from himac.config import Config
from himac.envs.base import MOST_BOARD, Draws, Env, make_env
from himac.errors import HimacError
from himac.images import name_of
from himac.runs.folder import CONFIG
from himac.runs.formats import load_saved
from himac.seeds import derive
from himac.text import line, whole
from himac.types import Observation, Row, Task

TOLD = ("alfworld", "webshop")
"""Worlds that the page draws from their own words: what the agent knew is more to the point than what was so."""

REPLAYS_S = 8.0
"""Seconds that the replays of one report may take; thousands of episodes take one or two."""

_MOST_KEPT = 30_000_000  # characters of boards that are remembered for episodes that are asked for again


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What is known of an episode's boards."""

    boards: tuple[str, ...] = ()  # at the start and after each action, as far as the episode came
    why: str = ""  # why there are none, in a line; "" where the world offers none


class Boards:
    """The boards of one run's episodes.

    Args:
        folder: the run directory.
        imports: whether a world that the config names by import path may be imported.
        most_s: seconds that all replays may take together; episodes after that have no boards.
    """

    def __init__(self, folder: Path, *, imports: bool = False, most_s: float = REPLAYS_S) -> None:
        self._folder, self._imports, self._left_s, self._most_s = folder, imports, most_s, most_s
        self._env: Env | None = None
        self._is_open = False
        self._seed = 0
        self._why = ""
        self._found: dict[int, Replay] = {}
        self._kept = 0
        self._same: dict[str, str] = {}  # one object a board, however many steps show it

    @property
    def goal(self) -> str:
        """What all the world's tasks ask for; "" where each has its own goal, or the world was not made."""
        return whole(self._env.spec.goal) if self._env else ""

    def of(self, row: Row) -> Replay:
        """Return the boards of an episode (a row of episodes.jsonl)."""
        if row["task"]["env"] in TOLD:
            return Replay()
        if self._left_s <= 0:
            return Replay(why=f"rebuilding the worlds of this run takes longer than {self._most_s:g} s")
        began = time.monotonic()
        try:
            return self._of(row)
        finally:
            self._left_s -= time.monotonic() - began

    def close(self) -> None:
        """Release the world."""
        if self._env is not None:
            with contextlib.suppress(Exception):  # a world of somebody's own
                self._env.close()
            self._env = None

    def _of(self, row: Row) -> Replay:
        if not self._is_open:
            self._is_open = True
            self._open()
        if self._env is None:
            return Replay(why=self._why)
        turns = [turn for s in row["segments"] for turn in s["turns"] if turn["action"] is not None]
        steps = [(turn["action"], turn["observation"], turn["reward"]) for turn in turns]
        key = hash((row["task"]["split"], row["task"]["index"], row["instruction"], *steps))
        if key not in self._found:
            try:
                found = self._replayed(self._env, row, steps)
            except Exception as error:  # a world of somebody's own may raise whatever it likes
                found = Replay(why=_told(error))
            self._keep(key, found)
        return self._found[key]

    def _open(self) -> None:
        """Make the run's world, or say why not."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # said when the run was made
                config = load_saved(self._folder / CONFIG)
                self._why = self._refusal(config)
                env = None if self._why else make_env(config.env.name, **config.env.settings)
        except (Exception, SystemExit) as error:  # a module may end the process when it is imported
            self._why = _told(error)
            return
        if not isinstance(env, Draws):
            return
        if not env.spec.deterministic:
            self._why = "this world is not deterministic, so a replay would show other states"
            return
        self._env, self._seed = env, config.run.seed

    def _refusal(self, config: Config) -> str:
        name = config.env.name
        if ":" not in name or self._imports:
            return ""
        return f"{line(name)} is a world of your own; --import-world lets it be imported and drawn"

    def _replayed(self, env: Env, row: Row, steps: list[tuple[str, str, float]]) -> Replay:
        task = Task(**{name: row["task"][name] for name in ("env", "split", "index", "kind")})
        if not any(_shown(env, env.reset(task, seed=n)) == row["instruction"] for n in self._seeds(row)):
            return Replay(why="the task begins otherwise today than in the run, so its world has changed")
        boards = [self._board(env)]  # of the seed that the search for it stopped at
        for number, (action, told, reward) in enumerate(steps[: row["env_steps"]], 1):
            result = env.step(action)
            if _shown(env, result.observation) != told or abs(result.reward - reward) > 1e-6:
                return Replay(
                    why=f"step {number} ends otherwise today than in the run, so its world has changed"
                )
            boards.append(self._board(env))
        return Replay(boards=tuple(boards))

    def _seeds(self, row: Row) -> list[int]:
        """Return what the world may have been seeded with: evaluations use 0, a phase's tasks one of their own each."""
        own = (self._seed, "env", row["task"]["index"])
        return [0] if row["phase"] == "eval" else [derive(*own), derive(*own, 1), 0]

    def _board(self, env: Env) -> str:
        board = env.board() if isinstance(env, Draws) else ""
        if not isinstance(board, str) or not 0 < len(board) <= MOST_BOARD:
            raise ValueError(f"board() has to return text of 1 to {MOST_BOARD:,} characters")
        board = whole(board)
        return self._same.setdefault(board, board)

    def _keep(self, key: int, replay: Replay) -> None:
        self._kept += sum(map(len, replay.boards))
        if self._kept > _MOST_KEPT:
            self._found.clear()
            self._same.clear()
            self._kept = 0
        self._found[key] = replay


def _shown(env: Env, observation: Observation) -> str:
    """Return an observation's text as a run records it."""
    seen = ""
    if env.spec.images and observation.image is not None:
        seen = f"<image:{name_of(observation.image)}>"
    return seen + whole(observation.text)


def _told(error: BaseException) -> str:
    """Return an error as one harmless line."""
    words = str(error) if isinstance(error, HimacError) else f"{type(error).__name__}: {error}"
    return line(words)[:200]
