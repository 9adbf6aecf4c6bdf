"""ALFWorld: household tasks in text, played by himac's own engine, byte for byte as TextWorld plays them.

    env = make_env("alfworld", path="~/alfworld/json_2.1.1")
    observation = env.reset(env.tasks("valid_seen")[0])
    observation.admissible        # every command that works now

The package, bottom up: `sexpr` reads PDDL, `rules` a game's domain, `wording` its grammar, `goal` its goal;
`game` compiles them, `world` plays, `quirks` explains what looks odd; `catalog` finds game files,
`vocabulary` and `generate` make new ones, `oracle` proves that they can be won; `games` joins both sources,
`env` is the environment, `player` demonstrates, `data` fetches and checks the official games.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from himac.envs.alfworld.env import AlfworldEnv
from himac.envs.alfworld.games import OFFICIAL_COUNTS, GeneratedGames, Source, open_games
from himac.envs.alfworld.generate import Settings, kinds_in, write_games
from himac.envs.alfworld.rules import domain_text, read_rules
from himac.envs.alfworld.vocabulary import ROOMS, Room
from himac.errors import ConfigError
from himac.toml import Count, Number, Positive

__all__ = ["AlfworldSettings", "Settings", "make", "write_games"]

GENERATED = "generated"


Kind = Literal["pick", "look", "clean", "heat", "cool", "pick2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlfworldSettings:
    """ALFWorld's settings."""

    path: str | None = (
        None  # a game file or folder, or "generated"; left out: $ALFWORLD_DATA, else generated games
    )
    engine: Literal["himac", "textworld"] = "himac"  # "textworld" is the reference engine (an extra)
    max_steps: Positive = 50  # steps after which an unsolved episode is truncated; the published limit
    kinds: tuple[Kind, ...] = ()  # task types to offer; empty for all there are
    list_admissible: bool = (
        True  # prompts list the admissible commands, as published: most of a prompt's tokens
    )
    # of generated games alone, which they choose when path is left out:
    games: Number | None = None  # training games; left out: as many as ALFWorld has, 3,553
    eval_games: Number | None = None  # games in each validation split; left out: 140 seen and 134 unseen
    seed: Count = 0  # of the rooms and games
    rooms: tuple[Room, ...] = ROOMS  # kinds of room
    receptacles: Positive | None = (
        None  # most receptacles a room has, at least 5; left out: as ALFRED's rooms
    )
    objects: Positive | None = None  # most objects a room has, at least 4; left out: as ALFRED's rooms
    layouts: Number = 27  # training layouts for each kind of room; a quarter as many others are kept unseen


GENERATOR = ("games", "eval_games", "seed", "rooms", "receptacles", "objects", "layouts")
"""Settings that concern generated games alone."""


def make(settings: AlfworldSettings) -> AlfworldEnv:
    """Make an ALFWorld environment.

    Raises:
        ConfigError: settings of generated games beside a path of others.
        MissingFileError: `path` does not exist.
        DataError: no playable game at `path`.
    """
    default = AlfworldSettings()
    chosen = any(getattr(settings, name) != getattr(default, name) for name in GENERATOR)
    where = (
        settings.path if settings.path is not None else "" if chosen else os.environ.get("ALFWORLD_DATA", "")
    )
    if where not in ("", GENERATED) and chosen:
        raise ConfigError(
            f"env.{', env.'.join(GENERATOR)} concern generated games, but env.path is {where!r}",
            hint='leave them out, or use path="generated"',
        )
    return AlfworldEnv(
        _generated(settings) if where in ("", GENERATED) else _official(where),
        engine=settings.engine,
        max_steps=settings.max_steps,
        kinds=settings.kinds,
        list_admissible=settings.list_admissible,
    )


def _generated(settings: AlfworldSettings) -> Source:
    recipe = Settings(
        seed=settings.seed,
        kinds=settings.kinds or kinds_in(settings.rooms),
        rooms=settings.rooms,
        receptacles=settings.receptacles,
        objects=settings.objects,
        layouts=settings.layouts,
    )
    wanted = {"train": settings.games, "valid_seen": settings.eval_games, "valid_unseen": settings.eval_games}
    return GeneratedGames(
        recipe, {split: wanted[split] or number for split, number in OFFICIAL_COUNTS.items()}
    )


def _official(where: str) -> Source:
    source = open_games(Path(where).expanduser())
    read_rules(domain_text())  # what games' domains are compared with; here, so that no reset pays for it
    return source
