"""What himac writes by hand and a library has too: does the library say the same, and how long does each take?

Porter's stemmer (NLTK, snowballstemmer), the likeness of two texts (rapidfuzz), Wilson's interval (scipy). A library that is
not installed is left out. Prints; the verdicts stand in the docstrings of porter.py, fuzzy.py and summary.py.

    python benchmarks/hand_written.py [--items items_shuffle_1000.json]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from himac.envs.webshop import fuzzy, porter
from himac.envs.webshop.generate import write_catalogue
from himac.rollout.summary import wilson


def compare(what: str, ours: Callable[..., Any], theirs: Callable[..., Any], asked: Sequence[Any]) -> None:
    """Print in how many cases two functions differ, and microseconds a call of each."""
    results, took = [], []
    for call in (ours, theirs):
        begun = time.perf_counter()
        results.append([call(*args) for args in asked])
        took.append((time.perf_counter() - begun) / len(asked) * 1e6)
    wrong = sum(a != b for a, b in zip(*results))
    print(
        f"{what}: {wrong:,} of {len(asked):,} differ; {took[0]:.1f} us a call by hand, {took[1]:.1f} by the library"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=Path, help="a catalogue; left out: a generated one")
    path = parser.parse_args().items
    with tempfile.TemporaryDirectory() as folder:
        text = (path or write_catalogue(Path(folder), 1000, 0)[0]).read_text(encoding="utf-8")
    words = [(word,) for word in sorted(set(re.findall(r"[a-z]{1,20}", text.lower())))]
    values = sorted({part.strip() for item in json.loads(text) for part in str(item["name"]).split(",")})

    try:
        from nltk.stem.porter import PorterStemmer

        nltk = PorterStemmer(PorterStemmer.MARTIN_EXTENSIONS)
        compare("stemmer, nltk", porter.stem, lambda word: nltk.stem(word, to_lowercase=False), words)
    except ImportError:
        print("nltk is not installed")
    try:
        import snowballstemmer

        compare("stemmer, snowballstemmer", porter.stem, snowballstemmer.stemmer("porter").stemWord, words)
    except ImportError:
        print("snowballstemmer is not installed")
    try:
        from rapidfuzz import fuzz

        latin1 = dict.fromkeys(range(128, 256))

        def likeness(a: str, b: str) -> int:
            cleaned = (re.sub(r"[\W_]", " ", text.translate(latin1)).lower().strip() for text in (a, b))
            return round(fuzz.token_set_ratio(*cleaned))

        rng = random.Random(0)
        pairs = [(rng.choice(values), rng.choice(values)) for _ in range(60_000)]
        for value in rng.choices(values, k=40_000):
            mixed = " ".join(rng.sample(value.split(), len(value.split())))
            pairs.append((value, mixed + rng.choice(["", " red", " pack of 2"])))
        compare("likeness, rapidfuzz", fuzzy.token_set_ratio, likeness, pairs)
    except ImportError:
        print("rapidfuzz is not installed")
    try:
        from scipy.stats import binomtest

        def rounded(wins: int, num: int) -> tuple[float, float]:
            found = binomtest(wins, num).proportion_ci(0.95, "wilson")
            return round(found.low, 9), round(found.high, 9)

        counts = [(wins, num) for num in (1, 5, 20, 64, 134, 500) for wins in range(num + 1)]
        compare(
            "Wilson at the same z, scipy",
            lambda wins, num: tuple(round(x, 9) for x in wilson(wins, num, z=1.959963984540054)),
            rounded,
            counts,
        )
    except ImportError:
        print("scipy is not installed")


if __name__ == "__main__":
    main()
