"""The WebShop environment: one shopper's session over a shared shop.

A session is a page kind plus a handful of values (keywords, page number, product, chosen options),
so a step is a dictionary look-up and a string join; everything heavy belongs to the `Shop`, made once for
all environments with the same settings.

Actions, as in the original: `search[words]` on any page, `click[x]` for a clickable of the page; names are
exact, arguments in any case. Everything else is a "nothing happens" step.

Left out: images, reviews, sessions drawn by goal weight. Not copied: the original's crash on `search[<a> ...]`
and on queries Lucene refuses (both do nothing here); `search[<r>]` lists products drawn from the query and
the goal instead of a global random state.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from himac.envs.splits import SEALED, seed_from
from himac.envs.webshop.goals import Goal
from himac.envs.webshop.pages import (
    ACTION,
    RESULTS_PER_PAGE,
    SUB_PAGES,
    Card,
    ObservationMode,
    Pages,
    can_be_clicked,
)
from himac.envs.webshop.reward import Verdict
from himac.envs.webshop.shop import Shop
from himac.errors import ConfigError, EnvError
from himac.types import EnvSpec, Observation, StepResult, Task

if TYPE_CHECKING:
    from himac.envs.base import Expert

SEARCH = "search[<your query>]"  # how the published agents' prompt announces the search bar
SEARCH_RETURNS = 50  # products a search finds at most

PageKind = Literal["start", "search_results", "item_page", "item_sub_page", "done"]


class WebShopEnv:
    """One shopping session at a time. Make it with `himac.make_env("webshop", ...)`."""

    def __init__(
        self,
        shop: Shop,
        spec: EnvSpec,
        mode: ObservationMode,
        *,
        dense: bool,
        page_size: int = RESULTS_PER_PAGE,
        repeat_instruction: bool = True,
        other_shop: Callable[[], Shop] | None = None,
    ) -> None:
        self.spec = spec
        self.shop = shop
        self._own_shop, self._other_shop = shop, other_shop
        self.dense = dense
        self.page_size = page_size
        self._repeat = repeat_instruction
        self.verdict: Verdict | None = None
        self._mode: ObservationMode = mode
        self._goal: Goal | None = None
        self._session = 0
        self._steps = 0
        self._visited: set[str] = set()
        self._kind: PageKind = "start"
        self._clickables: tuple[str, ...] = ()
        self._keywords: list[str] = []
        self._page = 0
        self._found: tuple[int, ...] = ()
        self._cards: list[Card] = []
        self._item: Card | None = None
        self._chosen: dict[str, str] = {}
        self._sub = ""

    # ---- protocol ------------------------------------------------------------------------------------

    def tasks(self, split: str) -> Sequence[Task]:
        """Return the split's tasks in their fixed order."""
        return self._own_shop.tasks(split)

    def sealed(self) -> Sequence[Task]:
        """Return the sealed tasks: the test goals of a catalogue from another seed, see `himac.envs.base.Seals`.

        A goal without a price limit may be worded as one of this shop's; those are left out, which leaves gaps in the indices.
        """
        other, own = self._sealed_shop(), self._own_shop
        known = {own.goal(task)[0].instruction for split in own.splits for task in own.tasks(split)}
        return tuple(
            replace(task, split=SEALED)
            for task in other.tasks("test")
            if other.goal(task)[0].instruction not in known
        )

    def _sealed_shop(self) -> Shop:
        if self._other_shop is None:
            raise ConfigError(
                "webshop has no sealed split: its catalogue comes from files, and only a generator has others",
                hint="leave env.items out",
            )
        return self._other_shop()

    def reset(self, task: Task, *, seed: int = 0) -> Observation:
        """Open the shop for the task's goal. The seed is not used: a session has no randomness."""
        is_sealed = task.split == SEALED
        self.shop = self._sealed_shop() if is_sealed else self._own_shop
        self._goal, self._prices = self.shop.goal(replace(task, split="test") if is_sealed else task)
        self._session = task.index
        self._pages = Pages(self._mode, self._goal.instruction, repeat=self._repeat)
        self._steps = 0
        self.verdict = None
        self._to_start()
        return self._observe()

    def step(self, action: str) -> StepResult:
        """Carry out `search[...]` or `click[...]`."""
        if self._goal is None:
            raise EnvError("WebShopEnv.step was called before reset")
        if self._is_done() or self._steps >= self.spec.max_steps:
            raise EnvError("WebShopEnv.step was called after the episode's end", hint="call reset first")
        self._steps += 1
        valid = self._act(action)
        done = self._is_done()
        score = self.verdict.score if self.verdict is not None else 0.0
        success = done and score == 1.0
        reward = 10.0 * (score if self.dense else success) if done else 0.0
        return StepResult(
            observation=self._observe(),
            reward=float(reward),
            terminated=done,
            truncated=not done and self._steps >= self.spec.max_steps,
            success=success,
            score=score,
            valid=valid,
        )

    def _is_done(self) -> bool:
        return self._kind == "done"

    def expert(self) -> Expert:
        """Return the solver that demonstrates."""
        from himac.envs.webshop.shopper import ShopExpert  # which plays in this very class

        return ShopExpert(self)

    def close(self) -> None:
        """Forget the session."""
        self._goal = None

    # ---- what the original offers besides ------------------------------------------------------------

    @property
    def goal(self) -> Goal:
        """The running session's goal."""
        if self._goal is None:
            raise EnvError("WebShopEnv.goal was read before reset")
        return self._goal

    @property
    def available_actions(self) -> dict[str, object]:
        """The original's own listing: `{"has_search_bar": bool, "clickables": [...]}`."""
        return {"has_search_bar": self._kind == "start", "clickables": list(self._clickables)}

    @property
    def provenance(self) -> dict[str, str | bool | int]:
        """What every result has to say: catalogue, reward, protocol, goals, tagger, overlap, page size."""
        return {**self.shop.provenance, "results_per_page": self.page_size}

    # ---- actions -------------------------------------------------------------------------------------

    def _act(self, action: str) -> bool:
        match = ACTION.match(action)
        if match is None:
            return False
        name, argument = match.group(1), match.group(2).lower()
        if name == "search":
            keywords = argument.split(" ")
            found = self._find(keywords)
            return found is not None and self._show(keywords, found, 1)
        if name != "click" or argument not in self._clickables:
            return False
        return self._click(argument)

    def _click(self, name: str) -> bool:
        if name == "back to search":
            self._to_start()
            return True
        if name in ("next >", "< prev"):
            where = self._page_name()
            if where == "search_results":
                return self._show(self._keywords, self._found, self._page + (1 if name == "next >" else -1))
            if name == "< prev" and where == "item_page":
                return self._show(self._keywords, self._found, self._page)
        if name == "search":
            return True  # listed as clickable, but a click on it does nothing
        if self._item is None:
            self._open(next(card for card in reversed(self._cards) if card.link == name))
        elif name == "buy now":
            self._buy(self._item)
        elif name in SUB_PAGES:
            self._sub, self._kind = name, "item_sub_page"
            self._clickables = ("back to search", "< prev")
        else:
            self._choose(self._item, name)
        return True

    def _show(self, keywords: list[str], found: tuple[int, ...], page: int) -> bool:
        """Show one page of what a query found; the chosen options are forgotten."""
        self._keywords, self._page, self._found = keywords, page, found
        self._chosen, self._item = {}, None
        window = found[(page - 1) * self.page_size : page * self.page_size]
        self._cards = [self.shop.card(number) for number in window]
        arrows = ("back to search", "< prev", "next >") if page > 1 else ("back to search", "next >")
        self._clickables = (*arrows, *dict.fromkeys(card.link for card in self._cards))
        self._kind = "search_results"
        return True

    def _find(self, keywords: list[str]) -> tuple[int, ...] | None:
        """Return the products a query finds; None for a query that cannot be run."""
        sign, rest = keywords[0], " ".join(keywords[1:]).strip()
        if sign == "<r>":
            rng = random.Random(seed_from("webshop", self._session, rest))
            return tuple(rng.sample(range(self.shop.size), k=min(SEARCH_RETURNS, self.shop.size)))
        if sign == "<a>" or (sign == "<c>" and len(keywords) < 2):
            return None
        if sign == "<c>":
            return self.shop.matching("category", keywords[1].strip())
        if sign == "<q>":
            return self.shop.matching("query", rest)
        return self.shop.search(" ".join(keywords))

    def _open(self, card: Card) -> None:
        self._visited.add(card.product.asin)
        self._item, self._kind, self._clickables = card, "item_page", card.clickables

    def _choose(self, card: Card, name: str) -> None:
        """Choose an option, or come back from a sub page with the options as they were."""
        if self._kind == "item_page":
            self._chosen[card.option_of[name]] = name
        self._kind, self._clickables = "item_page", card.clickables

    def _buy(self, card: Card) -> None:
        self.verdict = self.shop.judge(card, self.goal, self._chosen, self._prices)
        self._kind, self._clickables = "done", ()

    def _to_start(self) -> None:
        self._kind, self._clickables = "start", ("search",)
        self._keywords, self._page, self._found, self._cards = [], 0, (), []
        self._chosen, self._item, self._visited = {}, None, set()

    def _page_name(self) -> str:
        """Return the page kind as the original tells it from the address, which also holds the keywords."""
        address = self._address()
        kinds = ("search_results", "item_page", "item_sub_page")
        return next((kind for kind in kinds if kind == self._kind or kind in address), self._kind)

    def _address(self) -> str:
        """Return the part of the page's address that comes from the session."""
        words = "+".join(self._keywords)
        if self._kind == "item_page" and self._item is not None:
            return f"/{self._item.product.asin}/{words}/{self._page}/{json.dumps(self._chosen)}"
        if self._kind == "item_sub_page" and self._item is not None:
            return f"/{self._item.product.asin}/{words}/{self._page}/{self._sub}/{self._chosen}"
        return f"/{words}/{self._page}" if self._kind == "search_results" else ""

    # ---- observation ---------------------------------------------------------------------------------

    def _observe(self) -> Observation:
        if self._kind == "item_page" and self._item is not None:
            actions = self._item.actions
        else:
            actions = tuple([f"click[{name}]" for name in self._clickables if can_be_clicked(name)])
        if self._kind == "start":
            actions = (SEARCH, *actions)
        return Observation(text=self._text(), admissible=actions)

    def _text(self) -> str:
        if self._kind == "start":
            return self._pages.search()
        if self._kind == "search_results":
            return self._pages.results(self._cards, self._page, len(self._found), self._visited)
        assert self._item is not None
        if self._kind == "item_page":
            if self._mode == "text":
                return self._pages.item(self._item, "", True)
            address = self._address()
            return self._pages.item(self._item, address, '"' not in address)
        if self._kind == "item_sub_page":
            return self._pages.sub(self._item, self._sub)
        assert self.verdict is not None
        return self._pages.done(self._item.product.asin, self._chosen, self.verdict.score)
