"""What pyproject.toml cannot say: the README as a package index shows it.

An index knows the page alone, none of the files beside it. Links and pictures become absolute, under the address that `[project.urls]` gives for
`Source`; where it gives none, a link becomes its words, and a picture goes.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
_PICTURE = re.compile(r"^!\[[^\]]*\]\((?!\w+:)([^)]+)\)\n\n?", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\((?!\w+:|#)([^)]+)\)")


def for_an_index(text: str, source: str = "") -> str:
    """Return the README as an index can show it.

    >>> for_an_index("See [limits](docs/limits.md) and [the paper](https://arxiv.org).")
    'See limits and [the paper](https://arxiv.org).'
    >>> for_an_index("See [limits](docs/limits.md).", "https://example.org/himac")
    'See [limits](https://example.org/himac/blob/main/docs/limits.md).'
    """
    if not source:
        return _LINK.sub(r"\1", _PICTURE.sub("", text))
    base = source.rstrip("/")
    pictured = _PICTURE.sub(lambda found: found[0].replace(found[1], f"{base}/raw/main/{found[1]}"), text)
    return _LINK.sub(lambda found: f"[{found[1]}]({base}/blob/main/{found[2]})", pictured)


if __name__ == "__main__":
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=for_an_index(readme, told.get("urls", {}).get("Source", "")),
        long_description_content_type="text/markdown",
    )
