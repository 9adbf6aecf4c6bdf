"""Generated and official ALFWorld games side by side: rooms, receptacles, objects, shortest wins, expert.

    python benchmarks/alfworld_distributions.py --data FOLDER_WITH_OFFICIAL_GAMES

Prints the tables of docs/alfworld.md and writes benchmarks/results/alfworld_distributions.json.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from _machine import save

from himac.envs.alfworld.game import Game
from himac.envs.alfworld.oracle import shortest_win
from himac.envs.alfworld.player import AlfworldExpert
from himac.envs.base import make_env

KINDS = ("pick", "look", "clean", "heat", "cool", "pick2")
ROOM_MARKS = {"fridge": "kitchen", "toilet": "bathroom", "bed": "bedroom"}


def room_of(game: Game) -> str:
    """Tell the kind of room by a receptacle that no other kind has."""
    types = {name.rpartition(" ")[0] for name in game.receptacles}
    return next((room for mark, room in ROOM_MARKS.items() if mark in types), "livingroom")


def describe(env: Any, splits: tuple[str, ...], limit: int) -> dict[str, Any]:
    """Measure the games of some splits."""
    kinds: Counter[str] = Counter()
    rooms: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    wins: dict[str, list[int]] = defaultdict(list)
    expert: list[int] = []
    lost = games = 0
    player = AlfworldExpert(env)
    for split in splits:
        for task in env.tasks(split)[:limit]:
            game = env.game(task)
            games += 1
            kinds[task.kind] += 1
            room = rooms[room_of(game)]
            room["receptacles"].append(len(game.receptacles))
            room["types"].append(len({name.rpartition(" ")[0] for name in game.receptacles}))
            room["openable"].append(len(game.openable))
            room["objects"].append(len({o for inside in game.start.inside for o in inside}))
            win = shortest_win(game)
            if win is not None:
                wins[task.kind].append(len(win))
            shown = player.demonstrate(task, seed=0, noise=0.0)
            if shown is None:
                lost += 1
            else:
                expert.append(len(shown.actions))
    return {
        "games": games,
        "kinds": {kind: kinds[kind] / games for kind in KINDS},
        "rooms": {
            name: {"share": len(found["objects"]) / games}
            | {what: (statistics.mean(values), statistics.pstdev(values)) for what, values in found.items()}
            for name, found in sorted(rooms.items())
        },
        "shortest_win": {
            kind: (min(wins[kind]), statistics.mean(wins[kind]), max(wins[kind]))
            for kind in KINDS
            if wins[kind]
        },
        "shortest_win_mean": statistics.mean(length for lengths in wins.values() for length in lengths),
        "without_win": games - sum(map(len, wins.values())),
        "expert": {
            "won": len(expert),
            "lost": lost,
            "mean_steps": statistics.mean(expert),
            "p90_steps": sorted(expert)[int(0.9 * len(expert))],
            "max_steps": max(expert),
        },
    }


def show(found: dict[str, dict[str, Any]]) -> None:
    """Print markdown tables, a column for each set of games."""
    names = list(found)
    print("| | " + " | ".join(names) + " |\n|---" * 1 + "|---" * len(names) + "|")
    rows: list[tuple[str, list[str]]] = [("games", [str(found[n]["games"]) for n in names])]
    rows += [(f"task type {kind}", [f"{found[n]['kinds'][kind]:.0%}" for n in names]) for kind in KINDS]
    for room in ("kitchen", "livingroom", "bedroom", "bathroom"):
        rows.append((f"{room}: share of games", [f"{found[n]['rooms'][room]['share']:.0%}" for n in names]))
        for what in ("receptacles", "types", "openable", "objects"):
            cells = ["{:.1f} ± {:.1f}".format(*found[n]["rooms"][room][what]) for n in names]
            rows.append((f"{room}: {what}", cells))
    for kind in KINDS:
        cells = ["{} / {:.2f} / {}".format(*found[n]["shortest_win"][kind]) for n in names]
        rows.append((f"shortest win, {kind} (min / mean / max)", cells))
    rows.append(("shortest win, all (mean)", [f"{found[n]['shortest_win_mean']:.2f}" for n in names]))
    rows.append(("games without a win", [str(found[n]["without_win"]) for n in names]))
    rows.append(
        ("expert: won / lost", [f"{found[n]['expert']['won']} / {found[n]['expert']['lost']}" for n in names])
    )
    steps = ("mean_steps", "p90_steps", "max_steps")
    cells = ["{:.1f} / {} / {}".format(*(found[n]["expert"][s] for s in steps)) for n in names]
    rows.append(("expert: steps (mean / 90 % / max)", cells))
    for title, cells in rows:
        print(f"| {title} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=None, help="folder with official games")
    parser.add_argument("--games", type=int, default=340, help="generated training games to measure")
    asked = parser.parse_args()
    found = {}
    if asked.data is not None:
        official = make_env("alfworld", path=asked.data)
        for split in official.spec.splits:
            found[f"official {split}"] = describe(official, (split,), 10**6)
    made = make_env("alfworld", path="generated")
    found["generated train"] = describe(made, ("train",), asked.games)
    found["generated valid_seen"] = describe(made, ("valid_seen",), 140)
    found["generated valid_unseen"] = describe(made, ("valid_unseen",), 134)
    show(found)
    save("alfworld_distributions", found)


if __name__ == "__main__":
    main()
