"""A shop: catalogue, goals and settings, shared by all environments that were made with the same arguments."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

from himac.envs.splits import refused_split
from himac.envs.webshop.catalogue import Catalogue
from himac.envs.webshop.goals import (
    PRICE_SEED,
    SHUFFLE_SEED,
    TEST,
    VAL,
    VERL_TEST_SEED,
    VERL_TEST_WORKERS,
    VERL_TRAIN_WORKERS,
    Goal,
    Goals,
    Prices,
    TaskList,
)
from himac.envs.webshop.pages import Card, make_card
from himac.envs.webshop.records import Report
from himac.envs.webshop.reward import RewardName, Verdict, judge
from himac.envs.webshop.titles import TaggerName, tagger
from himac.errors import ConfigError, DataError
from himac.types import Json, Task

ProtocolName = Literal["himac", "verl-agent"]

SPLITS = ("train", "val", "test")
_KEPT_CARDS = 20_000


class Shop:
    """Everything about a shop that no session changes."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        human: Mapping[str, Json] | None = None,
        reward: RewardName = "corrected",
        protocol: ProtocolName = "himac",
        protocol_seed: int = 0,
        tagger_name: TaggerName = "auto",
        search_cache: int = 4096,
        source: str = "",
    ) -> None:
        """Open a shop.

        Args:
            catalogue: its products.
            human: crowd-written instructions by product id; None for synthetic goals.
            reward: which comparison of options the score uses.
            protocol: how goals are shuffled and split.
            protocol_seed: the published run's seed; used by "verl-agent" only.
            tagger_name: which words of a title count as nouns.
            search_cache: how many queries' results are remembered; 0 is off.
            source: what `provenance` calls the catalogue.
        """
        self.catalogue = catalogue
        self.size = len(catalogue)
        self.report = Report()
        self.goals = Goals(catalogue, human, self.report)
        if self.report.counts:
            warnings.warn(f"human instructions: {self.report}", stacklevel=2)
        self._reward: RewardName = reward
        self._protocol = protocol
        self._protocol_seed = protocol_seed
        self._tagger_name, self._nouns = tagger(tagger_name)
        self._cards: OrderedDict[int, Card] = OrderedDict()
        self._results: OrderedDict[str, tuple[int, ...] | None] = OrderedDict()
        self._search_cache = search_cache
        self._source = source

    @property
    def provenance(self) -> dict[str, str | bool]:
        """What results have to say about how they were made."""
        return {
            "catalogue": f"{self._source or 'given'}, {self.size} products",
            "reward": self._reward,
            "protocol": self._protocol,
            "goals": self.goals.kind,
            "tagger": self._tagger_name,
            "splits_overlap": self._protocol == "verl-agent",
        }

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have tasks; a small shop has test only."""
        return tuple(split for split in SPLITS if len(self._positions(split)))

    def tasks(self, split: str) -> TaskList:
        """Return a split's tasks.

        Raises:
            ConfigError: unknown split.
            DataError: the catalogue has too few goals for this split.
        """
        if split not in SPLITS:
            raise refused_split("webshop", split, SPLITS)
        size = len(self._positions(split)) * self._workers(split)
        if size == 0:
            raise DataError(
                f"split {split!r} of this shop is empty: it has {len(self.goals)} goals, test takes the first "
                f"{TEST}, val those up to {VAL}, train the rest",
                hint="use a larger catalogue, or split 'test'"
                if len(self.goals)
                else "name env.instructions (items_ins_v2*.json), or env.goals='human' with env.human",
            )
        return TaskList(split, size, self.goals.kind)

    def goal(self, task: Task) -> tuple[Goal, Prices]:
        """Return a task's goal and the prices it was made under."""
        size = len(self.tasks(task.split))
        if not 0 <= task.index < size:
            raise ConfigError(f"task index {task.index} is outside split {task.split!r} with {size} tasks")
        position, worker = divmod(task.index, self._workers(task.split))
        if self._protocol == "verl-agent":
            seed = self._protocol_seed + worker + (0 if task.split == "train" else VERL_TEST_SEED)
            order, prices = self.goals.order(seed), self.goals.prices(seed)
        else:
            order, prices = self.goals.order(SHUFFLE_SEED), self.goals.prices(PRICE_SEED)
        return self.goals.goal(int(order[self._positions(task.split)[position]]), prices), prices

    def card(self, number: int) -> Card:
        """Return what a product contributes to pages."""
        card = self._cards.get(number)
        if card is None:
            card = self._cards[number] = make_card(self.catalogue[number], number)
            if len(self._cards) > _KEPT_CARDS:
                self._cards.popitem(last=False)
        return card

    def search(self, query: str) -> tuple[int, ...] | None:
        """Return the numbers of the 50 best products for a query; None when it is too long to run."""
        if not self._search_cache:
            return self.catalogue.search(query)
        if query not in self._results:
            self._results[query] = self.catalogue.search(query)
            if len(self._results) > self._search_cache:
                self._results.popitem(last=False)
        return self._results[query]

    def matching(self, field: Literal["category", "query"], value: str) -> tuple[int, ...]:
        """Return all products whose category or query is the value, in catalogue order."""
        return tuple(i for i in range(self.size) if getattr(self.catalogue[i], field) == value)

    def judge(self, card: Card, goal: Goal, options: dict[str, str], prices: Prices) -> Verdict:
        """Judge a purchase."""
        return judge(
            card.product,
            goal,
            price=float(prices.products[card.number]),
            options=options,
            reward=self._reward,
            nouns=self._nouns,
        )

    def _workers(self, split: str) -> int:
        if self._protocol == "himac":
            return 1
        return VERL_TRAIN_WORKERS if split == "train" else VERL_TEST_WORKERS

    def _positions(self, split: str) -> range:
        """Return the shuffled positions a split takes."""
        total = len(self.goals)
        if self._protocol == "verl-agent":
            return range(TEST, total) if split == "train" else range(min(TEST, total))
        if split == "test":
            return range(min(TEST, total))
        return range(TEST, min(VAL, total)) if split == "val" else range(VAL, total)
