"""Episodes and advantages to training samples.

One idea: a context is a sample. Its mask holds the sampled tokens of the trained role's turns and nothing else,
so gradient reaches that role alone; its weights come from the whole set of episodes, so that an episode
counts the same however many turns it has. A critic is asked, and taught, at the last token before each turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from himac.algo.estimators import TurnAdvantages
from himac.algo.losses import Aggregation, token_weights
from himac.errors import RunError
from himac.types import Episode, Group, Role, Sample, Turn


def to_samples(
    episodes: Sequence[Episode],
    advantages: Sequence[TurnAdvantages],
    *,
    role: Role,
    aggregation: Aggregation = "episode",
    targets: Sequence[TurnAdvantages] | None = None,
) -> list[Sample]:
    """Return one sample per context that holds trained tokens with a non-zero advantage.

    Episodes without signal (advantage 0 on every turn) keep their place in the weights but cost no
    forward pass.

    Args:
        episodes: E episodes; copies contribute their own blueprint but not the execution they share.
        advantages: per episode, (N,) over its turns; NaN is not trained.
        role: whose tokens get gradient.
        aggregation: see `token_weights`.
        targets: per episode, (N,) what a critic should have said before each turn; None without a critic.
    """
    if any(turn.end == 0 for episode in episodes for turn in episode.turns):
        raise RunError(
            "episodes from an endpoint have no tokens and no log-probabilities, and cannot be trained on",
            hint="collect with a local model",
        )
    tokens_E = np.array([_count_tokens(e, a, role) for e, a in zip(episodes, advantages, strict=True)])
    weights_E = token_weights(tokens_E, aggregation=aggregation)
    samples: list[Sample] = []
    for place, (episode, turn_advantages) in enumerate(zip(episodes, advantages, strict=True)):
        if np.any(np.nan_to_num(turn_advantages) != 0):
            learnt = None if targets is None else targets[place]
            samples += _episode_samples(episode, turn_advantages, role, float(weights_E[place]), learnt)
    return samples


def appraise(groups: Sequence[Group], values: Callable[[Sequence[Sample]], list[np.ndarray]]) -> list[Group]:
    """Return the groups with each turn's `value` filled in.

    Args:
        groups: episodes, as collected.
        values: returns, per sample, one value for each place where its `targets` are not NaN, in reading order.
    """
    episodes = [episode for group in groups for episode in group]
    asked: list[Sample] = []
    answered_by: list[list[Turn]] = []
    for episode in episodes:
        for index, turns in _by_context(episode.turns):
            ids = episode.contexts[index].ids[: turns[-1].start]
            places_T = np.full(len(ids), np.nan, np.float32)
            places_T[[turn.start - 1 for turn in turns]] = 0.0
            nothing_T = np.zeros(len(ids), np.float32)
            asked.append(
                Sample(
                    ids=ids,
                    mask=nothing_T > 0,
                    logps=nothing_T,
                    advantages=nothing_T,
                    weights=nothing_T,
                    role=turns[0].role,
                    targets=places_T,
                )
            )
            answered_by.append(turns)
    answers = values(asked)
    value_of = {
        id(turn): float(value)
        for turns, values_K in zip(answered_by, answers, strict=True)
        for turn, value in zip(turns, values_K, strict=True)
    }
    appraised = iter(_with_values(episode, value_of) for episode in episodes)
    return [[next(appraised) for _ in group] for group in groups]


def _with_values(episode: Episode, value_of: dict[int, float]) -> Episode:
    plan = episode.plan and replace(episode.plan, value=value_of[id(episode.plan)])
    segments = [
        replace(segment, turns=tuple(replace(turn, value=value_of[id(turn)]) for turn in segment.turns))
        for segment in episode.segments
    ]
    return replace(episode, plan=plan, segments=tuple(segments))


def _by_context(turns: Sequence[Turn]) -> Iterator[tuple[int, list[Turn]]]:
    """Yield (index of a context, its turns in reading order)."""
    found: dict[int, list[Turn]] = {}
    for turn in turns:
        found.setdefault(turn.context, []).append(turn)
    yield from found.items()


def _count_tokens(episode: Episode, advantages_N: TurnAdvantages, role: Role) -> int:
    turns = zip(episode.turns, advantages_N, strict=True)
    return sum(t.end - t.start for t, a in turns if _is_trained(episode, t.role, role, a))


def _is_trained(episode: Episode, turn_role: Role, role: Role, advantage: float) -> bool:
    shared = episode.is_copy and turn_role == "micro"
    return turn_role == role and not shared and not np.isnan(advantage)


def _episode_samples(
    episode: Episode,
    advantages_N: TurnAdvantages,
    role: Role,
    weight: float,
    targets_N: TurnAdvantages | None,
) -> list[Sample]:
    place_of = {id(turn): place for place, turn in enumerate(episode.turns)}
    trained = [
        turn
        for turn, advantage in zip(episode.turns, advantages_N, strict=True)
        if _is_trained(episode, turn.role, role, advantage)
    ]
    samples = []
    for index, turns in _by_context(trained):
        context, last = episode.contexts[index], max(turn.end for turn in turns)
        mask_T, advantages_T = np.zeros(last, bool), np.zeros(last, np.float32)
        targets_T = None if targets_N is None else np.full(last, np.nan, np.float32)
        for turn in turns:  # nothing after the last trained token matters
            place = place_of[id(turn)]
            mask_T[turn.start : turn.end] = context.sampled[turn.start : turn.end]
            advantages_T[turn.start : turn.end] = advantages_N[place]
            if targets_T is not None and targets_N is not None:
                targets_T[turn.start - 1] = targets_N[place]
        samples.append(
            Sample(
                ids=context.ids[:last],
                mask=mask_T,
                logps=context.logps[:last],
                advantages=np.where(mask_T, advantages_T, 0).astype(np.float32),
                weights=np.where(mask_T, weight, 0).astype(np.float32),
                role=role,
                targets=targets_T,
            )
        )
    return samples
