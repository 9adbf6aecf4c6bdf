"""ALFWorld's games: finding them in files, making them, checking them, playing them by the Env protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from himac.agents.prompts import observation_view
from himac.envs.alfworld import data
from himac.envs.alfworld.catalog import index_file
from himac.envs.alfworld.game import compile_game, load_game
from himac.envs.alfworld.generate import Settings, kinds_of, make_content, write_games
from himac.envs.alfworld.oracle import shortest_win
from himac.envs.alfworld.world import World
from himac.envs.base import Env, make_env, make_expert
from himac.envs.check import check_env
from himac.errors import ConfigError, DataError, EnvError, MissingExtraError, MissingFileError
from himac.types import Task

SMALL = {
    "rooms": ("kitchen", "bathroom"),
    "receptacles": 7,
    "objects": 9,
    "kinds": ("pick", "clean", "pick2"),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six games in two splits, as ALFWorld lays them out."""
    write_games(tmp_path / "games", 4, split="train")
    write_games(tmp_path / "games", 2, split="valid_seen")
    return tmp_path / "games"


# Files.


def test_splits_are_found_and_sorted_by_path(folder: Path):
    env = make_env("alfworld", path=folder)
    assert env.spec.splits == ("train", "valid_seen")
    assert [len(env.tasks(split)) for split in env.spec.splits] == [4, 2]
    paths = [env.source.entry("train", task.index).path for task in env.tasks("train")]
    assert paths == sorted(paths)


def test_alfworld_data_names_the_folder_when_no_path_is_given(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(folder))
    assert len(make_env("alfworld").tasks("train")) == 4
    assert len(make_env("alfworld", path="generated").tasks("train")) == 3553


def test_a_folder_named_like_a_split_is_that_split(folder: Path):
    assert make_env("alfworld", path=folder / "valid_seen").spec.splits == ("valid_seen",)


def test_one_file_is_every_split(folder: Path):
    file = next(folder.rglob("game.tw-pddl"))
    env = make_env("alfworld", path=file)
    assert {split: len(env.tasks(split)) for split in env.spec.splits} == {
        "train": 1,
        "valid_seen": 1,
        "valid_unseen": 1,
    }


def test_the_kind_is_read_from_the_goal_when_the_folder_s_name_does_not_tell(folder: Path, tmp_path: Path):
    expected = []
    for i, file in enumerate(sorted((folder / "train").rglob("game.tw-pddl"))):
        expected.append(make_env("alfworld", path=file).tasks("train")[0].kind)
        (tmp_path / "plain" / str(i)).mkdir(parents=True)
        (tmp_path / "plain" / str(i) / "game.tw-pddl").write_text(file.read_text())
    assert [task.kind for task in make_env("alfworld", path=tmp_path / "plain").tasks("train")] == expected


def test_movable_sliced_and_unsolvable_games_are_passed_over(folder: Path):
    files = sorted((folder / "train").rglob("game.tw-pddl"))
    (folder / "train" / "pick_and_place_with_movable_recep-A").mkdir()
    (folder / "train" / "pick_and_place_with_movable_recep-A" / "game.tw-pddl").write_text(
        files[0].read_text()
    )
    (folder / "train" / "pick_and_place_simple-AppleSliced").mkdir()
    (folder / "train" / "pick_and_place_simple-AppleSliced" / "game.tw-pddl").write_text(files[0].read_text())
    files[1].write_text(json.dumps(json.loads(files[1].read_text()) | {"solvable": False}))
    assert len(make_env("alfworld", path=folder).tasks("train")) == 3


def test_a_damaged_file_is_reported_and_the_others_go_on(folder: Path, caplog: pytest.LogCaptureFixture):
    files = sorted((folder / "train").rglob("game.tw-pddl"))
    files[0].write_text(files[0].read_text()[:-10])
    content = json.loads(files[1].read_text())
    del content["grammar"]
    files[1].write_text(json.dumps(content))
    env = make_env("alfworld", path=folder)
    assert len(env.tasks("train")) == 2
    assert f"{files[0]}: not a readable JSON file" in caplog.text
    assert f"{files[1]}: field 'grammar': missing" in caplog.text
    assert len(env.source.catalog.skipped) == 2


