"""What people's files, worlds and servers really hold: each once made himac fail, and is one line or harmless now."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import himac
from himac.cli.main import main
from himac.config import load_config, to_toml
from himac.envs.sokoban.levels import find_levels, read_levels
from himac.errors import ConfigError, DataError, ModelError
from himac.models.load import load_model
from himac.models.tiny import TinyShape, build_tiny
from himac.report.packed import dumps
from himac.rollout.episode import state_key
from himac.text import clean, line, whole
from himac.types import Observation, StepResult

BOARD = "; 0\n#####\n#@$.#\n#####\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "good"
    build_tiny(folder, ["go east"], TinyShape(hidden=32, layers=1, heads=1, kv_heads=1), vocab=400)
    return folder


def _write(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda home: (home / name).write_bytes(data)


def _config(**given: Any) -> Callable[[Path], object]:
    def edit(home: Path) -> None:
        held = json.loads((home / "config.json").read_text())
        (home / "config.json").write_text(json.dumps(held | given))

    return edit


def _drop(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    weights.pop(next(name for name in weights if "layers.0" in name))
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda home: (home / "model.safetensors").unlink(), "no file named model.safetensors"),
        (lambda home: _write("model.safetensors", (home / "model.safetensors").read_bytes()[:5000])(home), "cannot load the model"),
        (_write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "is a Git LFS pointer"),
        (_config(hidden_size=64), "cannot load the model"),
        (lambda home: _drop(home / "model.safetensors"), "are not whole: 1 of its tensors are missing, model.layers.0."),
        (_write("config.json", b"[" * 100_000), "cannot load the model"),
        (_write("tokenizer.json", b"[]"), "cannot load the model"),
        (_write("adapter_config.json", b"{"), "adapter_config.json is damaged"),
        (_write("adapter_config.json", b'{"peft_type": "LORA"}'), "adapter_config.json is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_model_folder_is_one_line(
    model: Path, tmp_path: Path, damage: Callable[[Path], object], told: str
) -> None:
    pytest.importorskip("peft")
    home = tmp_path / "model"
    shutil.copytree(model, home)
    damage(home)
    with pytest.raises(ModelError) as caught:
        load_model(str(home))
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_called_so(model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    home = tmp_path / "model"
    shutil.copytree(model, home)
    weights = load_file(home / "model.safetensors")
    next(iter(weights.values()))[0] = math.nan
    save_file(weights, home / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="are not finite"):
        load_model(str(home))


def test_a_prompt_is_cut_to_what_the_model_takes(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "model"
    shutil.copytree(model, home)
    _config(max_position_embeddings=128)(home)
    words = ["env=toy", "split=val", "eval.tasks=1", "agent.max_steps=2", f"run.dir={tmp_path}"]
    assert main(["eval", str(home), *words]) == 0
    assert "longer than model.max_prompt, or than the model takes" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["localhost:8000/v1#m", "my-server/v1#m", "10.0.0.7:80"])
def test_an_address_without_a_scheme_is_taken_for_one(address: str) -> None:
    with pytest.raises(ModelError, match="looks like an endpoint's address") as caught:
        load_model(address)
    assert f"http://{address}" in caught.value.hint


def test_level_files_are_read_as_people_have_them(tmp_path: Path) -> None:
    files = {
        "mark.txt": b"\xef\xbb\xbf" + BOARD.encode(),
        "up/A.TXT": BOARD.replace("\n", "\r\n").encode(),
        "xsb/a.xsb": f"Level #1\n\n{BOARD}Title: no. 1 #x\nAuthor: me\n{BOARD}".encode(),
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert len(read_levels(tmp_path / "mark.txt")) == 1
    assert sum(map(len, find_levels(tmp_path / "up").values())) == 1
    assert len(read_levels(tmp_path / "xsb/a.xsb")) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("#####\n#@$Z#\n#####\n", "unknown symbol 'Z' at row 2 column 4"),
        ("#" * 5000 + "\n#@$.#\n" + "#" * 5000, "at most 64 rows and columns"),
        ("#" * 1_000_000, "at most 64 rows and columns"),
        ("hello\nworld\n", "holds no Sokoban level"),
    ],
)
def test_a_board_that_is_none_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=told):
        read_levels(tmp_path / "a.txt")


def test_every_action_that_a_shop_lists_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path / "cache"))
    odd = {"B00000OP01": "[size] x", "B00000OP02": "new\nline", "B00000OP03": ""}
    items = [
        {
            "asin": asin, "name": f"Shoe {asin}", "category": "fashion", "query": "shoes", "product_category": "A", "pricing": "$10.00",
            "small_description": ["x"], "full_description": "d", "customization_options": {"color": [{"value": value}, {"value": "red"}]},
        }
        for asin, value in odd.items()
    ]  # fmt: skip
    goal = {"attributes": ["soft"], "instruction": "Find me soft shoes", "instruction_attributes": ["soft"]}
    (tmp_path / "i.json").write_text(json.dumps(items))
    (tmp_path / "n.json").write_text(json.dumps(dict.fromkeys(odd, goal)))
    env = himac.make_env("webshop", items=str(tmp_path / "i.json"), instructions=str(tmp_path / "n.json"))
    task = env.tasks("test")[0]

    def page(asin: str) -> Observation:
        env.reset(task)
        env.step("search[shoe]")
        return env.step(f"click[{asin.lower()}]").observation

    for asin in odd:
        listed = page(asin).admissible or ()
        assert "click[red]" in listed
        for action in listed:
            page(asin)
            assert env.step(action).valid, action


@pytest.mark.parametrize("reward", [math.nan, math.inf, None, "x"])
def test_a_reward_that_is_no_number_ends_its_episode_alone(model: Path, tmp_path: Path, reward: Any) -> None:
    from himac.rollout.collect import EpisodeRunner
    from himac.rollout.episode import Job
    from himac.train.components import Components

    words = ["env=toy", "agent.think=false", "method=flat", "agent.max_steps=3", "agent.executor_tokens=8"]
    config = load_config(None, words)
    parts = Components(config, model)
    step = type(parts.env).step

    class Odd:
        def __init__(self) -> None:
            self.inner = himac.make_env("toy")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def step(self, action: str) -> StepResult:
            return dataclasses.replace(step(self.inner, action), reward=reward)

    from himac.agents.base import GREEDY

    runner = EpisodeRunner(
        lambda: Odd(), parts.engine, chat=parts.chat, cfg=config.agent, max_live=2, max_prompt=1024
    )  # type: ignore[arg-type,return-value]
    jobs = [
        Job(task=parts.env.tasks("train")[i], replica=0, agent=parts.collector.agent(GREEDY), seed=i)
        for i in (0, 1)
    ]
    for live in jobs:  # whatever is said is an action
        live.agent.receive = lambda text, agent=live.agent: dataclasses.replace(
            type(agent).receive(agent, text), action="look"
        )  # type: ignore[method-assign,misc]
    episodes = runner.run(jobs)
    assert {e.stop.value for e in episodes} == {"env_error"} and all(e.env_return == 0 for e in episodes)


def test_text_from_outside_is_made_harmless() -> None:
    assert state_key(Observation(text="x \ud83d y")) == state_key(Observation(text="x ? y"))
    assert (whole("x \ud83d y"), line("a\n\x1b[2J b")) == ("x ? y", "a ␛[2J b")
    assert not set("\x1b\x07\u202e\u2066\x9b\ud800") & set(clean("a\x1b]0;PWN\x07\u202e\u2066\x9b\ud800b"))
    assert dumps({"reward": math.nan, "x": [math.inf, 1]}) == '{"reward":null,"x":[null,1]}'


def test_a_world_that_breaks_its_characters_trains_is_kept_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a surrogate pair has no UTF-8: it must reach neither a tokenizer, nor a file, nor a terminal."""
    (tmp_path / "broken_world.py").write_text(
        "import dataclasses\n"
        "from himac.envs.toy import ToyEnv\n"
        "def broken(seen):\n"
        "    return dataclasses.replace(seen, text='x \\ud83d y ' + seen.text)\n"
        "class Broken(ToyEnv):\n"
        "    def __init__(self):\n"
        "        super().__init__(doors=1, max_steps=20, sizes={'train': 2, 'val': 2, 'test': 2})\n"
        "    def reset(self, task, **seed):\n"
        "        return broken(super().reset(task, **seed))\n"
        "    def step(self, action):\n"
        "        result = super().step(action)\n"
        "        return dataclasses.replace(result, observation=broken(result.observation))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = load_config(
        None,
        [
            "env=broken_world:Broken", "model=tiny", "model.tiny=[32,1,400]", "agent.think=false", "agent.max_steps=2",
            "agent.planner_tokens=8", "agent.executor_tokens=8", "run.iterations=1", "sft.demonstrations=4", "rollout.tasks=1", "rollout.group_size=2",
            "rollout.executor_group_size=2", "eval.tasks=2", "eval.every=1", f"run.dir={str(tmp_path)!r}", "run.name=run",
        ],
    )  # fmt: skip
    assert himac.train(config).state.iteration == 1
    assert "x ? y" in (tmp_path / "run" / "episodes.jsonl").read_text(encoding="utf-8")
    assert main(["show", str(tmp_path / "run")]) == 0
    assert "x ? y" in capsys.readouterr().out


