"""A run folder of himac 0.1.0 is read by everything that reads runs, in today's words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from himac.cli.main import main
from himac.config import FORMAT, load_config, to_toml
from himac.errors import ConfigError
from himac.learner.checkpoint import find
from himac.learner.learner import Learner
from himac.report.episode_index import find_lines
from himac.report.page import build_report
from himac.runs.episodes import read_episode
from himac.runs.folder import CONFIG, EPISODES, METRICS, read_rows
from himac.runs.formats import load_saved

OLD = Path(__file__).parent / "run-of-0.1.0"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_its_config_says_the_same_in_today_s_words() -> None:
    assert "\nformat = " not in "\n" + (OLD / CONFIG).read_text()
    config = load_saved(OLD / CONFIG)
    assert (config.agent.planner_tokens, config.agent.executor_tokens) == (32, 12)
    assert config.optimizer.lr == 1e-3 and config.algo.clip == (0.2, 0.2)
    assert config.algo.estimator == "subgoal"
    assert config.algo.estimator_settings == {"gamma": 0.9, "step_weight": 0.5, "base": "group_relative"}
    assert config.env.settings == {"doors": 1}


def test_a_recipe_in_the_old_words_is_refused_with_the_new_name() -> None:
    with pytest.raises(ConfigError, match=r"run\.max_minutes is called budget\.minutes now"):
        load_config(OLD / CONFIG)


def test_its_rows_are_the_planner_s_and_the_executor_s() -> None:
    assert [row["phase"] for row in read_rows(OLD / METRICS)] == ["eval", "planner", "executor", "eval"]
    rows = list(read_rows(OLD / EPISODES))
    episodes = [read_episode(row) for row in rows]
    assert {turn.role for episode in episodes for turn in episode.turns} == {"planner", "executor"}
    assert {row["phase"] for row in rows} == {"eval", "planner", "executor"}
    assert all(
        episode.planning is not None for row, episode in zip(rows, episodes) if row["phase"] != "executor"
    )
    assert {line.key[1] for line in find_lines(OLD)} == {"eval", "planner", "executor"}


def test_report_show_watch_plot_and_compare_read_it(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_report([old], old / "report.html")
    assert main(["show", str(old), "--phase", "planner"]) == 0
    assert "blueprint" in capsys.readouterr().out
    assert main(["watch", str(old), "--once"]) == 0
    assert "1" in capsys.readouterr().out
    assert main(["plot", str(old)]) == 0
    assert (old / "curves.png").is_file()


def test_a_config_names_its_format_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / CONFIG
    path.write_text(to_toml(load_config()))
    assert path.read_text().startswith(f"format = {FORMAT}\n") and load_saved(path) == load_config()
    path.write_text(f"format = {FORMAT + 1}\n")
    with pytest.raises(ConfigError, match=f"has format {FORMAT + 1}"):
        load_saved(path)


def test_an_optimizer_state_of_the_old_spelling_is_taken_back(tmp_path: Path) -> None:
    from himac.config import AlgoConfig, ModelConfig, OptimizerConfig
    from himac.learner.policy import Policy
    from himac.testing import tiny_model

    tiny_model(tmp_path / "model", ["hello there"])
    policy = Policy.load(tmp_path / "model", ModelConfig(), device=torch.device("cpu"))
    learner = Learner(policy, OptimizerConfig(), AlgoConfig())
    old = learner._optimizer("any").state_dict()
    learner.save(tmp_path)
    (tmp_path / "optimizer.pt").unlink()
    torch.save({"optimiser": old, "num_steps": 7}, tmp_path / "optimiser.pt")
    again = Learner(policy, OptimizerConfig(shared_state=True), AlgoConfig())
    again.load(tmp_path)
    assert again.version == 7 and again._steps == {"shared": 7} and find(tmp_path) is None


def test_a_run_that_goes_on_learns_as_it_did() -> None:
    config = load_saved(OLD / CONFIG)
    assert config.optimizer.shared_state and config.algo.drop_flat_groups
