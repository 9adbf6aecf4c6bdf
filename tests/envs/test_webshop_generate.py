"""The generated shop and the shopper that demonstrates in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from himac.envs.base import make_env, make_expert
from himac.envs.webshop import generate
from himac.envs.webshop.catalogue import from_files
from himac.envs.webshop.shopper import ShopExpert, plan, read_instruction
from himac.errors import ConfigError
from himac.types import Demonstration


def test_a_seed_makes_the_same_shop_and_another_seed_another() -> None:
    recipe = generate.Recipe(num_products=50)
    assert generate.files(recipe, 1) == generate.files(recipe, 1)
    assert generate.files(recipe, 1) != generate.files(recipe, 2)


def test_the_shop_does_not_depend_on_the_process() -> None:
    code = (
        "import json, zlib; from himac.envs.webshop import generate\n"
        "print(zlib.crc32(json.dumps(generate.files(generate.Recipe(num_products=40), 7)).encode()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1")
    }
    assert len(found) == 1


def test_written_files_load_as_the_catalogue_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIMAC_CACHE", str(tmp_path / "cache"))
    items, instructions = generate.write_catalogue(tmp_path, 80, 3)
    assert items.name == "items_shuffle_80.json" and len(json.loads(items.read_text())) == 80
    written, made = (
        from_files(items, instructions),
        generate.catalogue(generate.Recipe(num_products=80), seed=3),
    )
    assert [written[i] for i in range(80)] == [made[i] for i in range(80)]
    assert written.skipped == ""


def test_ids_are_short_and_all_different() -> None:
    items, _ = generate.files(generate.Recipe(num_products=3000), 0)
    ids = {item["asin"] for item in items}
    assert len(ids) == 3000 and {len(asin) for asin in ids} == {4}


def test_families_share_words_but_differ_in_what_matters() -> None:
    items, goals = generate.files(generate.Recipe(num_products=400), 0)
    families: dict[str, list[dict]] = {}
    for item in items:
        families.setdefault(" ".join(item["name"].split()[:2]) + item["query"], []).append(item)
    large = [family for family in families.values() if len(family) > 1]
    assert len(large) > 60
    differing = [
        len(
            {
                (i["pricing"], str(i["customization_options"]), str(goals[i["asin"]]["attributes"]))
                for i in family
            }
        )
        == len(family)
        for family in large
    ]
    assert sum(differing) / len(differing) > 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_types": 99}, "env.num_types must be a whole number from 1 to 36, got 99"),
        ({"max_values": 1}, "env.max_values must be a whole number from 2"),
    ],
)
def test_recipes_out_of_range_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate.files(generate.Recipe(**change), 0)


def test_settings_shape_the_shop() -> None:
    small = make_env("webshop", generated=60, num_types=2, max_options=1, max_values=2, family=1)
    products = [small.shop.catalogue[i] for i in range(60)]
    assert len({product.query for product in products}) == 2
    assert max(len(product.options) for product in products) == 1
    assert max(len(values) for product in products for values in product.options.values()) == 2


def test_results_pages_stay_short_enough_for_a_small_model() -> None:
    env = make_env("webshop", generated=500)
    lengths = []
    for task in env.tasks("test")[:100]:
        env.reset(task)
        lengths.append(len(env.step(f"search[{env.goal.product.query}]").observation.text))
    assert max(lengths) < 1200


def test_instructions_are_taken_apart() -> None:
    text = (
        "Find me wash cold, machine wash men's shirts with polyester heathers, classic fit with color: dark heather | "
        "white, and fit type: men, and size: x-small, and price lower than 50.00 dollars"
    )
    wish = read_instruction(text)
    assert wish.description == "wash cold, machine wash men's shirts with polyester heathers, classic fit"
    assert wish.options == {"color": "dark heather | white", "fit type": "men", "size": "x-small"}
    assert wish.price == 50.0
    assert plan(wish) == (
        "search for wash cold, machine wash men's shirts with polyester heathers, classic fit dark heather | white "
        "men x-small",
        "open the product that fits for less than 50 dollars",
        "choose color dark heather | white",
        "choose fit type men",
        "choose size x-small",
        "buy it",
    )
    human = read_instruction("i am looking for a pair of men's size 10.5 black loafers with rubber soles")
    assert (human.description, human.options) == (
        "pair of men's size 10.5 black loafers with rubber soles",
        {},
    )


def test_demonstrations_replay_to_a_perfect_purchase() -> None:
    env = make_env("webshop", generated=300)
    expert = make_expert("webshop", env)
    found = 0
    for task in env.tasks("test")[:60]:
        demonstration = expert.demonstrate(task, seed=0, noise=0.0)
        if demonstration is None:
            continue
        found += 1
        _check_shape(demonstration)
        env.reset(task)
        results = [env.step(action) for action in demonstration.actions]
        assert results[-1].success and all(result.valid for result in results)
        assert not any(demonstration.is_noise)
        assert demonstration.segment_of[0] == 0
        assert demonstration.segment_of[-1] == len(demonstration.subgoals) - 1
    assert found >= 48


def test_the_shopper_recovers_from_random_actions() -> None:
    env = make_env("webshop", generated=300)
    expert = make_expert("webshop", env)
    noisy = [expert.demonstrate(task, seed=1, noise=0.2) for task in env.tasks("test")[:60]]
    solved = [demonstration for demonstration in noisy if demonstration is not None]
    assert len(solved) >= 25
    assert any(any(demonstration.is_noise) for demonstration in solved)
    for demonstration in solved:
        _check_shape(demonstration)
    again = [expert.demonstrate(task, seed=1, noise=0.2) for task in env.tasks("test")[:60]]
    assert again == noisy


def test_the_shopper_reads_pages_only() -> None:
    env = make_env("webshop", generated=300)
    expert = ShopExpert(env)
    task = env.tasks("test")[0]
    demonstration, _ = expert.play(task)
    env.reset(task)
    assert env.goal.product.asin.lower() not in demonstration.actions[0]
    for action, after in zip(demonstration.actions, demonstration.actions[1:]):
        listed = env.step(action).observation.admissible
        assert after in (listed or ()) or after.startswith("search[")


def _check_shape(demonstration: Demonstration) -> None:
    assert len(demonstration.actions) == len(demonstration.segment_of) == len(demonstration.is_noise) <= 15
    assert list(demonstration.segment_of) == sorted(demonstration.segment_of)
    assert max(demonstration.segment_of) < len(demonstration.subgoals)


def test_a_plain_shop_writes_every_word_one_way() -> None:
    items, goals = generate.files(generate.Recipe(num_products=6000, plain=True, max_wanted=1), 0)
    assert len({item["asin"] for item in items}) == 6000
    assert all(item["asin"].isalnum() and item["asin"].islower() for item in items)
    assert all(item["name"] == item["name"].lower() for item in items)
    for item in items[:200]:
        (wanted,) = goals[item["asin"]]["instruction_attributes"]
        assert wanted in item["name"]


def test_a_short_form_of_the_pages_keeps_search_clicks_and_reward() -> None:
    shop = {"generated": 400, "plain": True, "tagger": "rule"}
    full = make_env("webshop", **shop)
    short = make_env(
        "webshop", **shop, results_per_page=4, repeat_instruction=False, list_admissible=False, rules=False
    )
    assert (short.spec.rules, short.spec.example_subgoals, short.spec.list_admissible) == ("", (), False)
    for task in full.tasks("test")[:20]:
        first = full.reset(task).text
        assert short.reset(task).text == first
        wish = first.split(" [SEP] ")[2]
        demonstration, _ = make_expert("webshop", short).play(task)
        for action in demonstration.actions:
            a, b = full.step(action), short.step(action)
            assert b.valid and (a.reward, a.score, a.terminated) == (b.reward, b.score, b.terminated)
            if not a.terminated:
                assert wish not in b.observation.text
                head, _, rest = a.observation.text.partition(f"{wish} [SEP] ")
                assert head == "Instruction: [SEP] "
                assert rest.startswith(b.observation.text)  # a page of results ends after four products
                assert set(b.observation.admissible) <= set(a.observation.admissible)
