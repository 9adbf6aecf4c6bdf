"""What a shopper is asked for: the goals of a catalogue, their fixed order and their splits.

A goal is a pair of numbers (which product, which combination of its options) plus a price limit,
so millions of goals are three arrays, and a goal's text is made when somebody asks for it.

The order is WebShop's own: goals in catalogue order, then `random.shuffle` after `random.seed(233)`. The
draws before it (a price for products with a price range, a price limit a product) are unseeded in WebShop;
here they follow `random.Random(42)`, which is also how the recordings we compare with were made.

    protocol "himac"       test 0-499, val 500-1499, train from 1500: disjoint, the same everywhere
    protocol "verl-agent"  16 training and 128 test workers, each with a shuffle and price draws of its own;
                           test is each worker's 0-499, train its 500 and later: the splits overlap
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, overload

import numpy as np

from himac.envs.webshop.catalogue import Catalogue
from himac.envs.webshop.records import Product, Report, _text, _texts
from himac.types import Json, Task

GoalKind = Literal["synthetic", "human"]

SHUFFLE_SEED = 233  # WebShop's own
PRICE_SEED = 42  # ours: WebShop draws prices without a seed
TEST, VAL = 500, 1500  # first goal of val, first goal of train
NO_LIMIT = 1_000_000.0  # dollars; the price limit of a goal that names none

VERL_TRAIN_WORKERS = 16  # groups of a published training batch, one shuffle each
VERL_TEST_WORKERS = 128  # environments of a published validation batch, one shuffle each
VERL_TEST_SEED = 1000  # added to the seed of validation workers

_STEP, _LAST = 10.0, 990.0  # dollars between two limits, and the highest limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One thing to buy."""

    product: Product  # what the goal was made from; buying another one can earn the full score, too
    instruction: str  # what the shopper reads
    attributes: tuple[str, ...]  # wanted attributes
    options: dict[str, str] | tuple[str, ...]  # wanted options: by name (synthetic), or values alone (human)
    price_upper: float  # dollars
    kind: GoalKind

    @property
    def option_values(self) -> tuple[str, ...]:
        """The wanted option values."""
        return tuple(self.options.values()) if isinstance(self.options, dict) else self.options


class Goals:
    """All goals of one kind, before shuffling. Numbers are positions in catalogue order."""

    def __init__(self, catalogue: Catalogue, human: Mapping[str, Json] | None, report: Report) -> None:
        """Count the goals.

        Args:
            catalogue: where products are.
            human: asin -> list of crowd-written instructions; None for synthetic goals.
            report: takes what is skipped of `human`.
        """
        self._catalogue = catalogue
        self.kind: GoalKind = "synthetic" if human is None else "human"
        self._written: list[dict[str, Json]] = []
        if human is None:
            counts = catalogue.combinations
            self._products = np.flatnonzero(counts >= 0)
            self._ends = np.cumsum(counts[self._products])
        else:
            self._products = np.array(list(self._read(human, report)), np.int64)
            self._ends = np.arange(1, len(self._products) + 1)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def goal(self, number: int, prices: Prices) -> Goal:
        """Return one goal under one drawing of prices."""
        drawn = int(np.searchsorted(self._ends, number, side="right"))
        product = self._catalogue[int(self._products[drawn])]
        limit = float(prices.limits[drawn])
        text = f", and price lower than {limit:.2f} dollars" if limit < NO_LIMIT else ""
        if self.kind == "human":
            written = self._written[drawn]
            return Goal(
                product=product,
                instruction=written["instruction"].strip(".") + text,
                attributes=written["attributes"],
                options=written["options"],
                price_upper=limit,
                kind="human",
            )
        first = int(self._ends[drawn - 1]) if drawn else 0
        options = _combination(product, number - first)
        chosen = ", and ".join(f"{name}: {value}" for name, value in options.items())
        return Goal(
            product=product,
            instruction=f"{product.instruction}{' with ' + chosen if chosen else ''}{text}",
            attributes=product.instruction_attributes,
            options=options,
            price_upper=limit,
            kind="synthetic",
        )

    @lru_cache(maxsize=256)  # noqa: B019  (one Goals lives as long as its shop)
    def order(self, seed: int) -> np.ndarray:
        """Return the numbers of all goals as `random.shuffle` leaves them after `random.seed(seed)`."""
        numbers = list(range(len(self)))
        random.Random(seed).shuffle(numbers)
        return np.array(numbers, np.int32)

    @lru_cache(maxsize=256)  # noqa: B019
    def prices(self, seed: int) -> Prices:
        """Draw a price for each product and a price limit for each product (or text) with a goal."""
        return _draw_prices(self._catalogue, self._products, seed)

    def _read(self, human: Mapping[str, Json], report: Report) -> Iterator[int]:
        """Keep the usable human instructions; yield their products' numbers in catalogue order."""
        known = {asin: number for asin in human if (number := self._catalogue.find(asin)) is not None}
        for asin in human.keys() - known.keys():
            report.add("human instruction for an unknown asin", asin)
        for asin in sorted(known, key=known.__getitem__):
            for entry in human[asin] if isinstance(human[asin], list) else [human[asin]]:
                text = entry.get("instruction") if isinstance(entry, Mapping) else None
                attributes = _texts(entry.get("instruction_attributes")) if text else ()
                if not isinstance(text, str) or not attributes:
                    report.add("human instruction without text or attributes", asin)
                    continue
                options = _texts(entry.get("instruction_options"))
                self._written.append(
                    {"instruction": _text(text), "attributes": attributes, "options": options}
                )
                yield known[asin]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """One drawing of the random prices."""

    products: np.ndarray  # (N,) dollars, what each product costs
    limits: np.ndarray  # (goal products,) dollars, the goals' price limit


def _draw_prices(catalogue: Catalogue, goal_products: np.ndarray, seed: int) -> Prices:
    rng = random.Random(seed)
    prices = catalogue.prices[:, 0].copy()
    ranges = catalogue.prices
    for number in np.flatnonzero(~np.isnan(ranges[:, 1])).tolist():
        prices[number] = rng.uniform(float(ranges[number, 0]), float(ranges[number, 1]))
    limits = np.full(len(goal_products), NO_LIMIT)
    for i, price in enumerate(prices[goal_products].tolist()):
        first = _STEP * (price // _STEP + 1)
        above = [limit for k in range(4) if (limit := first + k * _STEP) <= _LAST]
        if len(above) >= 2:
            limits[i] = max(rng.sample(above, 2))
    return Prices(products=prices, limits=limits)


def _combination(product: Product, number: int) -> dict[str, str]:
    """Return the number-th choice of one value an option, names sorted, the last name changing fastest."""
    names = sorted(product.options)
    chosen: dict[str, str] = {}
    for name in reversed(names):
        values = product.options[name]
        number, at = divmod(number, len(values))
        chosen[name] = values[at]
    return {name: chosen[name] for name in names}


class TaskList(Sequence[Task]):
    """A split's tasks, made when looked at."""

    def __init__(self, split: str, size: int, kind: str) -> None:
        self._split, self._size, self._kind = split, size, kind

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | Sequence[Task]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._size))]
        if not -self._size <= index < self._size:
            raise IndexError(f"task {index} of {self._size}")
        return Task(env="webshop", split=self._split, index=index % self._size, kind=self._kind)
