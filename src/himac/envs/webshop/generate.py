"""Shops made up from a seed, in the official file format, so that nothing has to be downloaded.

Products come in families (one brand, one type, one style) whose members share nearly all words and
differ in an attribute, the options on offer and the price, so that a search alone never settles the matter:
the shopper has to read titles, compare prices and check options.

Titles are short and the vocabulary small (about 400 words), which keeps a results page near 250 tokens for a
model with a small tokenizer. Everything derives from the seed through `splits.rng_from`: the same on every
machine. docs/webshop.md has the statistics beside those of the official 1,000 products.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from himac.envs.splits import pick, rng_from, shuffled
from himac.envs.webshop.catalogue import Catalogue, from_products
from himac.envs.webshop.records import Report, clean
from himac.envs.webshop.vocabulary import BRANDS, OPENERS, OPTIONS, STYLES, TYPES
from himac.errors import ConfigError
from himac.files import make_folder, write_text

MAX_PRODUCTS = 10_000_000
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a generated shop is like."""

    num_products: int = 1000
    num_types: int = 36  # product types, 1 to 36; fewer types, fewer words
    max_options: int = 2  # options a product has at most, 0 to 2
    max_values: int = 5  # values an option has at most, 2 to 8
    family: int = 4  # products of a family at most; 1 is a shop without near-duplicates
    max_wanted: int = (
        2  # attributes a goal wants at most, 1 or 2; the second may stand on the features page alone
    )
    plain: bool = False  # titles in lower case and ids of syllables: every word has one form

    def told(self) -> str:
        """Return the settings that are not the usual ones, the number of products aside.

        >>> Recipe(num_products=50, plain=True).told(), Recipe().told()
        (' (plain True)', '')
        """
        usual, names = Recipe(num_products=self.num_products), [f.name for f in fields(self)]
        changed = [
            f"{name} {getattr(self, name)}" for name in names if getattr(self, name) != getattr(usual, name)
        ]
        return f" ({', '.join(changed)})" if changed else ""

    def check(self) -> None:
        """Raise ConfigError for a value out of range."""
        limits = {
            "num_products": (1, MAX_PRODUCTS),
            "num_types": (1, len(_types())),
            "max_options": (0, 2),
            "max_values": (2, 8),
            "family": (1, 8),
            "max_wanted": (1, 2),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"env.{name} must be a whole number from {low} to {high}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Type:
    department: str
    path: str
    query: str
    options: tuple[str, ...]
    attributes: tuple[str, ...]


def catalogue(recipe: Recipe, *, seed: int = 0) -> Catalogue:
    """Generate a catalogue in memory.

    Raises:
        ConfigError: the recipe has a value out of range.
    """
    items, instructions = files(recipe, seed)
    return from_products(clean(items, instructions, Report()), Report(), source="the generated catalogue")


def write_catalogue(folder: Path, n: int, seed: int, recipe: Recipe | None = None) -> tuple[Path, Path]:
    """Write a generated catalogue in the official format; return the two files' paths.

    Args:
        folder: where `items_shuffle_N.json` and `items_ins_v2_N.json` go; made if it is missing.
        n: number of products.
        seed: which catalogue.
        recipe: what it is like; its own num_products is not used.
    """
    recipe = replace(recipe or Recipe(), num_products=n)
    items, instructions = files(recipe, seed)
    make_folder(folder)
    paths = folder / f"items_shuffle_{n}.json", folder / f"items_ins_v2_{n}.json"
    for path, content in zip(paths, (items, instructions)):
        write_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return paths


def files(recipe: Recipe, seed: int) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return the contents of the two official files: products, and attributes with instructions.

    Raises:
        ConfigError: the recipe has a value out of range.
    """
    recipe.check()
    made = list(_products(recipe, seed))
    order = shuffled(rng_from("webshop", seed, "order"), tuple(str(i) for i in range(len(made))))
    picked = [made[int(i)] for i in order]
    return [item for item, _ in picked], {item["asin"]: goal for item, goal in picked}


def _products(recipe: Recipe, seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    ids = _spoken_ids(recipe.num_products) if recipe.plain else _ids(recipe.num_products)
    number = family = 0
    types = _types()[:: max(1, len(_types()) // recipe.num_types)][: recipe.num_types]
    while number < recipe.num_products:
        rng = rng_from("webshop", seed, "family", family)
        kind = types[pick(rng, len(types))]
        brand, style = BRANDS[pick(rng, len(BRANDS))], STYLES[pick(rng, len(STYLES))]
        price = 5 + 95 * rng.random() ** 2
        core = shuffled(rng, kind.attributes)[:2]
        for _ in range(min(1 + pick(rng, recipe.family), recipe.num_products - number)):
            yield _member(rng, recipe, kind, f"{brand} {style}", core, price, next(ids))
            number += 1
        family += 1


def _member(
    rng: random.Random,
    recipe: Recipe,
    kind: _Type,
    name: str,
    core: tuple[str, ...],
    price: float,
    asin: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make one product of a family: the family's two attributes, one or two of its own, its own price."""
    rest = tuple(attribute for attribute in kind.attributes if attribute not in core)
    own = shuffled(rng, rest)[: 1 + pick(rng, 2)]
    attributes = shuffled(rng, (*core, *own))
    shown = own[0] if rng.random() < 0.7 else core[0]
    cents = round(price * (0.7 + 0.8 * rng.random())) + (0.99, 0.5, 0.0)[pick(rng, 3)]
    title = f"{name} {shown.title()} {kind.query.title().replace(chr(39) + 'S', chr(39) + 's')}"
    item = {
        "asin": asin,
        "name": title.lower() if recipe.plain else title,
        "full_description": f"{OPENERS[pick(rng, len(OPENERS))]} {name} {kind.query} with {core[1]}.",
        "small_description": [f"{attribute.capitalize()}." for attribute in attributes],
        "pricing": f"${cents:.2f}",
        "images": [""],
        "category": kind.department,
        "query": kind.query,
        "product_category": kind.path,
        "customization_options": _options(rng, recipe, kind),
    }
    also = attributes[pick(rng, len(attributes))]
    wanted = sorted({shown, also} if recipe.max_wanted > 1 else {shown}, key=attributes.index)
    goal = {
        "attributes": list(attributes),
        "instruction": f"Find me {', '.join(wanted)} {kind.query}",
        "instruction_attributes": wanted,
    }
    return item, goal


def _options(rng: random.Random, recipe: Recipe, kind: _Type) -> dict[str, list[dict[str, str]]] | str:
    """Offer some values of each option; now and then a product has one option less."""
    offered: dict[str, list[dict[str, str]]] = {}
    for option in kind.options[: recipe.max_options]:
        if rng.random() < 0.15:
            continue
        name, listed = OPTIONS[option]
        values = tuple(listed.split(", "))
        count = min(2 + pick(rng, recipe.max_values - 1), len(values))
        chosen = set(shuffled(rng, values)[:count])
        offered[name] = [{"value": value} for value in values if value in chosen]
    return offered or ""


def _types() -> list[_Type]:
    rows = [line.split(" | ") for line in TYPES.strip().splitlines()]
    return [
        _Type(
            department=department,
            path=path,
            query=query,
            options=tuple(options.split()),
            attributes=tuple(attributes.split(", ")),
        )
        for department, path, query, options, attributes in rows
    ]


def _ids(count: int) -> Iterator[str]:
    """Yield short ids, none twice, neighbours unlike one another."""
    width = 3
    while 36**width < 2 * count:
        width += 1
    step = 36**width * 5 // 8 // 6 * 6 + 1  # shares no divisor with 36, so every id comes once
    for i in range(count):
        number, digits = (i * step + 11) % 36**width, ""
        for _ in range(width):
            number, digit = divmod(number, 36)
            digits = _DIGITS[digit] + digits
        yield "B" + digits


def _spoken_ids(count: int) -> Iterator[str]:
    """Yield ids of syllables and digits in turn, none twice, neighbours unlike one another.

    Few syllables, each often seen: an id that is one rare word is what a small model cannot copy.

    >>> list(_spoken_ids(4))
    ['ba3', 'qi4', 'gu5', 'we6']
    """
    syllables = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]
    parts: list[Sequence[str]] = [syllables, _DIGITS[:10]]
    while math.prod(map(len, parts)) < count:
        parts += [syllables] if len(parts) % 2 == 0 else [_DIGITS[:10]]
    total = math.prod(map(len, parts))
    step = total * 5 // 8 // 10 * 10 + 1  # shares no divisor with a power of ten, so every id comes once
    for i in range(count):
        number, spoken = (i * step + 3) % total, ""
        for part in reversed(parts):
            number, place = divmod(number, len(part))
            spoken = part[place] + spoken
        yield spoken
