"""WebShop in one process: the benchmark's pages, search, goals and rewards without Java, Flask or spaCy.

`make` opens a shop over the official files, or over a catalogue generated here when no file is named.
See docs/webshop.md for the file formats, the numbers behind each choice and what differs from the original.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himac.envs.webshop.pages import RESULTS_PER_PAGE
from himac.errors import ConfigError, closest
from himac.types import EnvSpec

if TYPE_CHECKING:
    from himac.envs.webshop.env import WebShopEnv
    from himac.envs.webshop.shop import Shop

MAX_STEPS = 15  # the published limit

_RULES = """You are shopping in a web shop. The instruction says what to buy, with which options, and for how much at most.
Actions:
  search[words]   find products; works on every page
  click[x]        press a button, open a product by its id, or choose an option of the product page
Buy with click[buy now] once the product and every wanted option are chosen; that ends the task.
A new search, click[next >] and going back from a product page forget the chosen options."""

_EXAMPLES = (
    "search for slip resistant men's loafers",
    "open the product that fits the instruction and costs less than 50 dollars",
    "choose size 9",
    "buy it",
)

_TASK = (
    "Instruction: [SEP] Find me long battery, hands free bluetooth speakers with color: pink, and price lower than "
    "80.00 dollars [SEP] "
)
_PRODUCT = (
    f"{_TASK}Back to Search [SEP] < Prev [SEP] color [SEP] red [SEP] grey [SEP] pink [SEP] navy [SEP] Cinder Premium "
    "Hands Free Bluetooth Speakers [SEP] Price: $5.5 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews "
    "[SEP] Buy Now"
)
_EXAMPLE_PLAY = (
    (
        f"WebShop [SEP] {_TASK}Search",
        "<think>I search with the words of the instruction.</think>"
        "<action>search[long battery, hands free bluetooth speakers pink]</action>",
    ),
    (
        f"{_TASK}Back to Search [SEP] Page 1 (Total results: 50) [SEP] Next > [SEP] BW7Q [SEP] Cinder Premium Hands Free "
        "Bluetooth Speakers [SEP] $5.5 [SEP] B4YO [SEP] Ember Travel Hands Free Bluetooth Speakers [SEP] $46.0 [SEP] ...",
        "<think>The first one is hands free and costs less than 80 dollars. Whether its battery is long and it comes in "
        "pink stands on its page.</think><action>click[bw7q]</action>",
    ),
    (
        _PRODUCT,
        "<think>Pink is offered. The features will say whether the battery is long.</think>"
        "<action>click[features]</action>",
    ),
    (
        f"{_TASK}Back to Search [SEP] < Prev [SEP] Hands free. [SEP] Water resistant. [SEP] Long battery.",
        "<think>Long battery and hands free: it fits. I go back to choose the colour.</think>"
        "<action>click[< prev]</action>",
    ),
    (_PRODUCT, "<think>The instruction wants pink.</think><action>click[pink]</action>"),
    (_PRODUCT, "<think>Everything that was wanted is chosen.</think><action>click[buy now]</action>"),
)
"""Task 0 of the generated shop's split "train"; the page of results is cut at "..."."""


