"""himac's worlds in gymnasium, and gymnasium's in himac."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env as gym_check_env  # noqa: E402

from himac.envs.base import make_env, make_expert  # noqa: E402
from himac.envs.check import check_env  # noqa: E402
from himac.envs.gym_adapter import FromGym, ToGym  # noqa: E402
from himac.errors import ConfigError  # noqa: E402
from himac.types import EnvSpec, Task  # noqa: E402

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


def test_without_gymnasium_the_extra_is_named():
    code = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "from himac.errors import MissingExtraError\n"
        "try:\n    import himac.envs.gym_adapter\n"
        "except MissingExtraError as error:\n    print(error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pip install 'himac[gym]'"


def test_worlds_import_neither_torch_nor_gymnasium():
    code = (
        "import sys, himac.envs.base as base\n"
        "for name in ('toy', 'sokoban'):\n"
        "    env = base.make_env(name, train=1); env.reset(env.tasks('train')[0])\n"
        "print([m for m in ('torch', 'gymnasium', 'gym', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
