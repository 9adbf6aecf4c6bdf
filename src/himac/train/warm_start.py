"""The warm start: imitate an expert in both roles' format.

A demonstration is replayed through the same environment, agent and chat code as an episode, with the
expert's words where a model's would be. So what is imitated is exactly what will be seen later: the
planner's turn, the executor's segments, `<sub_done>` where a sub-goal ends. Random actions (noise) stay
in the context, so that recovery is seen, and are not imitated. Experts need not be perfect: one that now and then leaves
out what the task asks for (`sft.careless`) makes a start that has the skills and the wrong habit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from himac.agents.base import Agent
from himac.agents.flat import FlatAgent
from himac.agents.grammar import SUB_DONE, write_blueprint
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.one_stream import OneStreamAgent
from himac.chat import ChatFormat, Format, MessageFormat
from himac.chat.thoughts import THINK, UNTHINK
from himac.config import AgentConfig, SftConfig
from himac.envs.base import CarelessExpert, Describes, Env, Expert
from himac.errors import ConfigError, RunError, closest
from himac.images import Album, without_images
from himac.rollout.episode import Job, LiveEpisode
from himac.rollout.phases import TaskStream
from himac.seeds import derive, generator
from himac.types import Completion, Demonstration, Episode, Sample, Task


class Imitates(Protocol):
    """What learns from demonstrations."""

    def imitate(self, samples: Sequence[Sample], *, lr: float) -> dict[str, float]:
        """Take one step of cross-entropy on samples whose weights sum to 1; return metrics."""
        ...


def demonstrations(
    env: Env,
    expert: Expert,
    sft: SftConfig,
    *,
    split: str,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> list[Demonstration]:
    """Ask the expert for the configured number of demonstrations on tasks of a split.

    Raises:
        ConfigError: no task of the split is of a kind in `sft.kinds`.
        RunError: the expert solves too few tasks to go on.
    """
    wanted, tried = sft.demonstrations, 0
    found: list[Demonstration] = []
    stream = TaskStream(tasks=demonstrated(env.tasks(split), sft.kinds), seed=derive(seed, "sft"))
    while len(found) < wanted:
        (task,) = stream.at(tried, 1)
        careless = generator(seed, "sft careless", tried).random() < sft.careless
        show = _careless(expert, env.spec.name, sft) if careless else expert.demonstrate
        demo = show(task, seed=derive(seed, "sft", tried), noise=sft.noise)
        tried += 1
        if demo is not None:
            found.append(demo)
            if progress is not None:
                progress(1)
        if tried >= 100 and len(found) < tried / 20:
            raise RunError(f"the expert of {env.spec.name!r} solved {len(found)} of {tried} tasks")
    return found


def _careless(expert: Expert, name: str, sft: SftConfig) -> Callable[..., Demonstration | None]:
    """Return the expert's careless policy."""
    if not isinstance(expert, CarelessExpert):
        raise ConfigError(
            f"sft.careless is {sft.careless:g}, but the expert of {name!r} leaves nothing out",
            hint="set sft.careless = 0",
        )
    return expert.careless


def demonstrated(tasks: Sequence[Task], kinds: Sequence[str]) -> Sequence[Task]:
    """Return the tasks of some kinds; of all kinds when none is named.

    Raises:
        ConfigError: no task is of one of them.
    """
    known = sorted({task.kind for task in tasks})
    for kind in kinds:
        if kind not in known:
            raise ConfigError(
                f"sft.kinds has {kind!r}; the training tasks have: {', '.join(known)}{closest(kind, known)}"
            )
    return [task for task in tasks if task.kind in kinds] if kinds else tasks


