"""The reference engine: the real TextWorld with ALFWorld's name wrapper, behind the names of `world.World`.

Whoever doubts himac's engine changes one word (`engine="textworld"`) and plays the original, a
few thousand times slower. It needs the extra `himac[textworld]`, which brings a planner under the GPL
(fast-downward-textworld); himac itself neither contains nor needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from himac.errors import missing_extra


class TextworldWorld:
    """One play of one game file by the real TextWorld.

    Raises:
        MissingExtraError: the package `alfworld` is not installed.
    """

    def __init__(self, file: Path) -> None:
        try:
            import textworld
            from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        except ImportError:
            raise missing_extra("alfworld", "textworld", 'engine="textworld"') from None
        infos = textworld.EnvInfos(admissible_commands=True, won=True)
        arguments = sys.argv
        try:
            self._env = textworld.start(str(file), infos, wrappers=[AlfredDemangler()])
            self._take(self._env.reset())
        finally:
            sys.argv = arguments  # the planner's translator replaces it

    def intro(self) -> str:
        """Return the text the play began with."""
        return self._text

    def step(self, command: str) -> str:
        """Carry out one command and return the world's answer."""
        state, _, _ = self._env.step(command)
        self._take(state)
        return self._text

    def _take(self, state: object) -> None:
        self._text: str = state.feedback  # type: ignore[attr-defined]
        self.admissible: tuple[str, ...] = tuple(state.admissible_commands)  # type: ignore[attr-defined]
        self.won: bool = bool(state.won)  # type: ignore[attr-defined]
