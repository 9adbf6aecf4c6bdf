"""Settings: sparse recipes, dotted overrides, and one clear line for every mistake."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.config import Config, config_from_dict, differences, load_config, overlay, to_toml
from himac.errors import ConfigError, HimacError, MissingFileError
from himac.recipes import HOME
from himac.toml import flat
from himac.train.checks import check

RECIPES = [p for p in sorted(HOME.glob("*.toml")) if not p.stem.startswith("compare-")]  # those are plans


def test_the_resolved_config_reads_back_to_itself() -> None:
    config = load_config(
        None,
        ["env.size=[7, 7]", 'run.sinks=["wandb"]', "optimizer.lr=1e-5", "sft.noise=0.2", 'run.name=a "b"'],
    )
    assert config_from_dict(tomllib.loads(to_toml(config))) == config


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_every_shipped_recipe_is_valid(recipe: Path) -> None:
    assert load_config(recipe) != Config()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimizer.lrr=1", "unknown key 'optimizer.lrr'"),
        ("optin.lr=1", "unknown section [optin]"),
        (
            "rollout.group_size=1",
            "rollout.group_size must be at least 2 for estimator 'group_relative', got 1",
        ),
        ("algo.gamma=1.5", "algo.gamma is called algo.estimator_settings.gamma now"),
        ("algo.clip_low=0.1", "there is no setting algo.clip_low any more"),
        ("optim.lr=1", "optim.lr is called optimizer.lr now"),
        ("optimizer.lr=nan", "optimizer.lr must be finite, got nan"),
        ("algo.clip=[0.2]", "algo.clip must be a list of 2: float, float, got [0.2] (list)"),
        (
            "algo.estimator=gigpo algo.estimator_settings.gamma=1.5",
            "algo.estimator_settings.gamma must be at most 1, got 1.5",
        ),
        (
            "algo.estimator=gigpo algo.estimator_settings.gama=1",
            "unknown key 'algo.estimator_settings.gama'; known: gamma, step_weight, normalise; did you mean 'gamma'?",
        ),
        (
            "algo.estimator=gigpoo",
            "unknown estimator 'gigpoo'; known: group_relative, group_mean, rloo, gigpo, gigpo_mean, ppo, deletion, subgoal; did you mean 'gigpo'?",
        ),
        (
            "algo.method=himak",
            "unknown agent 'himak'; known: himac, flat, himac-replan, one-stream, react, reflexion; did you mean 'himac'?",
        ),
        ("optimizer.lr=fast", "optimizer.lr must be float, got 'fast' (str)"),
        ("run.iterations=1.5", "run.iterations must be int, got 1.5 (float)"),
        ("run.save_episodes=1", "run.save_episodes must be bool, got 1 (int)"),
        ("nonsense", "cannot read 'nonsense'"),
        ("sft.noise=0.95", "sft.noise must be at most 0.9, got 0.95"),
    ],
)
def test_mistakes_say_what_was_got_and_what_is_allowed(word: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(load_config(None, word.split()))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_recipe_and_broken_toml_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no recipe at"):
        load_config(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("[run\n")
    with pytest.raises(HimacError, match="not valid TOML"):
        load_config(bad)


def test_other_keys_of_the_env_table_belong_to_the_environment(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[env]\nname = "sokoban"\nboxes = 2\n')
    config = load_config(recipe, ["env.size=[7,7]"])
    assert config.env.settings == {"boxes": 2, "size": [7, 7]}


def test_another_environment_forgets_the_old_one_s_settings() -> None:
    config = load_config(None, ["env=sokoban", "env.boxes=2", "optimizer.lr=3e-4"])
    moved = overlay(config, ["env=toy", "split=test"])
    assert moved.env.settings == {} and moved.eval.split == "test" and moved.optimizer.lr == 3e-4
    assert overlay(config, ["env.boxes=3"]).env.settings == {"boxes": 3}


def test_differences_name_default_and_value() -> None:
    assert differences(load_config(None, ["optimizer.lr=1e-4"]), Config()) == {"optimizer.lr": (1e-6, 1e-4)}


def test_there_are_not_more_settings_than_a_person_can_read() -> None:
    count = len(flat(asdict(Config())))
    assert count <= 97


def test_a_kl_coefficient_is_one_number_or_each_role_s() -> None:
    algo = load_config(None, ["algo.kl_coef=[0.5, 0.0]"]).algo
    assert (algo.kl_of("planner"), algo.kl_of("executor"), algo.has_kl) == (0.5, 0.0, True)
    assert load_config(None, ["algo.kl_coef=0.25"]).algo.kl_of("planner") == 0.25
    assert not load_config(None, ["algo.kl_coef=[0.0, 0.0]"]).algo.has_kl
    for wrong in ("[0.1]", "[0.1, -1.0]", "[0.1, 0.2, 0.3]", "-0.1", "high"):
        with pytest.raises(ConfigError, match="kl_coef"):
            load_config(None, [f"algo.kl_coef={wrong}"])


def test_an_engine_s_settings_are_its_own() -> None:
    config = load_config(None, ["engine.max_kv_tokens=4096"])
    assert config.engine.name == "transformers" and config.engine.settings == {"max_kv_tokens": 4096}
    assert config_from_dict(tomllib.loads(to_toml(config))) == config
    assert overlay(config, ["engine.name=my.engines:Mine"]).engine.settings == {}
    with pytest.raises(ConfigError, match=r"rollout.engine is called engine.name now"):
        load_config(None, ["rollout.engine=transformers"])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_the_schema_for_editors_marks_nothing_in_a_shipped_recipe(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    for section, table in tomllib.loads(recipe.read_text(encoding="utf-8")).items():
        part = schema["$defs"][schema["$defs"]["Config"]["properties"][section]["$ref"].rpartition("/")[2]]
        assert part["additionalProperties"] or set(table) <= set(part["properties"])


def test_an_aggregation_is_a_word_or_the_number_of_a_constant() -> None:
    assert load_config(None, ["algo.aggregation=512"]).algo.aggregation == 512
    assert load_config(None, ["algo.aggregation=token"]).algo.aggregation == "token"
    for wrong in ("0", "tokens", "1.5"):
        with pytest.raises(ConfigError, match=r"algo\.aggregation must be"):
            load_config(None, [f"algo.aggregation={wrong}"])


def test_one_number_where_two_are_wanted_is_told_how_two_are_written() -> None:
    with pytest.raises(
        ConfigError, match=r"algo\.minibatches must be a list of 2: int, int, got 4"
    ) as caught:
        load_config(None, ["algo.minibatches=4"])
    assert caught.value.hint == "one number each: algo.minibatches = [4, 4]"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("size=8", "env.size=8"),
        ("iterations=5", "run.iterations=5"),
        ("lr=1e-3", "optimizer.lr=1e-3 or sft.lr=1e-3"),
    ],
)
def test_a_key_without_its_section_is_told_which_it_may_be(word: str, meant: str) -> None:
    with pytest.raises(ConfigError, match="cannot read") as caught:
        load_config(None, [word])
    assert caught.value.hint == f"did you mean {meant}?"