def test_a_game_that_only_compiling_finds_damaged_fails_alone(folder: Path):
    file = sorted((folder / "train").rglob("game.tw-pddl"))[2]
    content = json.loads(file.read_text())
    content["pddl_problem"] = content["pddl_problem"].replace("(:goal", "(:gaol")
    file.write_text(json.dumps(content))
    env = make_env("alfworld", path=folder)
    tasks = env.tasks("train")
    with pytest.raises(
        DataError, match=r"game.tw-pddl: field 'pddl_problem': section \(:goal ...\) is missing"
    ):
        env.reset(tasks[2])
    assert env.reset(tasks[3]).admissible
    report = data.prepare(folder)  # looks into every game and remembers
    assert report.counts == {"train": 3, "valid_seen": 2}
    assert len(report.skipped) == 1
    env.close()
    del env
    assert len(make_env("alfworld", path=folder).tasks("train")) == 3


def test_no_game_at_all_is_an_error_at_once(tmp_path: Path):
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="no playable ALFWorld game"):
        make_env("alfworld", path=tmp_path / "empty")
    with pytest.raises(MissingFileError, match="does not exist"):
        make_env("alfworld", path=tmp_path / "nowhere")


def test_read_only_data_and_an_unwritable_cache_still_play(folder: Path, monkeypatch: pytest.MonkeyPatch):
    blocked = folder.parent / "a-file-not-a-folder"
    blocked.write_text("")
    monkeypatch.setenv("HIMAC_CACHE", str(blocked))
    env = make_env("alfworld", path=folder)
    assert env.reset(env.tasks("train")[0]).admissible


def test_the_index_is_written_to_the_cache_and_follows_changes(folder: Path):
    make_env("alfworld", path=folder)
    assert index_file(folder).is_file()
    assert not [p for p in folder.rglob("*") if p.suffix == ".json" and p.name != "traj_data.json"]
    file = sorted((folder / "train").rglob("game.tw-pddl"))[0]
    file.write_text("{}")
    assert len(make_env("alfworld", path=folder).tasks("train")) == 3


def test_prepare_counts_and_says_what_is_missing(folder: Path):
    report = data.prepare(folder)
    assert not report.complete
    assert report.lines()[1:4] == [
        "  train: 4 games (officially 3553)",
        "  valid_seen: 2 games (officially 140)",
        "  valid_unseen: 0 games (officially 134)",
    ]


# The Env protocol.


def test_the_env_keeps_the_protocol():
    env = make_env("alfworld", path="generated", max_steps=3)
    assert isinstance(env, Env)
    task = env.tasks("valid_unseen")[0]
    with pytest.raises(EnvError, match="before reset"):
        env.step("look")
    env.reset(task)
    assert env.step("sing").valid is False
    first = env.step("look")
    assert (first.reward, first.terminated, first.truncated, first.valid) == (0.0, False, False, True)
    last = env.step("inventory")
    assert (last.terminated, last.truncated, last.success, last.score) == (False, True, False, 0.0)
    with pytest.raises(EnvError, match="after the episode's end"):
        env.step("look")
    env.close()
    env.close()


def test_check_env_finds_nothing_to_complain_about():
    env = make_env("alfworld", path="generated")
    check_env(
        env,
        identity=lambda task: (env.game(task).task, env.game(task).receptacles, env.game(task).start.inside),
    )


def test_a_win_pays_ten_and_ends_the_episode():
    env = make_env("alfworld", path="generated")
    task = env.tasks("train")[0]
    env.reset(task)
    *before, last = [env.step(command) for command in shortest_win(env.game(task))]
    assert [result.reward for result in before] == [0.0] * len(before)
    assert (last.reward, last.terminated, last.truncated, last.success, last.score) == (
        10.0,
        True,
        False,
        True,
        1.0,
    )


def test_kinds_filters_tasks_and_leaves_their_indices_alone():
    every = make_env("alfworld", path="generated", games=50).tasks("valid_seen")
    some = make_env("alfworld", path="generated", games=50)
    assert {task.kind for task in every} == {"pick", "look", "clean", "heat", "cool", "pick2"}
    assert [task.index for task in some.tasks("valid_seen")] == list(range(140))


def test_validation_splits_can_be_longer_and_begin_as_the_usual_ones_do():
    usual, longer = make_env("alfworld", path="generated"), make_env("alfworld", eval_games=200)
    for split in ("valid_seen", "valid_unseen"):
        tasks = longer.tasks(split)
        assert len(tasks) == 200
        assert tuple(tasks[:134]) == tuple(usual.tasks(split)[:134])
    assert len(longer.tasks("train")) == len(usual.tasks("train"))


