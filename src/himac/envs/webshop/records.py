"""Products as WebShop reads them, and the tolerant reader of its data files.

Files are read product by product, never as a whole, and whatever cannot be used is skipped or
replaced by its nearest usable form and counted under a reason, so that damage is neither fatal nor silent.

Left out: reviews and ratings (the published 1,000-product setting has none: every page says `N.A.`) and images.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from himac.errors import DataError, MissingFileError
from himac.types import Json

NO_ATTRIBUTES = ("DUMMY_ATTR",)  # what WebShop gives a product that has no attributes
NO_PRICE = 100.0  # dollars; what WebShop gives a product that has no price
MAX_ASIN = 10  # letters; longer ids are skipped, as WebShop does

_CHUNK = 1 << 24  # characters read at once
_NEXT_OBJECT = re.compile(r"(?:\}\s*,?|\n)\s*\{")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One product, cleaned."""

    asin: str  # the product's id, at most 10 letters
    title: str
    description: str  # "" when there is none
    bullets: tuple[str, ...]  # the "Features" page, one text a point
    prices: tuple[float, ...]  # dollars: one price, or the two ends of a range
    options: dict[str, tuple[str, ...]]  # option name -> values, lower case, in page order
    attributes: tuple[str, ...]  # what the reward compares
    category: str  # one of WebShop's five departments
    query: str  # the search that found the product when the data was collected
    product_category: str  # the shop's path of categories, parts separated by " › "
    instruction: str | None  # start of a synthetic instruction; None when the product has none
    instruction_attributes: tuple[str, ...]  # the attributes that instruction names

    @property
    def price_tag(self) -> str:
        """The price as pages show it."""
        return " to ".join(f"${price}" for price in self.prices)

    @property
    def search_text(self) -> str:
        """The text that is indexed for search."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        first = self.bullets[0] if self.bullets else ""
        return " ".join([self.title, self.description, first, options]).lower()


@dataclass(slots=True)
class Report:
    """What a loader could not take as it was."""

    counts: Counter[str] = field(default_factory=Counter)  # reason -> how often
    examples: dict[str, str] = field(default_factory=dict)  # reason -> the first case

    def add(self, reason: str, example: str) -> None:
        """Count one case."""
        self.counts[reason] += 1
        self.examples.setdefault(reason, example[:80])

    def __str__(self) -> str:
        return "; ".join(f"{n} x {why} (first: {self.examples[why]})" for why, n in self.counts.items())


def read_objects(path: Path, report: Report) -> Iterator[dict[str, Json]]:
    """Yield the objects of a JSON array, or of JSON lines, reading a piece at a time.

    A damaged object is reported and skipped; reading goes on at the next `},{` or line that begins with `{`.
    """
    decode = json.JSONDecoder().raw_decode
    with _open(path) as file:
        text, at, ended = file.read(_CHUNK), 0, False
        while True:
            at = _skip_separators(text, at)
            if at >= len(text):
                text, at = file.read(_CHUNK), 0
                if not text:
                    return
                continue
            try:
                value, end = decode(text, at)
            except (ValueError, RecursionError):
                if not ended:
                    more = file.read(_CHUNK)
                    text, at, ended = text[at:] + more, 0, not more
                    if more:
                        continue
                report.add("damaged JSON", text[at : at + 60])
                found = _NEXT_OBJECT.search(text, at)
                if found is None:
                    return
                at = found.end() - 1
                continue
            at = end
            if isinstance(value, dict):
                yield value
            else:
                report.add("not a JSON object", repr(value))


def read_mapping(path: Path) -> dict[str, Json]:
    """Read a JSON file that holds one object keyed by product id.

    Raises:
        DataError: it is not such a file.
    """
    try:
        with _open(path) as file:
            value = json.load(file)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}", hint="download the file again") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold a JSON object keyed by product id, got a {type(value).__name__}")
    return value


def clean(
    raw: Iterable[Mapping[str, Json]], instructions: Mapping[str, Json], report: Report
) -> Iterator[Product]:
    """Turn raw products into `Product`s; skip those without a usable id or name, and repeated ids."""
    seen: set[str] = set()
    for item in raw:
        asin, name = item.get("asin"), item.get("name")
        if not isinstance(asin, str) or not asin or asin == "nan" or len(asin) > MAX_ASIN:
            report.add("product without a usable asin", repr(asin))
        elif not isinstance(name, str):
            report.add("product without a name", asin)
        elif asin in seen:
            report.add("repeated asin", asin)
        else:
            seen.add(asin)
            yield _product(item, instructions.get(asin), report)


def _product(item: Mapping[str, Json], goal: Json, report: Report) -> Product:
    asin = item["asin"]
    bullets = item.get("small_description")
    goal = goal if isinstance(goal, Mapping) else {}
    attributes = goal.get("attributes")
    instruction, wanted = goal.get("instruction"), _texts(goal.get("instruction_attributes"))
    if instruction is not None and not (isinstance(instruction, str) and wanted):
        report.add("instruction without attributes", asin)
        instruction = None
    return Product(
        asin=asin,
        title=_text(item["name"]),
        description=_text(item.get("full_description")),
        bullets=_texts(bullets) if isinstance(bullets, list) else (_text(bullets),),
        prices=_prices(item.get("pricing"), asin, report),
        options=_options(item.get("customization_options"), asin, report),
        attributes=NO_ATTRIBUTES if attributes is None else _texts(attributes),
        category=_text(item.get("category")),
        query=_text(item.get("query")).lower().strip(),
        product_category=_text(item.get("product_category")),
        instruction=None if instruction is None else _text(instruction),
        instruction_attributes=wanted,
    )


def _prices(pricing: Json, asin: str, report: Report) -> tuple[float, ...]:
    """Read `$12.50` or `$12.50 - $20.00`; a missing price is 100 dollars, an unreadable one is reported too."""
    if pricing is None or pricing == "" or pricing == []:
        return (NO_PRICE,)
    if isinstance(pricing, int | float) and not isinstance(pricing, bool) and 0 <= pricing < 1e9:
        return (float(pricing),)
    if isinstance(pricing, str):
        try:
            prices = [float(re.sub(r"[^\d.]", "", part)) for part in pricing.split("$")[1:]]
        except ValueError:
            prices = []
        if prices:
            return tuple(prices[:2])
    report.add("unreadable price", f"{asin}: {pricing!r}")
    return (NO_PRICE,)


def _options(raw: Json, asin: str, report: Report) -> dict[str, tuple[str, ...]]:
    """Read `{name: [{"value": ...}, ...]}`, skipping what has another form."""
    if not raw:
        return {}
    if not isinstance(raw, Mapping):
        report.add("options of an odd type", f"{asin}: {raw!r}")
        return {}
    options: dict[str, tuple[str, ...]] = {}
    for name, contents in raw.items():
        if contents is None:
            continue
        values = []
        for content in contents if isinstance(contents, list) else [contents]:
            value = content.get("value") if isinstance(content, Mapping) else content
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                values.append(_text(value).strip().replace("/", " | ").lower())
            else:
                report.add("option value of an odd type", f"{asin}: {content!r}")
        options[_text(name).lower()] = tuple(values)
    return options


def _text(value: Json) -> str:
    """Return a value as text that can be encoded: half of a surrogate pair becomes "?"."""
    text = "" if value is None else value if isinstance(value, str) else str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _texts(value: Json) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_text(value),)
    return tuple(_text(part) for part in value) if isinstance(value, list | tuple) else ()


def _skip_separators(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n,[]\ufeff":
        at += 1
    return at


def _open(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise MissingFileError(
            f"cannot read WebShop data file {path}: {error.strerror}",
            hint="pass items=None for a generated catalogue, or see docs/webshop.md for the official files",
        ) from None
