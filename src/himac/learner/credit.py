"""Credit: an estimator's comparison of groups, with a critic's values where it needs them, as training samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from himac.agents.grammar import subgoal_lines
from himac.algo.base import TurnAdvantages
from himac.algo.estimators import Estimator, needs
from himac.algo.losses import Aggregation
from himac.learner.samples import fill_values, to_samples
from himac.types import Episode, Group, Role, Sample, StopReason

PerRole = dict[Role, list[list[TurnAdvantages]]]
"""For each role, for each group and each of its episodes, (N,) over its turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Groups, and who deserves what."""

    groups: Sequence[Group]  # their turns have values where a critic was asked
    advantages: PerRole
    targets: PerRole = field(default_factory=dict)  # what the critic should have said; empty without one
    tokens: dict[int, np.ndarray] = field(
        default_factory=dict
    )  # {place of an episode: (T,) advantages of its plan's tokens}

    @property
    def episodes(self) -> list[Episode]:
        """All groups' episodes in order."""
        return [episode for group in self.groups for episode in group]

    def samples(self, aggregation: Aggregation, *, keep_flat: bool = False) -> list[Sample]:
        """Return the training samples of every role that was credited (see `to_samples`)."""
        return [
            sample
            for role, per_group in self.advantages.items()
            for sample in to_samples(
                self.episodes,
                _flat(per_group),
                role=role,
                aggregation=aggregation,
                targets=_flat(self.targets[role]) if role in self.targets else None,
                plans=self.tokens if role == "planner" else {},
                keep_flat=keep_flat,
            )
        ]


class CreditAssigner:
    """Turns groups into credit.

    Args:
        estimator: compares.
        values: asks a critic (see `Learner.values`); None where the estimator needs none.
        line_of: says in which line of a text each token lies; for estimators that credit a blueprint line by line.
    """

    def __init__(
        self,
        estimator: Estimator,
        *,
        values: Callable[[Sequence[Sample]], list[np.ndarray]] | None = None,
        line_of: Callable[[Sequence[int]], np.ndarray] | None = None,
    ) -> None:
        self._estimator, self._values, self._line_of = estimator, values, line_of

    def __call__(self, groups: Sequence[Group], roles: Sequence[Role]) -> Credit:
        """Compare the groups for each of the roles. Episodes that could not be run are nobody's peers and get NaN."""
        peers = [[_judged(e, group) for e in group if e.was_run] for group in groups]
        if self._values is None:
            advantages = {role: self._over(groups, peers, role) for role in roles}
            return Credit(groups=groups, advantages=advantages, tokens=self._by_line(groups, advantages))
        peers = [list(group) for group in fill_values(peers, self._values)]
        return Credit(
            groups=[_laid(group, iter(row)) for group, row in zip(groups, peers, strict=True)],
            advantages={role: self._over(groups, peers, role) for role in roles},
            targets={role: self._over(groups, peers, role, targets=True) for role in roles},
        )

    def _by_line(self, groups: Sequence[Group], advantages: PerRole) -> dict[int, np.ndarray]:
        """Return {place of an episode: (T,) its plan's tokens' advantages}, where lines have advantages of their own."""
        if not needs(self._estimator, "deletions") or "planner" not in advantages or self._line_of is None:
            return {}
        told: dict[int, np.ndarray] = {}
        place = 0
        for group, rows in zip(groups, advantages["planner"], strict=True):
            peers = [e for e in group if e.was_run]
            lines = iter(self._estimator.lines(peers))  # type: ignore[attr-defined]
            for episode, row_N in zip(group, rows, strict=True):
                worth_K = next(lines) if episode.was_run else None
                if worth_K is not None and episode.planning is not None:
                    told[place] = self._laid_on_tokens(episode, float(row_N[0]), worth_K)
                place += 1
        return told

    def _laid_on_tokens(self, episode: Episode, whole: float, worth_K: np.ndarray) -> np.ndarray:
        turn = episode.planning
        assert turn is not None and self._line_of is not None
        line_T = self._line_of(episode.contexts[turn.context].ids[turn.start : turn.end].tolist())
        laid_T = np.full(turn.end - turn.start, whole, np.float32)
        for line, worth in zip(subgoal_lines(turn.text), worth_K, strict=False):
            laid_T[line_T == line] = worth
        return laid_T

    def _over(
        self, groups: Sequence[Group], peers: Sequence[Group], role: Role, *, targets: bool = False
    ) -> list[list[TurnAdvantages]]:
        """Estimate among the peers, and lay the result over the whole groups."""
        estimate = self._estimator.targets if targets else self._estimator  # type: ignore[attr-defined]
        found = iter(estimate([group for group in peers if group], role))
        return [
            _with_gaps(group, iter(next(found) if any(e.was_run for e in group) else [])) for group in groups
        ]


def _judged(episode: Episode, group: Group) -> Episode:
    """Return a peer as it is judged: a prompt that a blueprint made too long earns its group's worst return."""
    if episode.stop is not StopReason.PROMPT_TOO_LONG or episode.blueprint is None:
        return episode
    worst = min(e.return_ for e in group if e.was_run)
    return replace(episode, env_return=worst + episode.penalty, judged=None)


def _laid(group: Group, peers: Iterator[Episode]) -> list[Episode]:
    """Return a group with its peers in the place of those that they were made from."""
    return [next(peers) if episode.was_run else episode for episode in group]


def _with_gaps(group: Group, rows: Iterator[TurnAdvantages]) -> list[TurnAdvantages]:
    """Return one row an episode; NaN over every turn of one that was not run."""
    return [
        next(rows) if episode.was_run else np.full(len(episode.turns), np.nan, np.float32)
        for episode in group
    ]


def _flat(per_group: Sequence[Sequence[TurnAdvantages]]) -> list[TurnAdvantages]:
    return [row for group in per_group for row in group]