def script(
    demo: Demonstration, *, flat: bool, says_done: bool = True, with_action: bool = False
) -> list[tuple[str, bool]]:
    """Return what the expert says, turn by turn, as (text, whether it is imitated).

    Args:
        demo: what it does.
        flat: it writes no blueprint, and no sub-goal is ever done.
        says_done: it says `<sub_done>`; False where a sub-goal ends with its budget of turns (the ablation).
        with_action: it says so behind the action that completes a sub-goal, where it can.

    >>> from himac.types import Task
    >>> demo = Demonstration(task=Task(env="toy", split="train", index=0), subgoals=("a", "b"),
    ...     actions=("x", "y"), segment_of=(0, 1), is_noise=(False, True))
    >>> [text for text, _ in script(demo, flat=False)][1:]
    ['<action>x</action>', '<sub_done>', '<action>y</action>']
    """
    lines = [] if flat else [(write_blueprint(demo.subgoals), True)]
    active = 0
    for action, segment, noise in zip(demo.actions, demo.segment_of, demo.is_noise, strict=True):
        while active < segment:
            active += 1
            if not says_done or flat:
                continue
            last, is_meant = lines[-1]
            if with_action and is_meant and last.endswith("</action>"):
                lines[-1] = (last + SUB_DONE, True)
            else:
                lines.append((SUB_DONE, True))
        lines.append((f"<action>{action}</action>", not noise))
    return lines


def replay(
    demo: Demonstration,
    agent: Agent,
    env: Env,
    chat: Format,
    lines: Sequence[tuple[str, bool]],
    *,
    hear: Callable[[str], None] | None = None,
    album: Album | None = None,
    think: bool = False,
) -> tuple[Episode, list[bool]]:
    """Play a demonstration through agent and environment; return its episode and what to imitate.

    Args:
        demo: says which task.
        agent: asks; the lines answer.
        env: where it happens.
        chat: turns the lines into tokens, or keeps them as text.
        lines: from `script`.
        hear: called with every message and every line, in order.
        album: keeps the pictures.
        think: say what is to be seen before each line, where the world has words for it.
    """
    job = Job(task=demo.task, replica=0, agent=agent, seed=0)
    live = LiveEpisode(job, env, chat, cfg=AgentConfig(), album=album)
    live.begin()
    wanted = []
    for text, imitate in lines:
        if live.finished or live.ask(1_000_000) is None or live.query is None:
            break
        if think and isinstance(env, Describes):
            seen = env.describe(brief=live.query.role == "executor")
            text = f"{THINK}{seen}{UNTHINK}{text}"
        if hear is not None:
            for message in live.query.messages:
                hear(message.content)
            hear(text)
        action = live.take(_said(text, chat))
        wanted.append(imitate)
        if action is not None:
            live.see(live.act(action))
    return live.record(cut_short=True), wanted


def demo_samples(
    demos: Sequence[Demonstration],
    env: Env,
    chat: ChatFormat,
    *,
    sft: SftConfig,
    agent: AgentConfig,
    plans: bool = True,
    progress: Callable[[int], None] | None = None,
    album: Album | None = None,
) -> list[list[Sample]]:
    """Return, per demonstration, its training samples (weights 1 a token, normalised by the batch).

    Args:
        demos: what is imitated.
        env: where it is played again.
        chat: turns it into tokens.
        sft: says whose format is demonstrated.
        agent: the limits and the context of who imitates it.
        plans: the method does; whom style = "method" demonstrates.
        progress: called after each demonstration.
        album: keeps the pictures of a world that shows them.
    """
    all_samples = []
    for demo in demos:
        samples: list[Sample] = []
        for player, lines in _played_by(env, demo, sft, agent, plans):
            episode, wanted = replay(demo, player, env, chat, lines, album=album, think=agent.think)
            samples += _imitated(episode, wanted, sft)
        all_samples.append(samples)
        if progress is not None:
            progress(1)
    return all_samples


def demo_texts(
    demos: Sequence[Demonstration],
    env: Env,
    *,
    sft: SftConfig,
    agent: AgentConfig,
    plans: bool = True,
    most: int = 500,
) -> list[str]:
    """Return what a tiny tokenizer learns its words from: all that is read and written in some demonstrations."""
    texts: list[str] = []
    for demo in demos[:most]:
        for player, lines in _played_by(env, demo, sft, agent, plans):
            replay(demo, player, env, MessageFormat(), lines, hear=texts.append, think=agent.think)
            if sft.describe and isinstance(env, Describes):
                texts.append(env.describe())  # of the last state; the words of pictures are these
    return [without_images(text) for text in texts]


