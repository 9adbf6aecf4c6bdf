"""Token ids as text, without a model.

A run keeps the tokenizer it was trained with, so the report shows exactly those tokens. Without one it
shows ids.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from himac.errors import DataError
from himac.files import parse_toml, read_text, reason
from himac.runs.folder import CHECKPOINTS, CONFIG

TOKENIZER = "tokenizer.json"


def find_tokenizer(folder: Path) -> Path | None:
    """Return the run's tokenizer file: of its start, of a checkpoint, of the local model it started from."""
    places = [folder / "start" / TOKENIZER, *sorted((folder / CHECKPOINTS).glob(f"*/model/{TOKENIZER}"))]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        places.append(Path(parse_toml(read_text(folder / CONFIG))["model"]["name"]) / TOKENIZER)
    return next((place for place in places if place.is_file()), None)


def token_texts(tokenizer: Path, ids: Iterable[int]) -> dict[int, str]:
    """Return the text of each token id; a part of a character reads as the replacement character.

    Args:
        tokenizer: a tokenizer.json.
        ids: which tokens.

    Raises:
        DataError: the file is damaged.
    """
    from tokenizers import Tokenizer

    try:
        known = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # the library raises a bare Exception for a damaged file
        raise DataError(f"{str(tokenizer)!r} is damaged: {reason(error)}") from error
    return {i: known.decode([i], skip_special_tokens=False) for i in sorted(ids)}
