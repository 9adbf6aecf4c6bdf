"""Files: what is read, skipped and reported; the cache; goals, splits and protocols."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from webshop_cases import INSTRUCTIONS, ITEMS, write_shop

from himac.envs.base import make_env
from himac.envs.webshop import catalogue
from himac.envs.webshop.records import Product, Report, clean, read_objects
from himac.errors import ConfigError, DataError, MissingFileError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "webshop"


def _read(path: Path) -> tuple[list[dict[str, Any]], Report]:
    report = Report()
    return list(read_objects(path, report)), report


def test_damaged_products_are_skipped_reported_and_the_rest_is_kept(tmp_path: Path) -> None:
    text = json.dumps(ITEMS)
    path = tmp_path / "items.json"
    path.write_text(text.replace('"Alder Suede Loafers"', '"Alder Suede'))
    items, report = _read(path)
    assert {"B00SHOE001", "B00LAMP001", "B00TEA0001"} <= {item.get("asin") for item in items}
    assert report.counts["damaged JSON"] >= 1
    path.write_text(text[: len(text) - 100])
    items, report = _read(path)
    assert [item["asin"] for item in items][:3] == ["B00SHOE001", "B00SHOE002", "B00LAMP001"]
    assert report.counts["damaged JSON"] == 1


def test_json_lines_are_read_and_bad_lines_skipped(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    lines = [json.dumps(ITEMS[0]), '{"asin": broken', json.dumps(ITEMS[1]), "12", json.dumps(ITEMS[2])]
    path.write_text("\n".join(lines))
    items, report = _read(path)
    assert [item["asin"] for item in items] == ["B00SHOE001", "B00SHOE002", "B00LAMP001"]
    assert set(report.counts) == {"damaged JSON", "not a JSON object"}


def test_files_larger_than_a_reading_chunk_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps(ITEMS, indent=1))
    monkeypatch.setattr("himac.envs.webshop.records._CHUNK", 97)
    items, report = _read(path)
    assert items == ITEMS and not report.counts


def _clean(**changes: Any) -> tuple[Product, Report]:
    report = Report()
    return next(clean([{**ITEMS[0], **changes}], INSTRUCTIONS, report)), report


@pytest.mark.parametrize(
    ("pricing", "prices", "reported"),
    [
        ("$12.50", (12.5,), False),
        ("$1,299.00 - $2,000.50 ($3.10)", (1299.0, 2000.5), False),
        ("", (100.0,), False),
        (None, (100.0,), False),
        (19, (19.0,), False),
        ("free", (100.0,), True),
        ("$", (100.0,), True),
        ("$1.2.3", (100.0,), True),
        ({"usd": 3}, (100.0,), True),
    ],
)
def test_prices(pricing: Any, prices: tuple[float, ...], reported: bool) -> None:
    product, report = _clean(pricing=pricing)
    assert (product.prices, bool(report.counts)) == (prices, reported)


@pytest.mark.parametrize(
    ("options", "expected", "reported"),
    [
        ({"Color": [{"value": " Red/Blue "}]}, {"color": ("red | blue",)}, False),
        ({"Size": None, "Fit": []}, {"fit": ()}, False),
        ({"Size": [7, "8", {"value": 9.5}]}, {"size": ("7", "8", "9.5")}, False),
        ({"Size": [{"value": None}, {"label": "x"}, [1]]}, {"size": ()}, True),
        (["red"], {}, True),
        ("", {}, False),
    ],
)
def test_options_of_odd_types(options: Any, expected: dict[str, tuple[str, ...]], reported: bool) -> None:
    product, report = _clean(customization_options=options)
    assert (product.options, bool(report.counts)) == (expected, reported)


def test_products_without_id_or_name_and_repeated_ones_are_skipped() -> None:
    report = Report()
    odd: list[dict[str, Any]] = [{}, {"asin": "nan", "name": "x"}, {"asin": "B" * 11, "name": "x"}]
    odd += [
        {"asin": "B1"},
        {"asin": "B2", "name": "x"},
        {"asin": "B2", "name": "y"},
        {"asin": 3, "name": "x"},
    ]
    assert [product.asin for product in clean(odd, {}, report)] == ["B2"]
    assert report.counts == {
        "product without a usable asin": 4,
        "product without a name": 1,
        "repeated asin": 1,
    }


def test_half_a_surrogate_pair_and_control_characters_survive_loading(tmp_path: Path) -> None:
    items = [{**ITEMS[0], "name": "Shoe \x07\x1b[31m \x00", "full_description": "\ud83d broken"}]
    with_odd = make_env("webshop", **write_shop(tmp_path, items))
    with_odd.reset(with_odd.tasks("test")[0])
    with_odd.step("search[shoe]")
    text = with_odd.step("click[b00shoe001]").observation.text
    assert "Shoe \x07\x1b[31m \x00" in text
    assert "? broken" in with_odd.step("click[description]").observation.text


def test_the_whole_shop_warns_once_about_what_it_skipped(tmp_path: Path) -> None:
    settings = write_shop(tmp_path, [*ITEMS, {"asin": "B9"}])
    with pytest.warns(UserWarning, match=r"1 x product without a name \(first: B9\)"):
        assert make_env("webshop", **settings).shop.size == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no usable product"),
        ("[]", "holds no usable product"),
        ("\x00\x01\x02 not json", "holds no usable product: 1 x damaged JSON"),
        ('[{"asin": "B1"}]', "1 x product without a name"),
    ],
)
def test_a_file_without_products_is_a_clear_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "items.json").write_text(content)
    with pytest.raises(DataError, match=message):
        make_env("webshop", items=tmp_path / "items.json")


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nothing\.json"):
        make_env("webshop", items=tmp_path / "nothing.json")
    settings = write_shop(tmp_path)
    (tmp_path / "instructions.json").write_text("{broken")
    with pytest.raises(DataError, match=r"instructions\.json is not valid JSON"):
        make_env("webshop", **settings)
    (tmp_path / "instructions.json").write_text("[]")
    with pytest.raises(DataError, match="must hold a JSON object keyed by product id, got a list"):
        make_env("webshop", **settings)


def test_the_second_load_comes_from_the_cache_and_is_the_same(tmp_path: Path, cache: Path) -> None:
    settings = {name: Path(path) for name, path in write_shop(tmp_path).items()}
    first = catalogue.from_files(**settings)
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.*")}
    second = catalogue.from_files(**settings)
    assert files == {path: path.stat().st_mtime_ns for path in cache.rglob("*.*")} and files
    assert [first[i] for i in range(4)] == [second[i] for i in range(4)]
    assert first.search("loafers slip") == second.search("loafers slip") == (0, 1)


@pytest.mark.parametrize("damage", ["records.bin", "documents.npy", "header.json", "manifest.json"])
def test_a_damaged_cache_is_built_again(tmp_path: Path, cache: Path, damage: str) -> None:
    settings = {name: Path(path) for name, path in write_shop(tmp_path).items()}
    before = catalogue.from_files(**settings)[0]
    (path,) = cache.rglob(damage)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert catalogue.from_files(**settings)[0] == before
    assert path.read_bytes() != bytes(content)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    settings = {name: Path(path) for name, path in write_shop(tmp_path).items()}
    assert len(catalogue.from_files(**settings)) == 4
    settings["items"].write_text(json.dumps(ITEMS[:2]))
    assert len(catalogue.from_files(**settings)) == 2


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc").exists(), reason="needs an unwritable folder")
def test_an_unwritable_cache_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path / "file"))
    settings = {name: Path(path) for name, path in write_shop(tmp_path).items()}
    assert len(catalogue.from_files(**settings)) == 4


def test_a_product_whose_option_has_no_value_has_no_goal_but_keeps_the_draws_in_step(tmp_path: Path) -> None:
    empty = {**ITEMS[0], "customization_options": {"Color": []}}
    env = make_env("webshop", **write_shop(tmp_path, [empty, *ITEMS[1:]]))
    goals = [env.shop.goal(task)[0] for task in env.tasks("test")]
    assert [goal.product.asin for goal in goals] == ["B00TEA0001"]
    assert len(env.shop.goals.prices(42).limits) == 2


def test_unknown_ids_are_not_found_and_skipped_in_human_goals(tmp_path: Path) -> None:
    human = {
        "B00NOTHERE": [
            {"instruction": "a ghost", "instruction_attributes": ["x"], "instruction_options": []}
        ],
        "B00TEA0001": [
            {
                "instruction": "i want tea.",
                "instruction_attributes": ["caffeine free"],
                "instruction_options": [],
            },
            {"instruction": "no attributes", "instruction_attributes": [], "instruction_options": []},
            "not an object",
        ],
    }
    (tmp_path / "human.json").write_text(json.dumps(human))
    with pytest.warns(UserWarning, match="1 x human instruction for an unknown asin"):
        env = make_env("webshop", **write_shop(tmp_path), human=tmp_path / "human.json", goals="human")
    assert env.shop.catalogue.find("B00NOTHERE") is None
    assert env.shop.catalogue.find("B00TEA0001") == 3
    assert len(env.tasks("test")) == 1
    env.reset(env.tasks("test")[0])
    assert (env.goal.instruction, env.goal.kind) == ("i want tea", "human")
    assert env.shop.report.counts == {
        "human instruction for an unknown asin": 1,
        "human instruction without text or attributes": 2,
    }


def test_splits_are_disjoint_and_each_goal_belongs_to_one() -> None:
    env = make_env("webshop", generated=600)
    seen: dict[str, set[tuple[str, str]]] = {}
    for split in ("test", "val", "train"):
        goals = [env.shop.goal(task)[0] for task in env.tasks(split)]
        seen[split] = {(goal.product.asin, goal.instruction) for goal in goals}
        assert len(seen[split]) == len(goals)
    assert (len(seen["test"]), len(seen["val"])) == (500, 1000)
    assert not (seen["test"] & seen["val"] | seen["test"] & seen["train"] | seen["val"] & seen["train"])


def test_the_published_protocol_shuffles_per_worker_and_says_that_splits_overlap() -> None:
    env = make_env("webshop", generated=600, protocol="verl-agent")
    assert env.provenance == {
        "catalogue": "generated from seed 0, 600 products",
        "reward": "corrected",
        "protocol": "verl-agent",
        "goals": "synthetic",
        "tagger": env.provenance["tagger"],
        "splits_overlap": True,
        "results_per_page": 10,
    }
    assert make_env("webshop", generated=600).provenance["splits_overlap"] is False
    total = len(env.shop.goals)
    assert [len(env.tasks(split)) for split in ("train", "test")] == [16 * (total - 500), 128 * 500]
    wanted = {split: set() for split in ("train", "test")}
    for split, tasks in wanted.items():
        for task in list(env.tasks(split))[:8000]:
            goal = env.shop.goal(task)[0]
            tasks.add((goal.product.asin, tuple(goal.options.items())))
    assert wanted["train"] & wanted["test"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observation": "html"}, "env.observation must be one of 'text', 'text_rich', got 'html'"),
        ({"reward": "orignal"}, "did you mean 'original'"),
        ({"goals": "human"}, "env.goals='human' needs env.human=FILE"),
        ({"instructions": "x.json"}, "belong to env.items"),
        ({"max_steps": 0}, "env.max_steps must be at least 1, got 0"),
        ({"generated": "many"}, "env.generated must be int, got 'many'"),
        ({"search_cache": -1}, "env.search_cache must be at least 0, got -1"),
    ],
)
def test_contradictory_settings_are_one_clear_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env("webshop", **settings)