def test_prompts_can_leave_the_admissible_commands_out_but_an_episode_knows_them():
    env = make_env("alfworld", path="generated", list_admissible=False)
    observation = env.reset(env.tasks("train")[0])
    assert observation.admissible
    assert "Admissible" not in observation_view(env.spec, observation)
    assert "Admissible" in observation_view(make_env("alfworld", path="generated").spec, observation)


def test_kinds_filters_files_too(folder: Path):
    kinds = [task.kind for task in make_env("alfworld", path=folder).tasks("train")]
    env = make_env("alfworld", path=folder, kinds=(kinds[1],))
    assert [task.index for task in env.tasks("train")] == [
        i for i, kind in enumerate(kinds) if kind == kinds[1]
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "himca"}, "did you mean 'himac'"),
        ({"kinds": ("pik",)}, "did you mean 'pick"),
        ({"rooms": ("garage",)}, r"env.rooms.0. must be one of .kitchen., "),
        ({"max_steps": 0}, "at least 1"),
        ({"games": 0}, "at least 1"),
        ({"seed": "x"}, "env.seed must be int, got 'x'"),
        ({"kinds": "pick"}, "env.kinds must be a list of .*, got 'pick'"),
        ({"objects": 7.5}, "env.objects must be int, got 7.5"),
        ({"path": 3}, "env.path must be str, got 3"),
        ({"receptacles": 2}, "receptacles must be at least 5"),
        ({"rooms": ("bathroom",), "kinds": ("heat",)}, "they are set in: kitchen"),
        ({"path": ".", "seed": 3}, "concern generated games"),
        ({"path": ".", "eval_games": 3}, "concern generated games"),
        ({"eval_games": 0}, "at least 1"),
        ({"list_admissible": "no"}, "env.list_admissible must be bool, got 'no'"),
    ],
)
def test_wrong_settings_say_what_is_allowed(settings: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        make_env("alfworld", **settings)


def test_unknown_splits_and_indices_say_what_there_is():
    env = make_env("alfworld")
    with pytest.raises(ConfigError, match="did you mean 'valid_seen'"):
        env.tasks("valid_sen")
    with pytest.raises(ConfigError, match="has 134 games, got index 134"):
        env.reset(Task(env="alfworld", split="valid_unseen", index=134))


def test_the_textworld_engine_without_the_package_names_the_extra():
    try:
        import alfworld  # noqa: F401
    except ImportError:
        env = make_env("alfworld", path="generated", engine="textworld")
        with pytest.raises(MissingExtraError, match="alfworld"):
            env.reset(env.tasks("train")[0])
    else:
        pytest.skip("alfworld is installed here")


# Generated games.


def test_generated_games_are_won_by_their_walkthrough():
    settings = Settings(seed=5)
    for split in ("train", "valid_seen", "valid_unseen"):
        for index, kind in enumerate(kinds_of(settings, split, 12)):
            content = make_content(settings, split, index, kind)
            world = World(compile_game(content, name="generated"))
            assert not world.won
            for command in content["walkthrough"]:
                assert command in world.admissible
                world.step(command)
            assert world.won


def test_generated_games_do_not_depend_on_the_process():
    code = (
        "import hashlib, json; from himac.envs.alfworld.generate import *\n"
        "s = Settings(seed=1); kinds = kinds_of(s, 'valid_seen', 3)\n"
        "made = [make_content(s, 'valid_seen', i, k) for i, k in enumerate(kinds)]\n"
        "print(hashlib.sha256(json.dumps(made).encode()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(seen) == 1


def test_generated_splits_are_disjoint_in_layouts_and_in_games():
    settings = Settings(**SMALL)

    def layouts_and_games(split: str, number: int) -> tuple[set[str], set[str]]:
        rooms, games = set(), set()
        for index, kind in enumerate(kinds_of(settings, split, number)):
            content = make_content(settings, split, index, kind)
            game = compile_game(content, name="generated")
            things = sorted(
                name.split()[0] + str(r in game.openable) for r, name in enumerate(game.receptacles)
            )
            rooms.add(" ".join(things))
            games.add(repr((game.task, game.receptacles, game.start.inside, game.objects)))
        return rooms, games

    train, seen, unseen = (
        layouts_and_games(s, n) for s, n in (("train", 60), ("valid_seen", 25), ("valid_unseen", 25))
    )
    assert not train[0] & unseen[0]
    assert not seen[0] & unseen[0]
    assert not train[1] & seen[1]


def test_difficulty_knobs_bound_the_room():
    env = make_env("alfworld", **SMALL)
    for task in env.tasks("train")[:20]:
        game = env.game(task)
        assert len(game.receptacles) <= 7
        assert len(game.objects) <= 9
        assert task.kind in SMALL["kinds"]


def test_rooms_alone_choose_the_kinds_they_have():
    assert {task.kind for task in make_env("alfworld", rooms=("livingroom",)).tasks("train")} == {
        "pick",
        "look",
        "pick2",
    }


def test_written_games_load_like_those_made_on_the_fly(tmp_path: Path):
    settings = Settings(seed=2)
    files = write_games(tmp_path, 5, split="valid_unseen", settings=settings)
    env = make_env("alfworld", path="generated", seed=2)
    for task, file in zip(env.tasks("valid_unseen"), files):
        assert World(load_game(file)).intro() == env.reset(task).text
        trajectory = json.loads((file.parent / "traj_data.json").read_text())
        assert file.parts[-3].startswith(trajectory["task_type"])
        assert json.loads(file.read_text())["solvable"] is True


# The expert.


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_the_expert_wins_generated_games_within_the_limit(noise: float):
    env = make_env("alfworld", path="generated")
    demonstrations = [
        make_expert("alfworld", env).demonstrate(task, seed=1, noise=noise)
        for task in env.tasks("valid_unseen")[:60]
    ]
    assert sum(d is not None for d in demonstrations) >= 59


def test_a_demonstration_is_consistent_and_replays_to_a_win():
    env = make_env("alfworld", **SMALL)
    expert = make_expert("alfworld", env)
    for task in env.tasks("train")[:10]:
        shown = expert.demonstrate(task, seed=3, noise=0.2)
        assert shown == expert.demonstrate(task, seed=3, noise=0.2)
        assert len(shown.actions) == len(shown.segment_of) == len(shown.is_noise)
        assert list(shown.segment_of) == sorted(shown.segment_of)
        assert max(shown.segment_of) < len(shown.subgoals)
        env.reset(task)
        results = [env.step(action) for action in shown.actions]
        assert all(result.valid for result in results)
        assert results[-1].success


def test_the_expert_wins_where_the_first_text_does_not_list_the_room(folder: Path):
    file = next((folder / "train").rglob("game.tw-pddl"))
    content = json.loads(file.read_text())
    place = content["pddl_problem"].split("receptacleAtLocation ")[1].split()[1].rstrip(")")
    start = content["pddl_problem"].split("atLocation agent1 ")[1].split(")")[0]
    content["pddl_problem"] = content["pddl_problem"].replace(f"agent1 {start}", f"agent1 {place}")
    file.write_text(json.dumps(content))
    env = make_env("alfworld", path=file)
    task = env.tasks("train")[0]
    assert "You are facing the " in env.reset(task).text
    assert make_expert("alfworld", env).demonstrate(task, seed=0, noise=0.0) is not None


def test_the_expert_s_blueprint_needs_the_task_s_sentence_only():
    from himac.envs.alfworld.player import blueprint, read_goal

    texts = {
        "put a mug in coffeemachine": ("find and take a mug", "put the mug in the coffeemachine"),
        "heat some egg and put it in fridge": (
            "find and take an egg",
            "heat the egg",
            "put the egg in the fridge",
        ),
        "examine the cd with the desklamp": ("find and take a cd", "find and use a desklamp"),
        "find two pen and put them in drawer": (
            "find and take a pen",
            "put the pen in the drawer",
            "find and take another pen",
            "put the other pen in the drawer",
        ),
    }
    for sentence, wanted in texts.items():
        goal = read_goal(f"You see nothing.\n\nYour task is to: {sentence}.")
        assert tuple(subgoal.text for subgoal in blueprint(goal)) == wanted
    assert read_goal("Your task is to: make the room nice.") is None


def test_the_expert_wins_the_official_games(shared_data: Path):
    env = make_env("alfworld", path=shared_data / "alfworld")
    expert = make_expert("alfworld", env)
    won = [expert.demonstrate(task, seed=0, noise=0.0) is not None for task in env.tasks("valid_seen")]
    assert len(won) == 140
    assert sum(won) >= 139
