"""Evaluation: every task once, greedily or at a small temperature; with Reflexion, as many trials as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from himac.agents.base import Assignment
from himac.agents.reflexion import notes_of
from himac.rollout.episode import Job
from himac.rollout.phases import LocalCollector
from himac.rollout.summary import conclude
from himac.seeds import derive, generator
from himac.types import Episode, Row, Task


def subset(tasks: Sequence[Task], count: int) -> Sequence[Task]:
    """Return `count` tasks spread over a split, one drawn from each of `count` equal parts; 0 is the whole split.

    The draw depends on the split and the count alone, so every run and every method sees the same tasks. The first
    tasks of a split would do as a sample only where its order means nothing.
    """
    if not count or count >= len(tasks):
        return tasks
    offsets = generator("subset", tasks[0].env, tasks[0].split, count).random(count)
    edges = [part * len(tasks) // count for part in range(count + 1)]
    parts = zip(edges, edges[1:], offsets, strict=False)
    return [tasks[first + int(offset * (end - first))] for first, end, offset in parts]


def evaluate(
    collector: LocalCollector,
    tasks: Sequence[Task],
    *,
    temperature: float,
    seed: int = 0,
    trials: int = 1,
    progress: Callable[[int], None] | None = None,
    known: Sequence[Episode] = (),
    keep: Callable[[Episode], None] | None = None,
) -> tuple[Row, list[Episode]]:
    """Run every task once and summarise; where there are trials, run those again that are not solved.

    Args:
        collector: runs the episodes with the method's agent.
        tasks: the split.
        temperature: of both roles; 0 is greedy.
        seed: of the sampling.
        trials: attempts a task at most; an episode's replica is its trial.
        progress: called with the number of tasks that have just been attempted for the first time.
        known: episodes of an earlier, interrupted evaluation; they count and are not run again.
        keep: called with each new episode the moment it is finished.

    Returns:
        (summary, every episode, known and new, by trial and then by task).
    """
    began = time.perf_counter()
    by_task = _by_task(tasks, known, trials)
    if progress is not None and known:
        progress(sum(0 in attempts for attempts in by_task.values()))
    for trial in range(trials):
        jobs = [
            _job(
                collector,
                task,
                attempts,
                trial,
                is_last=trial == trials - 1,
                temperature=temperature,
                seed=seed,
            )
            for task, attempts in by_task.items()
            if trial not in attempts and not any(e.success for e in attempts.values())
        ]
        ticks = progress if trial == 0 else None
        for episode in collector.runner.run(jobs, progress=ticks, keep=keep):
            by_task[episode.task][trial] = episode
    episodes = [by_task[task][k] for k in range(trials) for task in tasks if k in by_task[task]]
    spent = {"temperature": temperature, "seconds": round(time.perf_counter() - began, 2)}
    return conclude(episodes) | spent, episodes


def _by_task(tasks: Sequence[Task], known: Sequence[Episode], trials: int) -> dict[Task, dict[int, Episode]]:
    """Return {task: {trial: what is already there}}."""
    found: dict[Task, dict[int, Episode]] = {task: {} for task in tasks}
    for episode in known:
        if episode.task in found and episode.replica < trials:
            found[episode.task][episode.replica] = episode
    return found


def _job(
    collector: LocalCollector,
    task: Task,
    attempts: dict[int, Episode],
    trial: int,
    *,
    is_last: bool,
    temperature: float,
    seed: int,
) -> Job:
    """Return one trial of one task."""
    assignment = Assignment(
        planner_temperature=temperature,
        executor_temperature=temperature,
        notes=notes_of([attempts[k] for k in sorted(attempts)]),
        is_last=is_last,
    )
    label = (seed, "evaluate", task.split, task.index, *((trial,) if trial else ()))
    return Job(task=task, replica=trial, agent=collector.agent(assignment), seed=derive(*label))
