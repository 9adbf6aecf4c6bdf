"""Ranked search over the catalogue: Lucene's BM25, to the bit.

A posting holds the document and `d = 1 + tf / norm`, with which Lucene's score of a term with
weight w is `w - w / d`, so one index serves every weight; documents are numbered in the order of their id
strings, so that Lucene's tie-break (by id) is the smaller number.

    w     = query count * log(1 + (N - df + 0.5) / (df + 0.5))                 float32
    norm  = k1 * (1 - b + b * length / mean length), k1 = 0.9, b = 0.4         float32
    score = sum over query terms of w - w / (1 + tf / norm)                    summed in float64, then float32

Lengths are kept in one byte, as Lucene keeps them (exact to 39, then 4 significant bits). Terms that many
documents hold are summed as whole rows, the others posting by posting.

Left out: phrases, fields, more than one index segment, and Lucene's skipping of hopeless documents, which
changes the time and not the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from himac.envs.webshop.analysis import term_of, tokens

K1, B = np.float32(0.9), np.float32(0.4)
MAX_TERMS = 1024  # Lucene refuses a query with more distinct terms
_SMALL = 4096  # documents up to which a query's postings are summed in one go
_ROW_SHARE = 16  # a term in more than one document of this many is summed as a row
_ROW_BYTES = 1 << 28  # memory that rows may take
_BLOCK, _SMALL_BLOCK = 256, 8  # scores looked at as a group, in large and small catalogues


class Index:
    """A read-only inverted index. Build it with `build`, or from arrays that were saved."""

    def __init__(
        self,
        vocabulary: Sequence[str],
        starts: np.ndarray,
        documents: np.ndarray,
        denominators: np.ndarray,
        *,
        num_documents: int,
        num_with_text: int,
    ) -> None:
        """Take the arrays of an index.

        Args:
            vocabulary: (V,) terms.
            starts: (V + 1,) int64, where each term's postings begin.
            documents: (P,) int32, ascending within a term.
            denominators: (P,) float32, `1 + tf / norm`.
            num_documents: how many documents there are.
            num_with_text: N, how many of them hold at least one term.
        """
        self.vocabulary = vocabulary
        self.starts = starts
        self.documents = np.asarray(documents, np.intp if num_documents <= _SMALL else None)
        self.denominators = np.asarray(denominators)
        self.num_documents = num_documents
        self.num_with_text = num_with_text
        self._number = {term: i for i, term in enumerate(vocabulary)}
        self._starts = starts.tolist()
        self._weights = _idf(np.diff(starts), num_with_text)
        self._of_token: dict[str, int] = {}
        self._rows: dict[int, np.ndarray] = {}
        self._block = _SMALL_BLOCK if num_documents <= _SMALL else _BLOCK
        self._padded = -(-num_documents // self._block) * self._block

    def search(self, query: str, k: int = 50) -> np.ndarray | None:
        """Return the numbers of the best k documents, best first; None when the query is too long.

        Documents that hold no term of the query are not returned.
        """
        counts = self._query(query)
        if counts is None:
            return None
        if self.num_documents <= _SMALL:
            return _best(self._sum_postings(counts), k, self._block)
        return _best(self._sum_rows(counts), k, self._block)

    def score(self, query: str, document: int) -> float:
        """Return one document's score, for tests and explanations."""
        total = 0.0
        for term, count in (self._query(query) or {}).items():
            begin, end = self._starts[term], self._starts[term + 1]
            at = begin + int(np.searchsorted(self.documents[begin:end], document))
            if at < end and self.documents[at] == document:
                weight = np.float32(count) * self._weights[term]
                total += float(weight - weight / self.denominators[at])
        return float(np.float32(total))

    def _sum_postings(self, counts: dict[int, int]) -> np.ndarray:
        """Sum all terms' postings in one go: few calls, for small catalogues."""
        if not counts:
            return np.zeros(self._padded)
        terms = list(counts)
        spans = [slice(self._starts[term], self._starts[term + 1]) for term in terms]
        weights = np.fromiter(counts.values(), np.float32, len(terms)) * self._weights[terms]
        weight = np.repeat(weights, [span.stop - span.start for span in spans])
        documents = np.concatenate([self.documents[span] for span in spans])
        denominators = np.concatenate([self.denominators[span] for span in spans])
        return np.bincount(documents, weight - weight / denominators, self._padded)

    def _sum_rows(self, counts: dict[int, int]) -> np.ndarray:
        """Sum term by term into a row of all documents: less memory traffic, for large catalogues."""
        scores = np.zeros(self._padded)
        for term, count in counts.items():
            weight = np.float32(count) * self._weights[term]
            begin, end = self._starts[term], self._starts[term + 1]
            if (end - begin) * _ROW_SHARE > self.num_documents:
                scores[: self.num_documents] += self._row(term, weight, count)
            else:
                scores[self.documents[begin:end]] += weight - weight / self.denominators[begin:end]
        return scores

    def _query(self, query: str) -> dict[int, int] | None:
        """Return known term -> count, or None when there are too many distinct terms."""
        found: dict[int, int] = {}
        unknown: set[str] = set()
        known = self._of_token
        for token in tokens(query):
            number = known[token] if token in known else self._look_up(token, unknown)
            if number >= 0:
                found[number] = found.get(number, 0) + 1
        return None if len(found) + len(unknown) > MAX_TERMS else found

    def _look_up(self, token: str, unknown: set[str]) -> int:
        """Return the term number of a raw token, -1 for a stop word or a word no document has."""
        term = term_of(token)
        number = self._number.get(term, -1) if term is not None else -1
        if number >= 0 and len(self._of_token) < 1 << 17:
            self._of_token[token] = number
        elif term is not None and number < 0:
            unknown.add(term)
        return number

    def _row(self, term: int, weight: np.float32, count: int) -> np.ndarray:
        """Return a frequent term's scores for all documents; those for a count of one are kept."""
        row = self._rows.get(term) if count == 1 else None
        if row is None:
            begin, end = self._starts[term], self._starts[term + 1]
            row = np.zeros(self.num_documents, np.float32)
            row[self.documents[begin:end]] = weight - weight / self.denominators[begin:end]
            if count == 1 and (len(self._rows) + 1) * row.nbytes <= _ROW_BYTES:
                self._rows[term] = row
        return row