def make(
    items: str | os.PathLike[str] | None = None,
    instructions: str | os.PathLike[str] | None = None,
    *,
    human: str | os.PathLike[str] | None = None,
    goals: str = "synthetic",
    observation: str = "text",
    reward: str = "corrected",
    protocol: str = "himac",
    protocol_seed: int = 0,
    max_steps: int = MAX_STEPS,
    tagger: str = "auto",
    dense: bool = False,
    max_products: int | None = None,
    search_cache: int = 4096,
    generated: int = 1000,
    catalogue_seed: int = 0,
    num_types: int = 36,
    max_options: int = 2,
    max_values: int = 5,
    family: int = 4,
    max_wanted: int = 2,
    plain: bool = False,
    results_per_page: int = RESULTS_PER_PAGE,
    repeat_instruction: bool = True,
    list_admissible: bool = True,
    rules: bool = True,
) -> WebShopEnv:
    """Make a WebShop environment.

    Args:
        items: WebShop's `items_shuffle*.json`; None generates a catalogue.
        instructions: WebShop's `items_ins_v2*.json`, with attributes and synthetic instructions.
        human: WebShop's `items_human_ins.json`; needed for goals="human".
        goals: "synthetic" or "human".
        observation: "text" or "text_rich".
        reward: "corrected", or "original" with the published defect in comparing options.
        protocol: "himac" for disjoint splits, or "verl-agent" for the published, overlapping ones.
        protocol_seed: the published run's seed, with protocol="verl-agent".
        max_steps: episode limit in environment steps.
        tagger: "spacy", "rule", or "auto" for spaCy where its model is installed.
        dense: reward 10 x score on buying instead of 10 for a perfect purchase and 0 for any other.
        max_products: read this many products of `items`; None reads all.
        search_cache: number of queries whose results are remembered; 0 is off.
        generated: number of products of a generated catalogue.
        catalogue_seed: which generated catalogue.
        num_types: product types of a generated catalogue, 1 to 36; fewer types, fewer words.
        max_options: options a generated product has at most, 0 to 2.
        max_values: values a generated option has at most, 2 to 8.
        family: near-duplicates in a generated catalogue: products of a family at most, 1 to 8.
        max_wanted: attributes a generated goal wants at most, 1 or 2.
        plain: generated titles in lower case and ids of syllables, so that every word has one form.
        results_per_page: products on a page of search results; the original shows 10.
        repeat_instruction: False leaves the instruction out of all pages but the first: prompts state it anyway.
        list_admissible: False leaves the list of admissible actions out of the prompts: pages name what can be clicked.
        rules: False leaves the shop's rules and the example out of the prompts, for models that learn them by imitation.

    Raises:
        ConfigError: a setting has an unknown value or contradicts another one.
        DataError: a file cannot be used.
        MissingFileError: a file cannot be read.
    """
    from himac.envs.webshop.env import WebShopEnv

    _check("observation", observation, ("text", "text_rich"))
    _check("reward", reward, ("corrected", "original"))
    _check("protocol", protocol, ("himac", "verl-agent"))
    _check("goals", goals, ("synthetic", "human"))
    _check("tagger", tagger, ("auto", "rule", "spacy"))
    numbers = {
        "max_steps": max_steps,
        "generated": generated,
        "max_products": max_products,
        "results_per_page": results_per_page,
    }
    for name, number in numbers.items():
        if name != "max_products" or number is not None:
            _check_count(name, number, 1)
    for name, number in {"protocol_seed": protocol_seed, "search_cache": search_cache}.items():
        _check_count(name, number, 0)
    if goals == "human" and human is None:
        raise ConfigError(
            "env.goals='human' needs env.human=FILE, got None", hint="name items_human_ins.json as env.human"
        )
    if items is None and (instructions is not None or human is not None):
        raise ConfigError(
            "env.instructions and env.human belong to env.items, which is None", hint="name env.items"
        )
    shop = _shop(
        _path(items),
        _path(instructions),
        _path(human) if goals == "human" else None,
        reward=reward,
        protocol=protocol,
        protocol_seed=protocol_seed,
        tagger=tagger,
        max_products=max_products,
        search_cache=search_cache,
        recipe=(
            (generated, num_types, max_options, max_values, family, max_wanted, plain)
            if items is None
            else None
        ),
        catalogue_seed=catalogue_seed if items is None else 0,
        changed=tuple(_changed(path) for path in (items, instructions, human)),
    )
    spec = EnvSpec(
        name="webshop",
        rules=_RULES if rules else "",
        example_subgoals=_EXAMPLES if rules else (),
        max_steps=max_steps,
        list_admissible=list_admissible,
        splits=shop.splits,
        reward_success=10.0,
        example_play=_EXAMPLE_PLAY if observation == "text" else (),
    )
    return WebShopEnv(
        shop,
        spec,
        observation,  # type: ignore[arg-type]
        dense=dense,
        page_size=results_per_page,
        repeat_instruction=repeat_instruction,
    )


def expert(env: Any) -> Any:
    """Make the shopper that demonstrates."""
    from himac.envs.webshop.shopper import ShopExpert

    return ShopExpert(env)


@lru_cache(maxsize=8)
def _shop(items: Path | None, instructions: Path | None, human: Path | None, **settings: Any) -> Shop:
    from himac.envs.webshop import catalogue, records
    from himac.envs.webshop.shop import Shop

    if items is None:
        from himac.envs.webshop import generate

        names = ("num_products", "num_types", "max_options", "max_values", "family", "max_wanted", "plain")
        recipe = generate.Recipe(**dict(zip(names, settings["recipe"], strict=True)))
        stock = generate.catalogue(recipe, seed=settings["catalogue_seed"])
        source = f"generated from seed {settings['catalogue_seed']}{recipe.told()}"
    else:
        stock = catalogue.from_files(items, instructions, max_products=settings["max_products"])
        source = items.name
    return Shop(
        stock,
        human=None if human is None else records.read_mapping(human),
        reward=settings["reward"],
        protocol=settings["protocol"],
        protocol_seed=settings["protocol_seed"],
        tagger_name=settings["tagger"],
        search_cache=settings["search_cache"],
        source=source,
    )


def _path(value: str | os.PathLike[str] | None) -> Path | None:
    return None if value is None else Path(value).expanduser()


def _changed(path: str | os.PathLike[str] | None) -> int | None:
    """Return when a file was changed, so that a shop made from an older version is not handed out again."""
    try:
        return None if path is None else Path(path).expanduser().stat().st_mtime_ns
    except OSError:
        return None


def _check(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            f"env.{name} must be one of {', '.join(known)}, got {value!r}{closest(str(value), known)}"
        )


def _check_count(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ConfigError(f"env.{name} must be a whole number of at least {least}, got {value!r}")
