"""A shopper that reads pages: the demonstrator of WebShop.

It knows only what an agent knows, the instruction and the pages. It searches with the instruction's
words, opens the listed products in the order of how well title and price fit, keeps the first whose options
offer what is wanted and whose text names the wanted attributes, chooses the options and buys.

The plan (sub-goals) comes from the instruction alone, before any page is seen. The shopper is reactive: after
a random action it reads the page it is on and goes on from there. Left out: synonyms, and reviews.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from himac.envs.splits import pick, rng_from
from himac.envs.webshop.analysis import terms
from himac.envs.webshop.env import WebShopEnv
from himac.envs.webshop.pages import ITEM_BUTTONS, SEPARATOR
from himac.types import Demonstration, Observation, StepResult, Task

_PRICE = re.compile(r",? and price lower than ([0-9.]+) dollars$")
_OPTIONS = re.compile(r" with ([a-z][a-z0-9 &'-]*): ")
_NEXT_OPTION = re.compile(r", and ([a-z][a-z0-9 &'-]*): ")
_FILLER = re.compile(
    r"^(?:hello,? |hi,? |please |can you )*"
    r"(?:find me|i am looking for|i'm looking for|im looking for|looking for|i need|i want|i would like|"
    r"show me|get me|buy me|find)\s+(?:(?:to buy|to find|a|an|some|the|one)\s+)*",
    re.I,
)
_NO_BRACKETS = str.maketrans("[]", "  ")
_STEPS_TO_CHECK = 2  # features page and back
_ENOUGH = 0.99  # share of the wanted words a product's text must hold to be taken at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an instruction asks for."""

    description: str  # what it is
    options: dict[str, str]  # option name -> wanted value; empty when the instruction names none
    price: float  # dollars, the limit; infinite when there is none

    @property
    def words(self) -> str:
        """The words to search with: what it is and which options it has to offer."""
        return " ".join((self.description, *self.options.values())).translate(_NO_BRACKETS).strip()


def read_instruction(instruction: str) -> Wish:
    """Take an instruction apart.

    >>> read_instruction("Find me non slip rugs with color: red, and size: 2 ft, and price lower than 30.00 dollars")
    Wish(description='non slip rugs', options={'color': 'red', 'size': '2 ft'}, price=30.0)
    """
    found = _PRICE.search(instruction)
    price = float(found.group(1)) if found else float("inf")
    text = instruction[: found.start()] if found else instruction
    options: dict[str, str] = {}
    first = _OPTIONS.search(text)
    if first:
        names = [(first.group(1), first.start(), first.end())]
        names += [(m.group(1), m.start(), m.end()) for m in _NEXT_OPTION.finditer(text, first.end())]
        ends = [start for _, start, _ in names[1:]] + [len(text)]
        options = {name: text[begin:end] for (name, _, begin), end in zip(names, ends)}
        text = text[: first.start()]
    return Wish(description=_FILLER.sub("", text).strip(), options=options, price=price)


def plan(wish: Wish, *, hurried: bool = False) -> tuple[str, ...]:
    """Return the sub-goals: search, open, one for each option (none for who is in a hurry), buy."""
    limit = f" for less than {wish.price:g} dollars" if wish.price < float("inf") else ""
    choices = tuple(f"choose {name} {value}" for name, value in wish.options.items())
    return (
        f"search for {wish.words}",
        f"open the product that fits{limit}",
        *(() if hurried else choices or ("choose the options that are asked for",)),
        "buy it",
    )


