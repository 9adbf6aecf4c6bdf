"""WebShop in one process: the benchmark's pages, search, goals and rewards without Java, Flask or spaCy.

`make` opens a shop over the official files, or over a catalogue generated here when no file is named.
See docs/webshop.md for the file formats, the numbers behind each choice and what differs from the original.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from himac.envs.splits import SEALED, seed_from
from himac.envs.webshop.pages import RESULTS_PER_PAGE
from himac.errors import ConfigError
from himac.toml import Count, Positive, at_least
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WebShopSettings:
    """WebShop's settings."""

    items: str | None = None  # WebShop's items_shuffle*.json; left out: a catalogue is generated
    instructions: str | None = None  # items_ins_v2*.json, with attributes and synthetic instructions
    human: str | None = None  # items_human_ins.json, for goals = "human"
    goals: Literal["synthetic", "human"] = "synthetic"
    observation: Literal["text", "text_rich"] = "text"
    reward: Literal["corrected", "original"] = (
        "corrected"  # "original" has the published defect in comparing options
    )
    protocol: Literal["himac", "verl-agent"] = "himac"  # disjoint splits, or the published, overlapping ones
    protocol_seed: Count = 0  # the published run's seed, with protocol = "verl-agent"
    max_steps: Positive = MAX_STEPS  # episode limit in environment steps
    tagger: Literal["auto", "rule", "spacy"] = "auto"  # "auto": spaCy where its model is installed
    dense: bool = (
        False  # reward 10 x score on buying instead of 10 for a perfect purchase and 0 for any other
    )
    max_products: Positive | None = None  # read this many products of `items`; left out: all
    search_cache: Count = 4096  # queries whose results are remembered; 0 is off
    results_per_page: Positive = RESULTS_PER_PAGE  # products on a page of results; the original shows 10
    repeat_instruction: bool = True  # False leaves it out of all pages but the first: prompts state it anyway
    list_admissible: bool = (
        True  # False leaves the admissible actions out of prompts: pages name what can be clicked
    )
    rules: bool = (
        True  # False leaves rules and example out of prompts, for models that learn them by imitation
    )
    # of a generated catalogue:
    generated: Positive = 1000  # products
    catalogue_seed: Count = 0  # which catalogue
    num_types: Annotated[int, at_least(1, 36)] = 36  # product types; fewer types, fewer words
    max_options: Annotated[int, at_least(0, 2)] = 2  # options a product has at most
    max_values: Annotated[int, at_least(2, 8)] = 5  # values an option has at most
    family: Annotated[int, at_least(1, 8)] = 4  # near-duplicates: products of a family at most
    max_wanted: Annotated[int, at_least(1, 2)] = 2  # attributes a goal wants at most
    plain: bool = False  # titles in lower case and ids of syllables, so that every word has one form


def make(settings: WebShopSettings) -> WebShopEnv:
    """Make a WebShop environment.

    Raises:
        ConfigError: a setting contradicts another one.
        DataError: a file cannot be used.
        MissingFileError: a file cannot be read.
    """
    from himac.envs.webshop.env import WebShopEnv

    _check_files(settings)
    paths = (settings.items, settings.instructions, settings.human)
    shop = _shop(settings, tuple(_changed(path) for path in paths))
    spec = EnvSpec(
        name="webshop",
        rules=_RULES if settings.rules else "",
        example_subgoals=_EXAMPLES if settings.rules else (),
        max_steps=settings.max_steps,
        list_admissible=settings.list_admissible,
        splits=shop.splits,
        reward_success=10.0,
        example_play=_EXAMPLE_PLAY if settings.observation == "text" else (),
    )
    return WebShopEnv(
        shop,
        spec,
        settings.observation,
        dense=settings.dense,
        page_size=settings.results_per_page,
        repeat_instruction=settings.repeat_instruction,
        other_shop=None if settings.items is not None else lambda: _sealed_shop(settings),
    )


def _sealed_shop(settings: WebShopSettings) -> Shop:
    """Return a shop of the same kind from another seed, whose goals nobody has trained on."""
    seed = seed_from("webshop", SEALED, settings.catalogue_seed)
    return _shop(replace(settings, catalogue_seed=seed), (None, None, None))


def _check_files(settings: WebShopSettings) -> None:
    """Refuse files without the ones they belong to."""
    if settings.goals == "human" and settings.human is None:
        raise ConfigError(
            "env.goals='human' needs env.human=FILE, got None", hint="name items_human_ins.json as env.human"
        )
    if settings.items is None and (settings.instructions is not None or settings.human is not None):
        raise ConfigError(
            "env.instructions and env.human belong to env.items, which is None", hint="name env.items"
        )


def _shop(settings: WebShopSettings, changed: tuple[int | None, ...]) -> Shop:
    """Return the shop; environments whose settings say the same of the shop share one."""
    default = WebShopSettings()
    told = {name: getattr(default, name) for name in _NOT_THE_SHOP_S}
    if settings.items is not None:
        told |= {name: getattr(default, name) for name in _GENERATOR}
    if settings.goals != "human":
        told["human"] = None
    return _shared_shop(replace(settings, **told), changed)


_NOT_THE_SHOP_S = (
    "goals", "observation", "max_steps", "dense", "results_per_page", "repeat_instruction", "list_admissible", "rules",
)  # fmt: skip
_GENERATOR = (
    "generated", "catalogue_seed", "num_types", "max_options", "max_values", "family", "max_wanted", "plain",
)  # fmt: skip


@lru_cache(maxsize=8)
def _shared_shop(settings: WebShopSettings, changed: tuple[int | None, ...]) -> Shop:
    """Open a shop. `changed` says when its files were changed: one made from older files is not handed out again."""
    from himac.envs.webshop import catalogue, records
    from himac.envs.webshop.shop import Shop

    if settings.items is None:
        from himac.envs.webshop import generate

        recipe = generate.Recipe(
            num_products=settings.generated,
            num_types=settings.num_types,
            max_options=settings.max_options,
            max_values=settings.max_values,
            family=settings.family,
            max_wanted=settings.max_wanted,
            plain=settings.plain,
        )
        stock = generate.catalogue(recipe, seed=settings.catalogue_seed)
        source = f"generated from seed {settings.catalogue_seed}{recipe.told()}"
    else:
        items = Path(settings.items).expanduser()
        stock = catalogue.from_files(items, _path(settings.instructions), max_products=settings.max_products)
        source = items.name
    human = _path(settings.human)
    return Shop(
        stock,
        human=None if human is None else records.read_mapping(human),
        reward=settings.reward,
        protocol=settings.protocol,
        protocol_seed=settings.protocol_seed,
        tagger_name=settings.tagger,
        search_cache=settings.search_cache,
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
