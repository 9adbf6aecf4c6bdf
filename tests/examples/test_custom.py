"""A world, an estimator and an agent of a user's own, by import path, from a folder that himac knows nothing of."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import himac
from himac.config import load_config
from himac.envs.base import make_env
from himac.errors import ConfigError
from himac.train.checks import check

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL = [
    "run.iterations=1", "run.dir=.", "sft.demonstrations=32", "model.tiny=[64,1,512]", "rollout.tasks=2",
    "rollout.group_size=2", "rollout.executor_group_size=2", "eval.tasks=2", "eval.every=1", "agent.max_steps=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, outside the checkout."""
    home = tmp_path_factory.mktemp("user")
    for path in EXAMPLES.glob("custom_*"):
        shutil.copy(path, home)
    return home


def _himac(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from himac.cli.main import main; sys.exit(main(sys.argv[1:]))",
            *words,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_world_and_its_expert_keep_their_promises(folder: Path) -> None:
    said = _himac(folder, "check", "env=custom_env:Lamps", "env.lamps=4")
    assert "env        custom_env:Lamps: ok" in said and "expert     ok" in said


def test_every_verb_takes_the_world_by_its_import_path(folder: Path) -> None:
    _himac(folder, "train", "custom_env.toml", "run.name=lamps", *SMALL)
    assert "| val" in _himac(folder, "eval", "./lamps", "split=val")
    assert "Light every lamp." in _himac(folder, "play", "--model", "./lamps")
    assert "report.html" in _himac(folder, "report", "./lamps")
    assert "himac" in _himac(folder, "compare", "./lamps").lower()
    (folder / "lamps" / "curve.png").unlink()  # else it is finished, and says so
    assert "resuming lamps after iteration 1" in _himac(folder, "train", "--resume", "./lamps")


def test_an_agent_and_an_estimator_train_by_import_path(folder: Path) -> None:
    words = [
        "method=custom_agent:HurriedAgent",
        "algo.estimator=custom_estimator:MedianBaseline",
        "algo.estimator_settings.scale=2",
    ]
    assert "estimator  custom_estimator:MedianBaseline: ok" in _himac(folder, "check", "env=toy", words[1])
    said = _himac(folder, "train", "custom_env.toml", "run.name=hurried", *words, *SMALL)
    assert "| flat |" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env=custom_env:Lamps", "env.lamps=three"], "env.lamps must be int, got 'three' (str)"),
        (["env=custom_env:Lamps", "env.lamp=3"], "unknown key 'env.lamp'; known: name, lamps, max_steps; did you mean 'lamps'?"),
        (["env=custom_env:Lamp"], "env 'custom_env:Lamp': module 'custom_env' has no attribute 'Lamp'"),
        (["env=no_such:World"], "env 'no_such:World': no module 'no_such'"),
        (["env=sokobann"], "did you mean 'sokoban'?"),
        (["env=toy", "algo.estimator=custom_estimator:MedianBaseline", "algo.estimator_settings.scale=-1"], "must be at least 0, got -1"),
        (["env=toy", "agent.prompts=no_such.toml"], "agent.prompts: no file at 'no_such.toml'"),
    ],
)  # fmt: skip
def test_what_a_run_would_refuse_is_refused_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ConfigError) as caught:
        check(load_config(None, words))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_words_said_to_a_model_can_be_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from himac.agents.hierarchical import HierarchicalAgent
    from himac.agents.prompts import DEFAULT, load_prompts
    from himac.config import AgentConfig

    (folder / "words.toml").write_text('planner = "Plane. {rules} Höchstens {max_subgoals}: {example}"\n')
    (folder / "words_module.py").write_text('finish = "bring it home"\n')
    (folder / "wrong.toml").write_text('planner = "{task}"\n')
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    env = make_env("toy")
    agent = HierarchicalAgent(env.spec, AgentConfig(prompts="words.toml", max_subgoals=3))
    agent.start(env.reset(env.tasks("train")[0]))
    assert agent.ask().messages[0].content.startswith("Plane. ")
    assert load_prompts("words_module").finish == "bring it home"
    assert load_prompts("words_module").planner == DEFAULT.planner
    with pytest.raises(
        ConfigError, match=r"fills in \{task\}; it may fill in \{example\}, \{max_subgoals\}, \{rules\}"
    ):
        load_prompts("wrong.toml")


def test_the_python_door_trains_goes_on_and_evaluates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    config = himac.load_config("custom_env.toml", [*SMALL, "run.name=door"])
    outcome = himac.train(config)
    assert outcome.folder == Path("door") and outcome.state.iteration == 1
    assert himac.train(config).state == outcome.state  # finished: nothing is left to do
    found = himac.evaluate(outcome.folder, ["split=val", "eval.tasks=3"])
    assert found.summary["episodes"] == len(found.episodes) == 3