class ShopExpert:
    """Demonstrates shopping in one environment's shop."""

    def __init__(self, env: WebShopEnv) -> None:
        self._env = WebShopEnv(env.shop, env.spec, "text", dense=False, page_size=env.page_size)

    def demonstrate(self, task: Task, *, seed: int = 0, noise: float = 0.0) -> Demonstration | None:
        """Play the task; None unless the purchase is perfect."""
        demonstration, result = self.play(task, seed=seed, noise=noise)
        return demonstration if result.success else None

    def careless(self, task: Task, *, seed: int = 0, noise: float = 0.0) -> Demonstration | None:
        """Play as `demonstrate` does, but buy without choosing options; None when nothing is bought."""
        demonstration, result = self.play(task, seed=seed, noise=noise, hurried=True)
        return demonstration if result.terminated else None

    def play(
        self, task: Task, *, seed: int = 0, noise: float = 0.0, hurried: bool = False
    ) -> tuple[Demonstration, StepResult]:
        """Play the task to its end, whatever comes of it; also return the last step's result.

        Args:
            task: what to play.
            seed: of the noise.
            noise: share of random actions.
            hurried: buy without choosing options.
        """
        observation = self._env.reset(task, seed=seed)
        rng = rng_from("webshop expert", task.split, task.index, seed)
        shopper = _Shopper(self._env.goal.instruction, self._env.spec.max_steps, hurried)
        actions: list[str] = []
        segments: list[int] = []
        random_ones: list[bool] = []
        while True:
            action, segment = shopper.act(observation)
            other = _random_action(rng, observation) if rng.random() < noise else None
            shopper.note(other or action)
            result = self._env.step(other or action)
            actions.append(other or action)
            segments.append(max(segment, segments[-1] if segments else 0))
            random_ones.append(other is not None)
            if result.terminated or result.truncated:
                break
            observation = result.observation
        demonstration = Demonstration(
            task=task,
            subgoals=plan(shopper.wish, hurried=hurried),
            actions=tuple(actions),
            segment_of=tuple(segments),
            is_noise=tuple(random_ones),
        )
        return demonstration, result


@dataclass(slots=True)
class _Seen:
    """What the shopper knows of a product it has opened."""

    missing: int  # wanted options the page does not offer
    words: frozenset[str] = frozenset()  # terms of title, features and description read so far
    checked: bool = False  # the features page was read


