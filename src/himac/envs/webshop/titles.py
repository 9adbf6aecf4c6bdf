"""Which words of a product title name things: the reward compares them.

WebShop asks spaCy's `en_core_web` model for nouns and proper nouns. Where that model is not
installed, a rule stands in: every token of spaCy's English tokenizer that is alphabetic and longer than two
letters. The rule changes a purchase's score only when neither the search query nor the categories match.

The tokenizer here covers what decides alphabetic tokens (prefixes, suffixes, hyphens, commas, full stops,
contractions); a test compares it with spaCy's where spaCy is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from himac.errors import ConfigError, MissingExtraError, closest

TaggerName = Literal["auto", "rule", "spacy"]
Tagger = Callable[[str], tuple[str, ...]]

_MODELS = ("en_core_web_sm", "en_core_web_lg")  # WebShop's code loads the first, its setup the second


def tagger(name: TaggerName) -> tuple[str, Tagger]:
    """Return the tagger and the name under which results log it.

    Raises:
        ConfigError: unknown name.
        MissingExtraError: "spacy" was asked for, and spaCy or its model is missing.
    """
    if name == "rule":
        return "rule", rule_nouns
    if name not in ("auto", "spacy"):
        known = ("auto", "rule", "spacy")
        raise ConfigError(f"unknown tagger {name!r}; known: {', '.join(known)}{closest(name, known)}")
    for model in _MODELS:
        if importlib.util.find_spec("spacy") and importlib.util.find_spec(model):
            return model, _spacy_nouns(model)
    if name == "auto":
        return "rule", rule_nouns
    raise MissingExtraError(
        f"env.tagger='spacy' needs spaCy and its model {_MODELS[0]}, which are not installed",
        hint=f"pip install spacy && python -m spacy download {_MODELS[0]}, or env.tagger='rule'",
    )


@lru_cache(maxsize=1 << 15)
def rule_nouns(title: str) -> tuple[str, ...]:
    """Return the rule's nouns, lower case, in order, repeated ones included.

    >>> rule_nouns("Women's T-Shirt, 2-Pack (Navy)")
    ('women', 'shirt', 'pack', 'navy')
    """
    from himac.envs.webshop.title_tokens import tokens

    return tuple(token.lower() for token in tokens(title) if len(token) > 2 and token.isalpha())


def _spacy_nouns(model: str) -> Tagger:
    import spacy

    nlp = spacy.load(model)

    @lru_cache(maxsize=1 << 15)
    def nouns(title: str) -> tuple[str, ...]:
        return tuple(token.text.lower() for token in nlp(title) if token.pos_ in ("NOUN", "PROPN"))

    return nouns
