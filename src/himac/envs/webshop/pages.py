"""The shop's pages as text, exactly as WebShop's text environment renders them.

WebShop renders HTML and strips it again, so a page is its list of text nodes. Here a page is that
list from the start: what a product contributes is made once (`Card`), and a page joins a few strings.

    text       nodes stripped and joined by " [SEP] "
    text_rich  one node a line, buttons in [button] ... [button_], chosen options and visited products "clicked"

A node that is only white space is dropped if it holds a line break and is one blank otherwise, because the
original's HTML parser does that.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from himac.envs.webshop.records import Product

ObservationMode = Literal["text", "text_rich"]

RESULTS_PER_PAGE = 10
SEPARATOR = " [SEP] "
SUB_PAGES = ("description", "features", "reviews", "attributes")
ITEM_BUTTONS = ("back to search", "< prev", "description", "features", "reviews", "buy now")
_SHOWN_BUTTONS = ("Description", "Features", "Reviews", "Buy Now")
ACTION = re.compile(r"(.+)\[(.+)\]")
"""An action, as the original reads it."""
_BLANKS = " \n\t\f\r"


@dataclass(slots=True)
class Card:
    """What one product contributes to pages."""

    product: Product
    number: int  # position in the catalogue
    link: str  # its clickable: the id in lower case
    listing: str  # its part of a results page, text mode
    listing_rich: str  # its part of a results page without the link line, rich mode
    clickables: tuple[str, ...]  # of its item page
    actions: tuple[str, ...]  # the same as actions, `click[...]`
    option_of: dict[str, str]  # option value -> option name; the last name that has the value
    item: str  # its item page below the head, text mode
    item_rich: str  # the same in rich mode with nothing chosen


def can_be_clicked(name: str) -> bool:
    """Whether `click[name]` is read as a click on it: a value with brackets or line breaks, or an empty one, is not.

    >>> can_be_clicked("blue"), can_be_clicked("[size] x"), can_be_clicked("")
    (True, False, False)
    """
    match = ACTION.match(f"click[{name}]")
    return match is not None and match[1] == "click" and match[2].lower() == name


def make_card(product: Product, number: int) -> Card:
    """Prepare a product for display."""
    option_of = {value: name for name, values in product.options.items() for value in values}
    tag, title = product.price_tag, product.title
    clickables = tuple(dict.fromkeys((*ITEM_BUTTONS, *option_of)))
    return Card(
        product=product,
        number=number,
        link=product.asin.lower(),
        listing=_plain(product.asin, title, tag),
        listing_rich="".join(f"{node}\n" for node in _nodes(title, tag)),
        clickables=clickables,
        actions=tuple(f"click[{name}]" for name in clickables if can_be_clicked(name)),
        option_of=option_of,
        item=_plain(
            *(part for name, values in product.options.items() for part in (name, *values)),
            title,
            f"Price: {tag}",
            "Rating: N.A.",
            *_SHOWN_BUTTONS,
        ),
        item_rich=_item_rich(product, "")[1],
    )


class Pages:
    """Renders pages for one goal's instruction."""

    def __init__(self, mode: ObservationMode, instruction: str, *, repeat: bool = True) -> None:
        """Prepare what all pages of a session share.

        Args:
            mode: how nodes are joined.
            instruction: the goal's.
            repeat: whether every page opens with the instruction, as the original's do, or the first alone.
        """
        self._rich = mode == "text_rich"
        self._instruction = instruction
        button = self._button("Back to Search")
        if repeat:
            self._head = self._lines("Instruction:", instruction) + button
        else:
            self._head = button.removeprefix(SEPARATOR)

    def search(self) -> str:
        """Render the page with the search bar."""
        if self._rich:
            return self._lines("WebShop", "Instruction: ", self._instruction) + self._button("Search")
        return _plain("WebShop", "Instruction:", self._instruction, "Search")

    def results(self, cards: list[Card], page: int, total: int, visited: set[str]) -> str:
        """Render one page of search results."""
        title = f"Page {page} (Total results: {total})"
        arrows = ("< Prev", "Next >") if page > 1 else ("Next >",)
        if not self._rich:
            return SEPARATOR.join((self._head, title, *arrows, *(card.listing for card in cards)))
        parts = [self._head, f"{title}\n", *(self._button(arrow) for arrow in arrows)]
        for card in cards:
            asin = card.product.asin
            state = "clicked button" if asin in visited else "button"
            parts.append(f"\n[{state}] {asin} [{state}_]\n{card.listing_rich}")
        return "".join(parts)

    def item(self, card: Card, address: str, plain: bool) -> str:
        """Render a product's page.

        Args:
            card: the product.
            address: the page's address; an option is shown as clicked if it stands there in quotes.
            plain: the address holds no quotes, so nothing can be shown as clicked.
        """
        if not self._rich:
            return f"{self._head}{SEPARATOR}< Prev{SEPARATOR}{card.item}"
        first, body = ("", card.item_rich) if plain else _item_rich(card.product, address)
        return f"{first}{self._head}{self._button('< Prev')}{body}"

    def sub(self, card: Card, name: str) -> str:
        """Render a product's description, features, reviews or attributes."""
        product = card.product
        if name == "description":
            nodes = [product.description]
        elif name == "features":
            nodes = [f" {bullet}" for bullet in product.bullets]
        elif name == "attributes":
            tail = [product.category, product.query, product.product_category]
            nodes = [*(f" {attribute}" for attribute in product.attributes), *tail]
        else:
            nodes = []
        if self._rich:
            return self._head + self._button("< Prev") + self._lines(*nodes)
        return SEPARATOR.join((self._head, "< Prev", *(node.strip() for node in _nodes(*nodes))))

    def done(self, asin: str, options: dict[str, str], score: float) -> str:
        """Render the page after buying."""
        chosen = json.dumps(options, sort_keys=True)
        for sign, escaped in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e"), ("'", "\\u0027")):
            chosen = chosen.replace(sign, escaped)
        nodes = (
            *(
                "Thank you for shopping with us!",
                "Your code: ",
                "None",
                " (Paste it in your MTurk interface.)",
            ),
            *("Purchased", "asin", asin, "options", chosen, "attrs", "None", "category", "None"),
            *("query", "None", "product category", "None", "Target", "asin", "options", "attrs"),
            *("price upper", "instuction text", "category", "product category", "query", "Goal "),
            *("None", "Reward", "Your score (min 0.0, max 1.0)", str(score), "Reward Details ", "None"),
        )
        return self._lines(*nodes) if self._rich else _plain(*nodes)

    def _lines(self, *texts: str) -> str:
        if self._rich:
            return "".join(f"{node}\n" for node in _nodes(*texts))
        return _plain(*texts)

    def _button(self, label: str) -> str:
        return f"[button] {label} [button_]\n" if self._rich else f"{SEPARATOR}{label}"


def _item_rich(product: Product, address: str) -> tuple[str, str]:
    """Return the lines that go before a rich item page, and the page below its head."""
    first, parts = "", []
    for name, values in product.options.items():
        parts += [f"{node}\n" for node in _nodes(name)]
        for value in _nodes(*values):
            if f'"{value}"' in address:
                first = f"You have clicked {value}.\n{first}"
                parts.append(f"  [clicked button] {value} [clicked button_]\n")
            else:
                parts.append(f"  [button] {value} [button_]\n")
    nodes = _nodes(product.title, f"Price: {product.price_tag}", "Rating: N.A.")
    parts += [f"{node}\n" for node in nodes]
    parts += [f"[button] {label} [button_]\n" for label in _SHOWN_BUTTONS]
    return first, "".join(parts)


def _nodes(*texts: str) -> list[str]:
    """Return the texts as an HTML parser would give them back."""
    return [
        text if text.strip(_BLANKS) else " "
        for text in texts
        if text and (text.strip(_BLANKS) or "\n" not in text)
    ]


def _plain(*texts: str) -> str:
    return SEPARATOR.join(node.strip() for node in _nodes(*texts))