def build(texts: Iterable[str]) -> Index:
    """Index texts that come in the order of their documents' id strings."""
    numbers: dict[str, int] = {}
    term_parts, count_parts, distinct, lengths = [], [], [], []
    for text in texts:
        counts: Counter[int] = Counter()
        length = 0
        for token in tokens(text):
            term = term_of(token)
            if term is not None:
                length += 1
                counts[numbers.setdefault(term, len(numbers))] += 1
        term_parts.append(np.fromiter(counts.keys(), np.int32, len(counts)))
        count_parts.append(np.fromiter(counts.values(), np.float32, len(counts)))
        distinct.append(len(counts))
        lengths.append(length)
    return _assemble(numbers, term_parts, count_parts, np.array(distinct), np.array(lengths))


def _assemble(
    numbers: dict[str, int],
    term_parts: list[np.ndarray],
    count_parts: list[np.ndarray],
    distinct: np.ndarray,
    lengths: np.ndarray,
) -> Index:
    """Turn documents' term counts into postings ordered by term, then document."""
    num_documents = len(lengths)
    terms = np.concatenate(term_parts) if term_parts else np.zeros(0, np.int32)
    counts = np.concatenate(count_parts) if count_parts else np.zeros(0, np.float32)
    documents = np.repeat(np.arange(num_documents, dtype=np.int32), distinct)
    with_text = int((lengths > 0).sum())
    mean_length = np.float32(max(float(lengths.sum()) / max(with_text, 1), 1e-9))
    kept = np.array([quantised(int(n)) for n in lengths], np.float32)
    inverse = np.float32(1) / (K1 * ((np.float32(1) - B) + B * kept / mean_length))
    order = np.argsort(terms, kind="stable")
    starts = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(np.bincount(terms, minlength=len(numbers)), out=starts[1:])
    documents = documents[order]
    denominators = np.float32(1) + counts[order] * inverse[documents]
    return Index(
        list(numbers),
        starts,
        documents,
        denominators,
        num_documents=num_documents,
        num_with_text=with_text,
    )


def quantised(length: int) -> int:
    """Return the length that is left of `length` after Lucene's one-byte encoding (SmallFloat.intToByte4).

    >>> [quantised(n) for n in (39, 40, 41, 57, 100, 1000)]
    [39, 40, 40, 56, 96, 984]
    """
    exact = 24  # lengths below this number are stored as they are
    if length < exact:
        return length
    rest = length - exact
    drop = max(rest.bit_length() - 4, 0)
    return exact + (rest >> drop << drop)


def _idf(frequencies: np.ndarray, num_with_text: int) -> np.ndarray:
    df = frequencies.astype(np.float64)
    return np.log(1 + (num_with_text - df + 0.5) / (df + 0.5)).astype(np.float32)


def _best(scores: np.ndarray, k: int, block: int) -> np.ndarray:
    """Return the indices of the k largest positive scores (as float32), ties by the smaller index.

    Scores are first looked at in groups of `block`, the best of each: the k-th best group's best is at most
    the k-th best score, so nothing below it can matter.
    """
    tops = scores.reshape(block, -1).max(axis=0)
    floor = np.partition(tops, -k)[-k] if len(tops) > k else 0.0
    candidates = np.flatnonzero(scores >= floor * (1 - 1e-6) if floor > 0 else scores)
    found = scores[candidates].astype(np.float32)
    return candidates[np.argsort(-found, kind="stable")[:k]]
