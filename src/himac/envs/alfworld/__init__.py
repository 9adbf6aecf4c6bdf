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
from collections.abc import Sequence
from pathlib import Path

from himac.envs.alfworld.catalog import TASK_TYPES
from himac.envs.alfworld.env import AlfworldEnv
from himac.envs.alfworld.games import OFFICIAL_COUNTS, GeneratedGames, Source, open_games
from himac.envs.alfworld.generate import Settings, kinds_in, write_games
from himac.envs.alfworld.player import AlfworldExpert
from himac.envs.alfworld.rules import domain_text, read_rules
from himac.envs.alfworld.vocabulary import ROOMS
from himac.envs.base import Env, Expert
from himac.errors import ConfigError, closest

__all__ = ["Settings", "expert", "make", "write_games"]

ENGINES = ("himac", "textworld")
GENERATED = "generated"
KINDS = tuple(TASK_TYPES.values())


def make(
    path: str | os.PathLike[str] | None = None,
    *,
    engine: str = "himac",
    max_steps: int = 50,
    kinds: Sequence[str] = (),
    list_admissible: bool = True,
    games: int | None = None,
    eval_games: int | None = None,
    seed: int = 0,
    rooms: Sequence[str] = ROOMS,
    receptacles: int | None = None,
    objects: int | None = None,
    layouts: int = 27,
) -> Env:
    """Make an ALFWorld environment.

    Args:
        path: a game file, a folder of games, "generated", or None for $ALFWORLD_DATA if that is set and
            generated games otherwise.
        engine: "himac", or "textworld" for the reference engine (an extra).
        max_steps: steps after which an unsolved episode is truncated; the published limit is 50.
        kinds: task types to offer, of pick, look, clean, heat, cool, pick2; empty for all there are.
        list_admissible: whether prompts list the admissible commands, as the published ones do; they are
            most of a prompt's tokens.
        games: number of generated training games; None for as many as ALFWorld has, 3,553. This and the
            following settings concern generated games alone and choose them when `path` is None.
        eval_games: number of generated games in each validation split; None for as many as ALFWorld has,
            140 seen and 134 unseen.
        seed: of the generated rooms and games.
        rooms: kinds of room, of kitchen, livingroom, bedroom, bathroom.
        receptacles: most receptacles a room has, at least 5; None for as many as ALFRED's rooms.
        objects: most objects a room has, at least 4; None for as many as ALFRED's rooms.
        layouts: training layouts for each kind of room; a quarter as many others are kept unseen.

    Raises:
        ConfigError: an unknown engine, task type or room, or a number out of range.
        MissingFileError: `path` does not exist.
        DataError: no playable game at `path`.
    """
    _check_choice("engine", engine, ENGINES)
    _check_number("max_steps", max_steps, least=1)
    _check_number("seed", seed, least=0)
    kinds, rooms = _names("kinds", kinds), _names("rooms", rooms)
    for kind in kinds:
        _check_choice("kinds", kind, KINDS)
    for name, number in (
        ("games", games),
        ("eval_games", eval_games),
        ("receptacles", receptacles),
        ("objects", objects),
        ("layouts", layouts),
    ):
        if number is not None:
            _check_number(name, number, least=1)
    if not isinstance(list_admissible, bool):
        raise ConfigError(f"alfworld: list_admissible must be true or false, got {list_admissible!r}")
    if not isinstance(path, str | os.PathLike | None):
        raise ConfigError(f"alfworld: path must be a file, a folder or 'generated', got {path!r}")
    given = (games, eval_games, seed, rooms, receptacles, objects, layouts)
    chosen = given != (None, None, 0, ROOMS, None, None, 27)
    where = path if path is not None else "" if chosen else os.environ.get("ALFWORLD_DATA", "")
    source: Source
    if where in ("", GENERATED):
        settings = Settings(
            seed=seed,
            kinds=kinds or kinds_in(rooms),
            rooms=rooms,
            receptacles=receptacles,
            objects=objects,
            layouts=layouts,
        )
        wanted = {"train": games, "valid_seen": eval_games, "valid_unseen": eval_games}
        counts = {split: wanted[split] or number for split, number in OFFICIAL_COUNTS.items()}
        source = GeneratedGames(settings, counts)
    else:
        if chosen:
            raise ConfigError(
                "alfworld: games, eval_games, seed, rooms, receptacles, objects and layouts concern generated "
                f"games, but path is {str(where)!r}",
                hint='leave them out, or use path="generated"',
            )
        source = open_games(Path(where).expanduser())
        read_rules(domain_text())  # what games' domains are compared with; here, so that no reset pays for it
    return AlfworldEnv(
        source, engine=engine, max_steps=max_steps, kinds=kinds, list_admissible=list_admissible
    )


def expert(env: Env) -> Expert:
    """Make the expert that demonstrates in `env`."""
    return AlfworldExpert(env)


def _names(name: str, given: Sequence[str]) -> tuple[str, ...]:
    if (
        isinstance(given, str)
        or not isinstance(given, Sequence)
        or not all(isinstance(item, str) for item in given)
    ):
        raise ConfigError(f"alfworld: {name} must be a list of names, got {given!r}")
    return tuple(given)


def _check_number(name: str, given: int, *, least: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise ConfigError(f"alfworld: {name} must be a whole number, at least {least}, got {given!r}")


def _check_choice(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ConfigError(
            f"alfworld: {name} has {given!r}; known: {', '.join(known)}{closest(str(given), known)}"
        )