def warm_start(
    learner: Imitates,
    samples: Sequence[Sequence[Sample]],
    sft: SftConfig,
    *,
    seed: int,
    report: Callable[[int, int, dict[str, float]], None] | None = None,
    first: int = 0,
) -> dict[str, float]:
    """Imitate the demonstrations; return the last step's metrics.

    Args:
        learner: takes the steps.
        samples: per demonstration, from `demo_samples`.
        sft: the [sft] section.
        seed: of the order of the demonstrations.
        report: called after each step with (step, steps, metrics).
        first: steps that were taken before: it goes on with the next one.
    """
    steps = dataclasses.replace(sft, demonstrations=len(samples)).steps
    metrics: dict[str, float] = {}
    for step, members in enumerate(_batches(len(samples), sft.batch, steps, seed)):
        if step < first:
            continue
        batch = [sample for i in members for sample in samples[i]]
        metrics = learner.imitate(_normalised(batch), lr=sft.lr * _cosine(step, steps))
        if report is not None:
            report(step + 1, steps, metrics)
    return metrics


def _said(text: str, chat: Format) -> Completion:
    """Return a line as what a model wrote."""
    if isinstance(chat, ChatFormat):
        ids = chat.answer(text)
        return Completion(ids=tuple(ids), logps=(0.0,) * len(ids), finish="stop")
    return Completion(text=text, finish="stop")


def _played_by(
    env: Env, demo: Demonstration, sft: SftConfig, cfg: AgentConfig, plans: bool
) -> Iterator[tuple[Agent, list[tuple[str, bool]]]]:
    """Yield, per style to be demonstrated, a fresh agent and what the expert says in its place."""
    style = sft.style if sft.style != "method" else "himac" if plans else "flat"
    if style in ("both", "himac"):
        lines = script(demo, flat=False, says_done=cfg.explicit_done, with_action=cfg.done_with_action)
        yield HierarchicalAgent(env.spec, cfg), lines
    if style in ("both", "flat"):
        yield FlatAgent(env.spec, cfg), script(demo, flat=True)
    if style == "stream":
        lines = script(demo, flat=False, says_done=cfg.explicit_done, with_action=cfg.done_with_action)
        yield OneStreamAgent(env.spec, cfg), lines


def _imitated(episode: Episode, wanted: Sequence[bool], sft: SftConfig) -> list[Sample]:
    """One sample per context, its weights on what is to be imitated."""
    weights = [np.zeros(len(context.ids), np.float32) for context in episode.contexts]
    for turn, imitate in zip(episode.turns, wanted, strict=True):
        worth = sft.planner_weight if turn.role == "planner" else 1.0
        weights[turn.context][turn.start : turn.end] = worth if imitate else 0.0
    roles = {turn.context: turn.role for turn in episode.turns}
    samples = []
    for index, (context, weights_T) in enumerate(zip(episode.contexts, weights, strict=True)):
        if weights_T.any():
            last = int(np.flatnonzero(weights_T)[-1]) + 1  # nothing after the last imitated token matters
            zeros_T = np.zeros(last, np.float32)
            samples.append(
                Sample(
                    ids=context.ids[:last],
                    mask=weights_T[:last] > 0,
                    logps=zeros_T,
                    advantages=zeros_T,
                    weights=weights_T[:last],
                    role=roles[index],
                )
            )
    return samples


def _normalised(samples: Sequence[Sample]) -> list[Sample]:
    """Scale the weights of a batch so that they sum to 1."""
    total = sum(float(s.weights.sum()) for s in samples)
    return [dataclasses.replace(s, weights=s.weights / total) for s in samples]


def _batches(count: int, size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Yield `steps` batches of indices, reshuffled every epoch."""
    order: list[int] = []
    epoch = 0
    for _ in range(steps):
        while len(order) < size:
            order += generator(seed, "sft order", epoch).permutation(count).tolist()
            epoch += 1
        yield order[:size]
        order = order[size:]


def _cosine(step: int, steps: int) -> float:
    """Warm up over the first twentieth, then fall to a tenth along a cosine."""
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.45 * (1 + float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup))))
