"""Episodes and advantages to training samples.

A context is a sample. Its mask holds the sampled tokens of the trained role's turns and nothing else,
so gradient reaches that role alone; its weights come from the whole set of episodes, so that an episode
counts the same however many turns it has. A critic is asked, and taught, at the last token before each turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from himac.algo.estimators import TurnAdvantages
from himac.algo.losses import Aggregation, token_weights
from himac.errors import RunError
from himac.types import Episode, Group, Role, Sample, Turn

NO_PLANS: Mapping[int, np.ndarray] = MappingProxyType({})


def to_samples(
    episodes: Sequence[Episode],
    advantages: Sequence[TurnAdvantages],
    *,
    role: Role,
    aggregation: Aggregation = "episode",
    targets: Sequence[TurnAdvantages] | None = None,
    keep_flat: bool = False,
    plans: Mapping[int, np.ndarray] = NO_PLANS,
) -> list[Sample]:
    """Return one sample per context that holds trained tokens.

    Episodes without signal (advantage 0 on every turn) have no policy gradient, but are held to the reference like
    any other. Where no KL or entropy term asks for them they cost no forward pass and keep their place in the weights.

    Args:
        episodes: E episodes; copies contribute their own blueprint but not the execution they share.
        advantages: per episode, (N,) over its turns; NaN is not trained.
        role: whose tokens get gradient.
        aggregation: see `token_weights`.
        targets: per episode, (N,) what a critic should have said before each turn; None without a critic.
        keep_flat: whether episodes without signal are samples too.
        plans: {place of an episode: (T,) advantages of its blueprint's tokens}, where they are not all the same.
    """
    if any(turn.end == 0 for episode in episodes for turn in episode.turns):
        raise RunError(
            "episodes from an endpoint have no tokens and no log-probabilities, and cannot be trained on",
            hint="collect with a local model",
        )
    tokens_E = np.array([_count_tokens(e, a, role) for e, a in zip(episodes, advantages, strict=True)])
    weights_E = token_weights(tokens_E, aggregation=aggregation)
    samples: list[Sample] = []
    for index, (episode, turn_advantages) in enumerate(zip(episodes, advantages, strict=True)):
        own = plans.get(index)
        if keep_flat or np.any(np.nan_to_num(turn_advantages) != 0) or (own is not None and own.any()):
            learnt = None if targets is None else targets[index]
            found = _episode_samples(episode, turn_advantages, role, float(weights_E[index]), learnt)
            samples += found if own is None else [_with_plan(sample, own) for sample in found]
    return samples


def _with_plan(sample: Sample, own_T: np.ndarray) -> Sample:
    """Lay the advantages of a blueprint's tokens, which are all that a planner's sample trains, over it."""
    advantages_T = sample.advantages.copy()
    advantages_T[len(sample.ids) - len(own_T) :] = own_T
    return replace(sample, advantages=np.where(sample.mask, advantages_T, 0).astype(np.float32))


def fill_values(
    groups: Sequence[Group], values: Callable[[Sequence[Sample]], list[np.ndarray]]
) -> list[Group]:
    """Return the groups with each turn's `value` filled in.

    Args:
        groups: episodes, as collected.
        values: returns, per sample, one value for each place where its `targets` are not NaN, in reading order.
    """
    episodes = [episode for group in groups for episode in group]
    asked = [
        (number, indices, _question(episode, context, indices))
        for number, episode in enumerate(episodes)
        for context, indices in _by_context(episode.turns)
    ]
    answers = values([sample for _, _, sample in asked])
    values_N = [[0.0] * len(episode.turns) for episode in episodes]
    for (number, indices, _), values_K in zip(asked, answers, strict=True):
        for index, value in zip(indices, values_K, strict=True):
            values_N[number][index] = float(value)
    filled = iter(_with_values(episode, row) for episode, row in zip(episodes, values_N, strict=True))
    return [[next(filled) for _ in group] for group in groups]


def _question(episode: Episode, context: int, indices: Sequence[int]) -> Sample:
    """Return what a critic is shown of a context: all up to its last turn, asked before each of its turns."""
    turns = [episode.turns[index] for index in indices]
    ids = episode.contexts[context].ids[: turns[-1].start]
    targets_T = np.full(len(ids), np.nan, np.float32)
    targets_T[[turn.start - 1 for turn in turns]] = 0.0
    nothing_T = np.zeros(len(ids), np.float32)
    return Sample(
        ids=ids,
        mask=nothing_T > 0,
        logps=nothing_T,
        advantages=nothing_T,
        weights=nothing_T,
        role=turns[0].role,
        targets=targets_T,
    )


def _with_values(episode: Episode, values_N: Sequence[float]) -> Episode:
    """Fill in the turns' values, in the order of `Episode.turns`."""
    rest = iter(values_N)
    planning = episode.planning and replace(episode.planning, value=next(rest))
    segments = [
        replace(segment, turns=tuple(replace(turn, value=next(rest)) for turn in segment.turns))
        for segment in episode.segments
    ]
    return replace(episode, planning=planning, segments=tuple(segments))


def _by_context(turns: Sequence[Turn]) -> Iterator[tuple[int, list[int]]]:
    """Yield (index of a context, indices of its turns in reading order)."""
    found: dict[int, list[int]] = {}
    for index, turn in enumerate(turns):
        found.setdefault(turn.context, []).append(index)
    yield from found.items()


def _count_tokens(episode: Episode, advantages_N: TurnAdvantages, role: Role) -> int:
    turns = zip(episode.turns, advantages_N, strict=True)
    return sum(t.end - t.start for t, a in turns if _is_trained(episode, t.role, role, a))


def _is_trained(episode: Episode, turn_role: Role, role: Role, advantage: float) -> bool:
    # a copy's execution is its leader's: counted once, or identical blueprints would weigh double
    shared = episode.is_copy and turn_role == "executor"
    return turn_role == role and not shared and not np.isnan(advantage)


def _episode_samples(
    episode: Episode,
    advantages_N: TurnAdvantages,
    role: Role,
    weight: float,
    targets_N: TurnAdvantages | None,
) -> list[Sample]:
    turns, samples = episode.turns, []
    for index, members in _by_context(turns):
        trained = [i for i in members if _is_trained(episode, turns[i].role, role, advantages_N[i])]
        if not trained:
            continue
        context, last = episode.contexts[index], max(turns[i].end for i in trained)
        mask_T, advantages_T = np.zeros(last, bool), np.zeros(last, np.float32)
        targets_T = None if targets_N is None else np.full(last, np.nan, np.float32)
        for i in trained:  # nothing after the last trained token matters
            start, end = turns[i].start, turns[i].end
            # a context that was trimmed repeats turns as text: only what was sampled here has gradient
            mask_T[start:end] = context.sampled[start:end]
            advantages_T[start:end] = advantages_N[i]
            if targets_T is not None and targets_N is not None:
                targets_T[start - 1] = targets_N[i]
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
