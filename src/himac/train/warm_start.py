"""The warm start: imitate an expert in both roles' format.

One idea: a demonstration is replayed through the same environment, agent and chat code as an episode, with the
expert's words where a model's would be. So what is imitated is exactly what will be seen later: the
planner's turn, the executor's segments, `<sub_done>` where a sub-goal ends. Random actions (noise) stay
in the context, so that recovery is seen, and are not imitated. Experts need not be perfect: one that now and then leaves
out what the task asks for (`sft.careless`) makes a start that has the skills and the wrong habit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from himac.agents.base import Agent
from himac.agents.flat import FlatAgent
from himac.agents.grammar import SUB_DONE, write_blueprint
from himac.agents.hierarchical import HierarchicalAgent
from himac.chat import ChatFormat
from himac.config import Config, SftConfig
from himac.envs.base import CarelessExpert, Env, Expert
from himac.errors import ConfigError, RunError, closest
from himac.learner.learner import Learner
from himac.rollout.episode import Job, LiveEpisode, Penalties
from himac.rollout.phases import flat_settings, hierarchy_settings, next_tasks
from himac.seeds import derive, generator
from himac.types import Completion, Context, Demonstration, Episode, Sample, Task


def demonstrations(
    config: Config, env: Env, expert: Expert, *, progress: Callable[[int], None] | None = None
) -> list[Demonstration]:
    """Ask the expert for the configured number of demonstrations on training tasks.

    Raises:
        ConfigError: no training task is of a kind in `sft.kinds`.
        RunError: the expert solves too few tasks to go on.
    """
    wanted, tried = config.sft.demonstrations, 0
    found: list[Demonstration] = []
    tasks = _demonstrated(env.tasks(config.env.train_split), config.sft.kinds)
    while len(found) < wanted:
        task = next_tasks(tasks, start=tried, count=1, seed=derive(config.run.seed, "sft"))[0]
        careless = generator(config.run.seed, "sft careless", tried).random() < config.sft.careless
        show = _careless(config, expert) if careless else expert.demonstrate
        demo = show(task, seed=derive(config.run.seed, "sft", tried), noise=config.sft.noise)
        tried += 1
        if demo is not None:
            found.append(demo)
            if progress is not None:
                progress(1)
        if tried >= 100 and len(found) < tried / 20:
            raise RunError(f"the expert of {config.env.name!r} solved {len(found)} of {tried} tasks")
    return found


def _careless(config: Config, expert: Expert) -> Callable[..., Demonstration | None]:
    """Return what plays, and leaves something out."""
    if not isinstance(expert, CarelessExpert):
        raise ConfigError(
            f"sft.careless is {config.sft.careless:g}, but the expert of {config.env.name!r} leaves nothing out",
            hint="set sft.careless = 0",
        )
    return expert.careless


def _demonstrated(tasks: Sequence[Task], kinds: Sequence[str]) -> Sequence[Task]:
    """Return the tasks of some kinds; of all kinds when none is named."""
    known = sorted({task.kind for task in tasks})
    for kind in kinds:
        if kind not in known:
            raise ConfigError(
                f"sft.kinds has {kind!r}; the training tasks have: {', '.join(known)}{closest(kind, known)}"
            )
    return [task for task in tasks if task.kind in kinds] if kinds else tasks


def script(demo: Demonstration, *, flat: bool) -> list[tuple[str, bool]]:
    """Return what the expert says, turn by turn, as (text, whether it is imitated).

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
            if not flat:
                lines.append((SUB_DONE, True))
        lines.append((f"<action>{action}</action>", not noise))
    return lines


def replay(
    demo: Demonstration, agent: Agent, env: Env, chat: ChatFormat, lines: Sequence[tuple[str, bool]]
) -> tuple[Episode, list[bool]]:
    """Play a demonstration through agent and environment; return its episode and what to imitate."""
    job = Job(task=demo.task, replica=0, agent=agent, seed=0)
    live = LiveEpisode(job, env, chat, penalties=Penalties())
    live.begin()
    wanted = []
    for text, imitate in lines:
        if live.finished or live.ask(1_000_000) is None:
            break
        ids = chat.answer(text)
        action = live.take(Completion(ids=tuple(ids), logps=(0.0,) * len(ids), finish="stop"))
        wanted.append(imitate)
        if action is not None:
            live.see(action, live.act(action))
    return live.record(cut_short=True), wanted


def demo_samples(
    config: Config,
    demos: Sequence[Demonstration],
    env: Env,
    chat: ChatFormat,
    *,
    progress: Callable[[int], None] | None = None,
) -> list[list[Sample]]:
    """Return, per demonstration, its training samples (weights 1 a token, normalised by the batch)."""
    all_samples = []
    for demo in demos:
        samples: list[Sample] = []
        for agent, lines in _played_by(config, env, demo):
            episode, wanted = replay(demo, agent, env, chat, lines)
            samples += _imitated(episode, wanted, config.sft)
        all_samples.append(samples)
        if progress is not None:
            progress(1)
    return all_samples


