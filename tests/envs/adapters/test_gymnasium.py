"""himac's worlds in gymnasium, and gymnasium's in himac."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env as gym_check_env  # noqa: E402

from himac.envs.adapters.gymnasium import FromGym  # noqa: E402
from himac.envs.adapters.to_gymnasium import ToGym  # noqa: E402
from himac.envs.base import make_env, make_expert  # noqa: E402
from himac.envs.check import check_env  # noqa: E402
from himac.errors import ConfigError  # noqa: E402
from himac.types import EnvSpec, Task  # noqa: E402


def make_gym(**settings) -> FromGym:
    return make_env("gym", **settings)


ACTIONS = ("up", "down", "left", "right")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("himac/Sokoban-v0", {"train": 10}),
        ("himac/Sokoban-v0", {"train": 10, "image": True, "boxes": 2}),
        ("himac/Sokoban-v0", {"train": 10, "render_mode": "rgb_array"}),
        ("himac/Toy-v0", {"train": 10, "render_mode": "ansi"}),
    ],
)
def test_registered_worlds_pass_gymnasiums_own_checker(name: str, settings: dict):
    gym_check_env(gymnasium.make(name, **settings).unwrapped)


def test_a_demonstration_solves_its_task_in_gymnasium_too():
    env = make_env("sokoban", boxes=2, val=5)
    task = env.tasks("val")[3]
    shown = make_expert("sokoban", env).demonstrate(task, seed=0, noise=0.0)
    wrapped = gymnasium.make("himac/Sokoban-v0", boxes=2, val=5, split="val")
    text, info = wrapped.reset(options={"index": 3})
    assert text == env.reset(task).text and info["task"] == task
    total, terminated = 0.0, False
    for action in shown.actions:
        assert not terminated
        text, reward, terminated, truncated, info = wrapped.step(ACTIONS.index(action))
        total += reward
    assert terminated and not truncated and info["success"] and info["score"] == 1.0
    assert total == pytest.approx(12 - 0.1 * len(shown.actions))


def test_the_same_seed_draws_the_same_task():
    env = gymnasium.make("himac/Toy-v0", train=50)
    first = [env.reset(seed=seed)[1]["task"].index for seed in range(8)]
    assert [env.reset(seed=seed)[1]["task"].index for seed in range(8)] == first
    assert len(set(first)) > 3


def test_images_are_rendered_and_observed_apart():
    env = gymnasium.make("himac/Sokoban-v0", render_mode="rgb_array", train=3)
    text, _ = env.reset(seed=0)
    assert isinstance(text, str) and env.render().shape == (96, 96, 3)
    env = gymnasium.make("himac/Sokoban-v0", image=True, train=3)
    picture, _ = env.reset(seed=0)
    assert picture.dtype == np.uint8 and picture.shape == (96, 96, 3)


def test_what_a_world_cannot_show_is_refused():
    with pytest.raises(ConfigError, match="toy as made gives no image for observation='image'"):
        ToGym(make_env("toy"), observation="image")
    with pytest.raises(ConfigError, match="render_mode='human'; render modes: ansi"):
        ToGym(make_env("toy"), render_mode="human")
    with pytest.raises(ConfigError, match=r"options\['index'\] must be from 0 to 2, got 3"):
        ToGym(make_env("toy", train=3)).reset(options={"index": 3})


def frozen_lake() -> FromGym:
    return FromGym(
        gymnasium.make("FrozenLake-v1", is_slippery=False),
        spec=EnvSpec(
            name="lake",
            rules="Walk from the top left of a 4x4 lake to its bottom right and avoid the holes.",
            example_subgoals=("go to cell 8",),
            max_steps=20,
            list_admissible=True,
            splits=("train", "test"),
            reward_success=1.0,
        ),
        actions={"left": 0, "down": 1, "right": 2, "up": 3},
        describe=lambda cell: f"You are in cell {cell}.",
        is_success=lambda reward, terminated, info: terminated and reward > 0,
        sizes={"train": 4, "test": 3},
    )


def test_a_gymnasium_world_passes_our_checker_and_is_solved_in_words():
    check_env(frozen_lake())
    env = frozen_lake()
    assert env.reset(Task(env="lake", split="test", index=2)).text == "You are in cell 0."
    nothing = env.step("swim")
    assert not nothing.valid and nothing.observation.text == "You are in cell 0."
    results = [env.step(action) for action in ("down", "down", "right", "right", "down", "right")]
    assert [r.success for r in results] == [False] * 5 + [True]
    assert results[-1].terminated and results[-1].reward == 1.0
    assert results[-1].observation.text == "You are in cell 15."


def test_our_step_limit_truncates_a_gymnasium_world():
    env = frozen_lake()
    env.reset(env.tasks("train")[0])
    results = [env.step("swim") for _ in range(20)]
    assert [r.truncated for r in results] == [False] * 19 + [True]


def _printed(code: str) -> str:
    """Return what a program prints that runs in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_without_gymnasium_the_extra_is_named():
    code = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "from himac.errors import MissingExtraError\n"
        "try:\n    import himac.envs.adapters.gymnasium\n"
        "except MissingExtraError as error:\n    print(error.hint)"
    )
    assert _printed(code) == "pip install 'himac[gym]'"


