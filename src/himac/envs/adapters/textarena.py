"""TextArena's games for one player in himac; needs the extra "textarena".

    [env]
    name = "textarena"
    id = "TowerOfHanoi-v0"

An action is a move, put in brackets where it has none. The first observation is the game's prompt. Later ones hold what
the game said since the last move and its board; a game without a board shows all that it has said, since a segment that
starts afresh has seen nothing else. A move that the game refuses costs a step, not the game: TextArena's own rule, two
refusals in a row and the game is lost, does not hold here. The reward comes with the end, and 1 is a win.

Left out: games of several players, who would have to be played by something; games that fetch word lists (NLTK) need those.
"""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from himac.envs.adapters.base import Adapter, Answer, Told, plain
from himac.errors import ConfigError, EnvError, closest, missing_extra
from himac.text import line
from himac.types import EnvSpec, Observation, Task

try:
    import textarena
    from textarena.core import ObservationType
except ImportError:
    raise missing_extra("textarena", "textarena", "himac.envs.adapters.textarena") from None

_ME = 0


class FromTextArena(Adapter):
    """A TextArena game for one player as a himac `Env`."""

    def __init__(self, env: Any, *, spec: EnvSpec, sizes: Mapping[str, int]) -> None:
        """Wrap a game.

        Args:
            env: the game, without wrappers: `textarena.make("TowerOfHanoi-v0-raw")`.
            spec: what agents are told; its splits must be those of `sizes`.
            sizes: split -> number of tasks.
        """
        super().__init__(spec, sizes)
        self._env = env
        self._dice = random.Random(0).getstate()
        self._said: list[str] = []  # by the game, since its prompt
        self._board = ""

    def _begin(self, task: Task) -> Observation:
        with self._own_dice():
            try:
                self._env.reset(num_players=1, seed=self.seed_of(task))
            except (AssertionError, LookupError) as error:
                raise EnvError(f"{self.spec.name} cannot begin for one player: {line(str(error))}") from error
        self._env.state.error_allowance = self.spec.max_steps + 1
        self._said, self._board = [], ""
        prompt, rest = self._heard()
        return Observation(text=plain("\n".join(part for part in (prompt, rest) if part)))

    def _act(self, action: str) -> Answer | None:
        if not action:
            return None
        with self._own_dice():
            done, _ = self._env.step(action if "[" in action else f"[{action}]")
        state = self._env.state
        reward = float((state.rewards or {}).get(_ME, 0.0)) if done else 0.0
        _, text = self._heard()
        return Answer(
            observation=Observation(text=plain(text)),
            reward=reward,
            terminated=bool(done),
            success=bool(done) and reward >= 1.0,
            score=min(max(reward, 0.0), 1.0),
            valid=state.error_count == 0,
        )

    def _end(self) -> None:
        """A game holds nothing that has to be released."""

    def _heard(self) -> tuple[str, str]:
        """Return (the prompt, if it was said; what is to be shown now) and forget what was new."""
        _, messages = self._env.get_observation()
        prompt, new = [], []
        for _, message, kind in messages:
            if kind is ObservationType.PROMPT:
                prompt.append(message.strip())
            elif kind is ObservationType.GAME_BOARD:
                self._board = message.strip()
            elif kind is not ObservationType.PLAYER_ACTION:
                new.append(message.strip())
        self._said += new
        shown = [*new, self._board] if self._board else self._said
        return "\n".join(prompt), "\n".join(part for part in shown if part)

    @contextlib.contextmanager
    def _own_dice(self) -> Iterator[None]:
        """Lend the game random numbers of its own: games draw from Python's global ones, and several are played at once."""
        others = random.getstate()
        random.setstate(self._dice)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # some games print while they draw a puzzle
                yield
        finally:
            self._dice = random.getstate()
            random.setstate(others)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextArenaSettings(Told):
    """The table of a recipe whose world is a game of TextArena."""

    id: str = ""  # needed: TextArena's name of the game
    options: dict[str, Any] = field(default_factory=dict)  # keywords for textarena.make
    deterministic: bool = (
        False  # whether the seed and the moves say all: true for games that draw from `random` alone
    )


def make(settings: TextArenaSettings) -> FromTextArena:
    """Make a game of TextArena a world from a recipe; `name = "textarena"`.

    Raises:
        ConfigError: TextArena does not know it, or cannot make it.
    """
    known = textarena.envs.registration.ENV_REGISTRY
    name = settings.id
    if f"{name}-raw" not in known:
        games = [game.removesuffix("-raw") for game in known if game.endswith("-raw")]
        raise ConfigError(
            f"TextArena has no game {name!r}; it has {len(games)}{closest(name, games)}",
            hint="id = 'TowerOfHanoi-v0'; textarena.pprint_registry_detailed() lists them",
        )
    spec = settings.spec(name, deterministic=settings.deterministic)
    try:
        env = textarena.make(f"{name}-raw", **settings.options)
    except (TypeError, ValueError, ImportError, LookupError) as error:
        missing = [part.strip() for part in str(error).splitlines() if "Resource" in part] or [str(error)]
        raise ConfigError(f"TextArena cannot make {name!r}: {line(missing[0])}") from error
    return FromTextArena(env, spec=spec, sizes=settings.splits)