@pytest.mark.parametrize(
    "word",
    [
        "optimizer.lr=nan", "optimizer.betas=[nan,0.9]", "optimizer.betas=[0.9,1.0]", "rollout.judge=[1,inf]", "env.size=[inf,6]",
        "env.x={a=[nan]}", f"run.seed={'9' * 5000}", "env.a=" + "[" * 3000, "env.settings=3", "env.size=[5000,5000]", "env.train=99999999999999",
        "rollout.tasks=99999999", "env=..:x", "agent.prompts=../../etc/passwd",
    ],
)  # fmt: skip
def test_a_setting_that_no_run_survives_is_one_line(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "env=sokoban", word]) == 2
    assert len(capsys.readouterr().err.splitlines()) <= 2


@pytest.mark.parametrize(
    "word", ["env.d=1979-05-27", "env.a={b=1}", 'env.s="a\\nb\\u007f"', "env.l=[[1],[2.5]]"]
)
def test_what_a_config_prints_reads_back(word: str, tmp_path: Path) -> None:
    config = load_config(None, ["env=my_world:Env", word])
    (tmp_path / "a.toml").write_text(to_toml(config), encoding="utf-8")
    assert load_config(tmp_path / "a.toml") == config


def test_a_recipe_may_begin_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf[run]\nseed = 3\n")
    assert load_config(tmp_path / "a.toml").run.seed == 3
    (tmp_path / "b.toml").write_bytes(b"a = " + b"[" * 100_000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(tmp_path / "b.toml")