@dataclass(slots=True)
class _Shopper:
    """The reactive part: memory, and one decision a page."""

    instruction: str
    steps_left: int
    hurried: bool  # chooses no options
    wish: Wish = field(init=False)
    wanted: frozenset[str] = field(init=False)  # terms of the description
    seen: dict[str, _Seen] = field(default_factory=dict)  # link -> what is known
    listed: dict[str, tuple[float, int]] = field(default_factory=dict)  # link -> (fit, where it was listed)
    page: str = ""  # what the last decision was made on: "results", "item" or ""
    link: str = ""  # the product last opened
    groups: dict[str, str] = field(default_factory=dict)  # option value -> option name, on the open page
    chosen: dict[str, str] = field(default_factory=dict)  # option name -> value clicked last
    took: str = ""  # the product that will be bought
    segment: int = 0

    def __post_init__(self) -> None:
        self.wish = read_instruction(self.instruction)
        self.wanted = frozenset(terms(self.wish.description))

    def act(self, observation: Observation) -> tuple[str, int]:
        """Return the next action and the sub-goal it serves."""
        parts = observation.text.split(SEPARATOR)
        actions = observation.admissible or ()
        self.steps_left -= 1
        self.page = ""
        if parts[0] == "WebShop":
            return self._search(), 0 if self.segment == 0 else 1
        self.segment = max(self.segment, 1)
        if len(parts) > 3 and parts[3].startswith("Page "):
            self.page = "results"
            return self._pick(parts, actions), 1
        if "click[buy now]" in actions:
            self.page = "item"
            return self._on_item(parts, actions)
        return self._on_sub_page(parts), 1

    def note(self, action: str) -> None:
        """Remember what is really being done, which may be a random action instead of the decision."""
        name = action[6:-1]
        if self.page == "item" and name in self.groups:
            self.chosen[self.groups[name]] = name
        elif self.page == "results" and action not in (
            "click[back to search]",
            "click[next >]",
            "click[< prev]",
        ):
            self.link, self.chosen = name, {}
        elif name not in ("description", "features", "reviews") and self.page:
            self.chosen = {}

    def _search(self) -> str:
        return f"search[{self.wish.words}]"

    def _pick(self, parts: list[str], actions: tuple[str, ...]) -> str:
        """Open the most promising product that has not been opened, or the one already taken."""
        links = {action[6:-1] for action in actions[1:] if action not in ("click[next >]", "click[< prev]")}
        rank = 0
        fits: dict[str, float] = {}
        for i, part in enumerate(parts):
            link = part.lower()
            if link in links and link not in fits and i + 2 < len(parts):
                fits[link] = self._fit(parts[i + 1], parts[i + 2], rank)
                rank += 1
        if self.took in fits:
            return f"click[{self.took}]"
        new = [link for link in fits if link not in self.seen]
        if new and self.steps_left > self._steps_to_finish():
            return f"click[{max(new, key=fits.__getitem__)}]"
        known = [link for link in fits if link in self.seen]
        if known:
            self.took = max(known, key=self._value)
            return f"click[{self.took}]"
        return f"click[{max(fits, key=fits.__getitem__)}]" if fits else "click[back to search]"

    def _fit(self, title: str, price_tag: str, rank: int) -> float:
        """Judge a listing: wanted words in the title, rank, and above all the price."""
        words = frozenset(terms(title))
        share = len(words & self.wanted) / max(len(self.wanted), 1)
        prices = [float(price) for price in re.findall(r"\$([0-9.]+)", price_tag)]
        too_dear = bool(prices) and prices[0] > self.wish.price
        return share - 0.1 * rank - 10 * too_dear

    def _on_item(self, parts: list[str], actions: tuple[str, ...]) -> tuple[str, int]:
        values = [action[6:-1] for action in actions if action[6:-1] not in ITEM_BUTTONS]
        self.groups = _option_groups(parts, set(values))
        wishes = [] if self.hurried else self._wishes(values)
        if self.link not in self.seen:
            missing = sum(value not in values for value in self.wish.options.values())
            self.seen[self.link] = _Seen(missing=missing, words=frozenset(terms(" ".join(parts[4:]))))
        seen = self.seen[self.link]
        if self.link != self.took and not self._good_enough(seen):
            can_look_on = self.steps_left > self._steps_to_finish() + 1
            if seen.missing == 0 and not seen.checked and can_look_on:
                return "click[features]", 1
            if can_look_on:
                return "click[< prev]", 1
            best = max(self.seen, key=self._value)
            self.took = best
            if best != self.link and self.steps_left > len(self.wish.options) + 2:
                return "click[< prev]", 1
        self.took = self.link
        for i, value in enumerate(wishes):
            if self.chosen.get(self.groups.get(value, "")) != value:
                return f"click[{value}]", 2 + min(i, max(len(self.wish.options) - 1, 0))
        return "click[buy now]", 2 if self.hurried else 2 + max(len(self.wish.options), 1)

    def _on_sub_page(self, parts: list[str]) -> str:
        if self.link in self.seen:
            seen = self.seen[self.link]
            seen.words |= frozenset(terms(" ".join(parts[4:])))
            seen.checked = True
        return "click[< prev]"

    def _wishes(self, values: list[str]) -> list[str]:
        """Return the values to choose on this page, in the plan's order."""
        if self.wish.options:
            return [value for value in self.wish.options.values() if value in values]
        text = f" {_words(self.instruction)} "
        best: dict[str, str] = {}  # option name -> the longest of its values that the instruction names
        for value in values:
            name = self.groups.get(value, "")
            if f" {_words(value)} " in text and len(value) > len(best.get(name, "")):
                best[name] = value
        return list(best.values())

    def _good_enough(self, seen: _Seen) -> bool:
        return seen.missing == 0 and self._coverage(seen) >= _ENOUGH

    def _coverage(self, seen: _Seen) -> float:
        return len(seen.words & self.wanted) / max(len(self.wanted), 1)

    def _value(self, link: str) -> tuple[float, float]:
        seen = self.seen[link]
        return -seen.missing, self._coverage(seen)

    def _steps_to_finish(self) -> int:
        """Return how many steps going back to a product, choosing and buying takes, at most."""
        return len(self.wish.options) + _STEPS_TO_CHECK + 1


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9.]+", text.lower()))


def _option_groups(parts: list[str], values: set[str]) -> dict[str, str]:
    """Read which option each value on a product page belongs to: a name is followed by its values."""
    groups: dict[str, str] = {}
    name = ""
    for part in parts[5:]:
        if part in values:
            groups[part] = name
        else:
            name = part
    return groups


def _random_action(rng: random.Random, observation: Observation) -> str | None:
    """Return a random listed action other than buying, or None when there is none."""
    listed = [a for a in observation.admissible or () if a not in ("click[buy now]", "click[search]")]
    usable = [a for a in listed if not a.startswith("search[")]
    return usable[pick(rng, len(usable))] if usable else None