def demo_texts(config: Config, demos: Sequence[Demonstration], env: Env, *, most: int = 500) -> list[str]:
    """Return what a tiny tokenizer learns its words from: all that is read and written in some demonstrations."""
    texts: list[str] = []
    for demo in demos[:most]:
        for agent, lines in _played_by(config, env, demo):
            texts += _conversation(demo, agent, env, lines)
    return texts


def warm_start(
    config: Config,
    learner: Learner,
    samples: Sequence[Sequence[Sample]],
    *,
    report: Callable[[int, int, dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Imitate the demonstrations; return the last step's metrics.

    Args:
        config: the [sft] section.
        learner: takes the steps.
        samples: per demonstration, from `demo_samples`.
        report: called after each step with (step, steps, metrics).
    """
    sft = config.sft
    steps = max(1, round(sft.epochs * len(samples) / sft.batch))
    metrics: dict[str, float] = {}
    for step, members in enumerate(_batches(len(samples), sft.batch, steps, config.run.seed)):
        batch = [sample for i in members for sample in samples[i]]
        metrics = learner.imitate(_normalised(batch), lr=sft.lr * _cosine(step, steps))
        if report is not None:
            report(step + 1, steps, metrics)
    return metrics


def _played_by(
    config: Config, env: Env, demo: Demonstration
) -> Iterator[tuple[Agent, list[tuple[str, bool]]]]:
    """Yield, per style to be demonstrated, a fresh agent and what the expert says in its place."""
    if config.sft.style in ("both", "himac"):
        agent = HierarchicalAgent(env.spec, hierarchy_settings(config, env.spec, 0.0, 0.0))
        yield agent, script(demo, flat=False)
    if config.sft.style in ("both", "flat"):
        flat_agent = FlatAgent(env.spec, flat_settings(config, env.spec, 0.0))
        yield flat_agent, script(demo, flat=True)


def _conversation(
    demo: Demonstration, agent: Agent, env: Env, lines: Sequence[tuple[str, bool]]
) -> list[str]:
    """Return the messages of a demonstration as plain text."""
    texts = []
    agent.start(env.reset(demo.task))
    for text, _ in lines:
        if agent.stop is not None:
            break
        texts += [message.content for message in agent.prompt().messages] + [text]
        reply = agent.receive(text)
        if reply.action is not None:
            agent.observe(env.step(reply.action))
    return texts


def _imitated(episode: Episode, wanted: Sequence[bool], sft: SftConfig) -> list[Sample]:
    """One sample per context, its weights on what is to be imitated and, more lightly, foreseen."""
    weights = [_foreseen(context, sft.context_weight) for context in episode.contexts]
    for turn, imitate in zip(episode.turns, wanted, strict=True):
        worth = sft.macro_weight if turn.role == "macro" else 1.0
        weights[turn.context][turn.start : turn.end] = worth if imitate else 0.0
    roles = {turn.context: turn.role for turn in episode.turns}
    samples = []
    for place, (context, weights_T) in enumerate(zip(episode.contexts, weights, strict=True)):
        if weights_T.any():
            last = int(np.flatnonzero(weights_T)[-1]) + 1
            zeros_T = np.zeros(last, np.float32)
            mask_T, kept_T = weights_T[:last] > 0, weights_T[:last]
            samples.append(
                Sample(
                    ids=context.ids[:last],
                    mask=mask_T,
                    logps=zeros_T,
                    advantages=zeros_T,
                    weights=kept_T,
                    role=roles[place],
                )
            )
    return samples


def _foreseen(context: Context, weight: float) -> np.ndarray:
    """(T,) `weight` on the world's answers: whatever follows the first thing said, sampled or not."""
    weights_T = np.zeros(len(context.ids), np.float32)
    if context.sampled.any():
        weights_T[int(context.sampled.argmax()) :] = weight
    return weights_T


def _normalised(samples: Sequence[Sample]) -> list[Sample]:
    """Scale the weights of a batch so that they sum to 1."""
    total = sum(float(s.weights.sum()) for s in samples)
    return [dataclasses.replace(s, weights=s.weights / total) for s in samples]


def _batches(count: int, size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Yield `steps` batches of places, reshuffling at every pass."""
    order: list[int] = []
    turn = 0
    for _ in range(steps):
        while len(order) < size:
            order += generator(seed, "sft order", turn).permutation(count).tolist()
            turn += 1
        yield order[:size]
        order = order[size:]


def _cosine(step: int, steps: int) -> float:
    """Warm up over the first twentieth, then fall to a tenth along a cosine."""
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.45 * (1 + float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup))))