def test_worlds_import_neither_torch_nor_gymnasium():
    code = (
        "import sys, himac.envs.base as base\n"
        "for name in ('toy', 'sokoban'):\n"
        "    env = base.make_env(name, train=1); env.reset(env.tasks('train')[0])\n"
        "print([m for m in ('torch', 'gymnasium', 'gym', 'PIL') if m in sys.modules])"
    )
    assert _printed(code) == "[]"


class Dots(gymnasium.Env):
    """A dot on four cells, shown as a picture alone; the last cell is the goal."""

    observation_space = gymnasium.spaces.Box(0, 255, (8, 32, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell = 0
        return self._shown(), {}

    def step(self, action):
        self.cell = max(0, self.cell + (1 if action else -1))
        return self._shown(), float(self.cell == 3), self.cell == 3, False, {}

    def _shown(self):
        image = np.zeros((8, 32, 3), np.uint8)
        image[:, 8 * self.cell : 8 * self.cell + 8] = 255
        return image


def dots(**spec):
    said = {"rules": "Go right.", "example_subgoals": ("go right",), "max_steps": 6, "list_admissible": False}
    return FromGym(
        Dots(),
        spec=EnvSpec(name="dots", **said, splits=("train",), reward_success=1.0, **spec),
        actions={"left": 0, "right": 1},
        describe=lambda shown: "",
        picture=lambda shown: shown,
        is_success=lambda reward, terminated, info: terminated,
        sizes={"train": 3},
    )


def test_a_gymnasium_world_of_pictures_shows_them():
    env = dots(images=True, goal="reach the right end")
    check_env(env)
    first = env.reset(Task(env="dots", split="train", index=0))
    assert first.text == "" and first.image is not None and first.image[0, 0, 0] == 255
    moved = env.step("right").observation.image
    assert moved is not None and moved[0, 8, 0] == 255 and moved[0, 0, 0] == 0
    with pytest.raises(ConfigError, match=r"spec\.images is False, and picture is given"):
        dots()


class Words(gymnasium.Env):
    """Free text: say three colours in the order in which they were told; info lists what can be said."""

    metadata = {"render_modes": []}  # noqa: RUF012
    letters = "abcdefghijklmnopqrstuvwxyz "
    observation_space = gymnasium.spaces.Text(200, charset=letters + "\x1b[0123456789m:.,")
    action_space = gymnasium.spaces.Text(20, charset=letters)
    colours = ("red", "green", "blue")

    def __init__(self, *, lists: bool = True):
        self.lists = lists

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.told = [self.colours[i] for i in self.np_random.integers(3, size=3)]
        self.said = 0
        return "\x1b[31msay:\x1b[0m " + ", ".join(self.told) + ".", self._info()

    def step(self, action):
        right = action == f"say {self.told[self.said]}"
        self.said += right
        won = self.said == 3
        info = self._info() | {"won": won, "valid": action.startswith("say ")}
        return "right." if right else "no.", float(won), won, False, info

    def _info(self):
        return {"admissible_commands": [f"say {colour}" for colour in self.colours]} if self.lists else {}


class Cards(gymnasium.Env):
    """A Dict observation with a text and a picture; the world's end without reward is a loss."""

    observation_space = gymnasium.spaces.Dict(
        {
            "number": gymnasium.spaces.Discrete(9),
            "mission": gymnasium.spaces.Text(50),
            "image": gymnasium.spaces.Box(0, 255, (4, 4, 3), np.uint8),
        }
    )
    action_space = gymnasium.spaces.Discrete(2, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._shown(), {}

    def step(self, action):
        return self._shown(), float(action == 2), True, False, {}

    def _shown(self):
        return {"number": 3, "mission": "takethecard", "image": np.full((4, 4, 3), 7, np.uint8)}


gymnasium.register("test/Words-v0", Words, disable_env_checker=True)
gymnasium.register("test/Cards-v0", Cards, disable_env_checker=True)
SAID = {"rules": "Do as you are told.", "example_subgoals": ("say red",)}


def test_free_text_is_an_action_and_what_can_be_said_is_listed():
    check_env(make_gym(id="test/Words-v0", max_steps=9, **SAID))
    env = make_gym(id="test/Words-v0", max_steps=9, **SAID)
    task = env.tasks("val")[4]
    first = env.reset(task)
    assert first.text.startswith("say: ") and first.admissible == ("say red", "say green", "say blue")
    nothing = env.step("say pink")
    assert not nothing.valid and nothing.observation == first
    results = [env.step(f"say {colour}") for colour in first.text[5:-1].split(", ")]
    assert [r.success for r in results] == [False, False, True] and results[-1].reward == 1.0


def test_free_text_without_a_list_is_judged_by_the_space_and_by_the_world():
    env = make_gym(id="test/Words-v0", options={"lists": False}, **SAID)
    first = env.reset(env.tasks("train")[0])
    assert first.admissible is None
    assert not env.step("SAY RED!").valid  # not of the space: not passed on
    assert not env.step("shout red").valid  # the world says so
    assert env.step("say red").valid
    check_env(make_gym(id="test/Words-v0", options={"lists": False}, **SAID), actions=("say red", "say blue"))


def test_tasks_of_a_gymnasium_world_are_seeds_that_no_split_shares():
    env = make_gym(id="test/Words-v0", splits={"train": 5, "val": 3}, **SAID)
    seeds = [env.seed_of(task) for split in env.spec.splits for task in env.tasks(split)]
    assert len(seeds) == 8 == len(set(seeds))
    shown = {env.reset(task).text for task in env.tasks("train")}
    assert len(shown) > 2


def test_a_dict_shows_its_text_its_picture_or_both():
    made = {
        show: make_gym(id="test/Cards-v0", actions=("leave", "take"), show=show, **SAID)
        for show in ("text", "image", "both")
    }
    firsts = {show: env.reset(env.tasks("test")[0]) for show, env in made.items()}
    assert [firsts[show].text for show in made] == ["takethecard", "", "takethecard"]
    assert firsts["text"].image is None
    assert firsts["image"].image.shape == (4, 4, 3) and firsts["both"].image[0, 0, 0] == 7
    assert made["text"].step("take").success and not made["image"].step("leave").success
    for show in made:
        check_env(make_gym(id="test/Cards-v0", actions=("leave", "take"), show=show, **SAID))


def lake(**options):
    said = {
        "rules": "Cross the lake.",
        "example_subgoals": ("go down",),
        "actions": ("left", "down", "right", "up"),
    }
    return make_gym(
        id="FrozenLake-v1", options={"is_slippery": False, **options.pop("options", {})}, **said, **options
    )


def test_what_a_colour_marks_stands_in_brackets_and_no_escape_is_left():
    env = lake(options={"render_mode": "ansi"})
    assert env.reset(env.tasks("train")[0]).text.split() == ["[S]FFF", "FHFH", "FFFH", "HFFG"]
    assert env.step("down").observation.text.split() == ["(Down)", "SFFF", "[F]HFH", "FFFH", "HFFG"]
    check_env(lake(options={"render_mode": "ansi"}))


def test_a_rendered_picture_is_shown():
    pytest.importorskip("pygame", reason="gymnasium draws FrozenLake with pygame, which is not installed")
    env = lake(options={"render_mode": "rgb_array"}, show="image")
    first = env.reset(env.tasks("train")[0])
    assert first.text == "" and first.image.ndim == 3 and first.image.shape[2] == 3
    assert not np.array_equal(env.step("right").observation.image, first.image)


def taxi_in_words(shown, info, env):
    row, column, passenger, goal = env.unwrapped.decode(shown)
    where = ("at R", "at G", "at Y", "at B", "in the taxi")[passenger]
    return f"taxi at row {row} column {column}, passenger {where}, goal {'RGYB'[goal]}, chance {info['prob']}"


def test_describe_may_ask_info_and_env():
    env = FromGym(
        gymnasium.make("Taxi-v4"),
        spec=EnvSpec(
            name="taxi", max_steps=60, list_admissible=True, splits=("train",), reward_success=20.0, **SAID
        ),
        actions={"south": 0, "north": 1, "east": 2, "west": 3, "pick up": 4, "drop off": 5},
        describe=taxi_in_words,
        sizes={"train": 20},
    )
    text = env.reset(env.tasks("train")[1]).text
    assert text.startswith("taxi at row ") and text.endswith("chance 1.0")
    check_env(env)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (gymnasium.spaces.Discrete(2), r"the action space Discrete\(2\) needs names; allowed without: Text"),
        (gymnasium.spaces.Box(0, 1, (2,)), r"the action space Box\(.*\) needs names; allowed without: Text"),
    ],
)
def test_an_action_space_without_names_is_refused_in_a_line(space, message):
    env = Dots()
    env.action_space = space
    with pytest.raises(ConfigError, match=message) as caught:
        FromGym(env, spec=dots(images=True).spec, sizes={"train": 3})
    assert "\n" not in str(caught.value)


def test_what_cannot_be_shown_or_made_is_refused_in_a_line():
    with pytest.raises(ConfigError, match=r"no text in the observation space Discrete\(16\)"):
        lake()
    with pytest.raises(ConfigError, match=r"no picture in the observation space Discrete\(16\)"):
        lake(options={"render_mode": "ansi"}, show="image")
    with pytest.raises(ConfigError, match="gymnasium cannot make 'FrozenLak-v1'"):
        make_gym(id="FrozenLak-v1", **SAID)
    with pytest.raises(
        ConfigError, match="names 3 actions, and the action space of test/Cards-v0 is Discrete"
    ):
        make_gym(id="test/Cards-v0", actions=("a", "b", "c"), **SAID)
    with pytest.raises(ConfigError, match=r"env\.describe must be package\.module:function, got 'words'"):
        make_gym(id="test/Words-v0", describe="words", **SAID)


def test_a_recipe_names_a_gymnasium_world_and_its_settings_are_checked():
    env = make_env(
        "gym",
        id="FrozenLake-v1",
        options={"render_mode": "ansi"},
        actions=["left", "down", "right", "up"],
        **SAID,
    )
    assert env.spec.name == "FrozenLake-v1"
    with pytest.raises(
        ConfigError, match=r"env\.show must be one of 'text', 'image', 'both', got 'pictures'"
    ):
        make_env("gym", id="FrozenLake-v1", show="pictures", **SAID)
    with pytest.raises(ConfigError, match=r"env\.id has to be given"):
        make_env("gym", **SAID)
    with pytest.raises(ConfigError, match=r"env\.rules has to be given: himac does not know 'CartPole-v1'"):
        make_env("gym", id="CartPole-v1")
