"""The four ways to collect a training set: who samples, who is greedy, who is grouped with whom.

    explore   N blueprints a task, each run by the greedy, frozen executor          (phase A)
    execute   M sampled executions of one given blueprint a task                    (phase B)
    joint     N blueprints a task, each with one sampled execution                  (ablation)
    attempt   G sampled attempts of a flat agent a task                             (flat baselines)
    evaluate  one attempt a task; with Reflexion, as many trials as it takes, up to eval.trials

One idea: a phase is a list of jobs. Everything that differs between phases is which agent a job carries and which
seed it has; the collector runs them all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from himac.agents.base import Agent, Limits
from himac.agents.flat import FlatAgent, FlatSettings
from himac.agents.grammar import SUB_DONE
from himac.agents.hierarchical import HierarchicalAgent, HierarchySettings
from himac.agents.react import ReActAgent
from himac.agents.reflexion import ReflexionAgent, notes_of
from himac.config import Config
from himac.errors import ConfigError
from himac.rollout.collect import Collector
from himac.rollout.episode import Job, blueprint_logp
from himac.seeds import derive, generator
from himac.types import Blueprint, EnvSpec, Episode, Group, Sampling, Task

Progress = Callable[[int], None]


class Phases:
    """Builds the jobs of each phase and hands them to a collector.

    Args:
        config: the run's settings.
        spec: the world.
        collector: runs the jobs.
    """

    def __init__(self, config: Config, spec: EnvSpec, collector: Collector) -> None:
        self.config, self.spec, self.collector = config, spec, collector

    def explore(self, tasks: Sequence[Task], step: int, *, progress: Progress | None = None) -> list[Group]:
        """Phase A: groups of N blueprints a task under the greedy executor."""
        size, bold = self.config.rollout.group_size, self.config.rollout.planner_temperature
        return self._groups(
            tasks, size, ("explore", step), lambda _: self.hierarchical(macro=bold), progress,
            share_identical=self.spec.deterministic,
        )  # fmt: skip

    def execute(
        self,
        tasks: Sequence[Task],
        blueprints: Sequence[Blueprint],
        step: int,
        *,
        progress: Progress | None = None,
    ) -> list[Group]:
        """Phase B: groups of M sampled executions of each task's blueprint."""
        size = self.config.rollout.micro_group_size
        return self._groups(
            tasks,
            size,
            ("execute", step),
            lambda place: self.hierarchical(micro=self._temperature, blueprint=blueprints[place]),
            progress,
        )

    def joint(self, tasks: Sequence[Task], step: int, *, progress: Progress | None = None) -> list[Group]:
        """The ablation without co-evolution: both levels explore in the same episodes."""
        size, t = self.config.rollout.group_size, self._temperature
        return self._groups(
            tasks, size, ("joint", step), lambda _: self.hierarchical(macro=t, micro=t), progress
        )

    def attempt(self, tasks: Sequence[Task], step: int, *, progress: Progress | None = None) -> list[Group]:
        """Flat baselines: groups of sampled attempts at each task."""
        size, t = self.config.rollout.group_size, self._temperature
        return self._groups(tasks, size, ("attempt", step), lambda _: self.flat(t), progress)

    def evaluate(
        self,
        tasks: Sequence[Task],
        *,
        temperature: float,
        seed: int,
        progress: Progress | None = None,
        known: Sequence[Episode] = (),
        keep: Callable[[Episode], None] | None = None,
    ) -> list[Episode]:
        """Run each task once, as the configured method's agent does when it is not learning.

        Reflexion runs the tasks that are not solved again, with what was noted; an episode's replica is its trial.

        Args:
            tasks: what to run.
            temperature: 0 is greedy.
            seed: of the sampling.
            progress: called with the number of tasks that have just been attempted for the first time.
            known: episodes of an earlier, interrupted call; they are not run again.
            keep: called with each new episode the moment it is finished.

        Returns:
            Every episode, known and new, by trial and then by task.
        """
        trials = self.config.eval.trials if self.config.algo.method == "reflexion" else 1
        by_task: dict[Task, dict[int, Episode]] = {task: {} for task in tasks}
        for episode in known:
            if episode.task in by_task and episode.replica < trials:
                by_task[episode.task][episode.replica] = episode
        if progress is not None and known:
            progress(sum(0 in attempts for attempts in by_task.values()))
        for trial in range(trials):
            jobs = []
            for task, attempts in by_task.items():
                if trial in attempts or any(e.success for e in attempts.values()):
                    continue
                notes = notes_of([attempts[k] for k in sorted(attempts)])
                agent = self.agent(temperature, notes=notes, is_last=trial == trials - 1)
                label = (seed, "evaluate", task.split, task.index, *((trial,) if trial else ()))
                jobs.append(Job(task=task, replica=trial, agent=agent, seed=derive(*label)))
            ticks = progress if trial == 0 else None
            for episode in self.collector.collect(jobs, progress=ticks, keep=keep):
                by_task[episode.task][trial] = episode
        return [by_task[task][k] for k in range(trials) for task in tasks if k in by_task[task]]

    def agent(self, temperature: float = 0.0, *, notes: Sequence[str] = (), is_last: bool = True) -> Agent:
        """Build the configured method's agent as it acts when it is not learning.

        Args:
            temperature: 0 is greedy.
            notes: what Reflexion noted after earlier trials.
            is_last: no trial of Reflexion follows.
        """
        method, t = self.config.algo.method, temperature
        if method == "himac":
            return self.hierarchical(macro=t, micro=t)
        if method == "react":
            return ReActAgent(self.spec, flat_settings(self.config, self.spec, t))
        if method == "reflexion":
            return self.reflexion(t, notes=notes, is_last=is_last)
        return self.flat(t)

    def hierarchical(
        self, *, macro: float = 0.0, micro: float = 0.0, blueprint: Blueprint | None = None
    ) -> HierarchicalAgent:
        """Build a hierarchical agent with the given temperatures; 0 is greedy."""
        return HierarchicalAgent(
            self.spec, hierarchy_settings(self.config, self.spec, macro, micro), blueprint=blueprint
        )

    def flat(self, temperature: float = 0.0) -> FlatAgent:
        """Build a flat agent."""
        return FlatAgent(self.spec, flat_settings(self.config, self.spec, temperature))

    def reflexion(self, temperature: float, *, notes: Sequence[str], is_last: bool) -> ReflexionAgent:
        """Build the agent of one of Reflexion's trials.

        Raises:
            ConfigError: the context forgets, so that there is nothing to reflect on.
        """
        agent = self.config.agent
        if agent.context == "step":
            raise ConfigError(
                'agent.context must be "segment" or "full" for method "reflexion", got "step"',
                hint="a note is about the whole trial",
            )
        return ReflexionAgent(
            self.spec,
            flat_settings(self.config, self.spec, temperature),
            sampling=Sampling(max_tokens=agent.macro_tokens, temperature=temperature),
            notes=notes,
            reflect=not is_last,
        )

    @property
    def _temperature(self) -> float:
        return self.config.rollout.temperature

    def _groups(
        self,
        tasks: Sequence[Task],
        size: int,
        label: tuple[str, int],
        make_agent: Callable[[int], Agent],
        progress: Progress | None,
        *,
        share_identical: bool = False,
    ) -> list[Group]:
        """Run `size` jobs a task and cut the episodes into one group a task."""
        seed, (phase, step) = self.config.run.seed, label
        jobs = [
            Job(
                task=task,
                replica=replica,
                agent=make_agent(place),
                seed=derive(seed, phase, step, task.index, replica),
                env_seed=derive(seed, "env", task.index),
            )
            for place, task in enumerate(tasks)
            for replica in range(size)
        ]
        episodes = self.collector.collect(jobs, share_identical=share_identical, progress=progress)
        return [episodes[place * size : (place + 1) * size] for place in range(len(tasks))]


def best_blueprint(group: Group) -> int:
    """Return the place of z*: highest return, then fewest environment steps, then highest log-probability."""
    keys = [(e.ret, -e.env_steps, blueprint_logp(e)) for e in group]
    return max(range(len(group)), key=keys.__getitem__)


def choose(groups: Sequence[Group], *, select: str, seed: int) -> list[int]:
    """Return, per group, the place of the blueprint that phase B executes ("random" is the ablation)."""
    if select == "best":
        return [best_blueprint(group) for group in groups]
    rng = generator(seed, "choose")
    return [int(rng.integers(len(group))) for group in groups]


def next_tasks(tasks: Sequence[Task], *, start: int, count: int, seed: int) -> list[Task]:
    """Return `count` tasks from position `start` of an endless stream: the split, reshuffled every pass."""
    picked, size = [], len(tasks)
    orders: dict[int, np.ndarray] = {}
    for position in range(start, start + count):
        turn = position // size
        if turn not in orders:
            orders[turn] = generator(seed, "order", turn).permutation(size)
        picked.append(tasks[int(orders[turn][position % size])])
    return picked


def hierarchy_settings(config: Config, spec: EnvSpec, macro: float, micro: float) -> HierarchySettings:
    """Translate the config for a hierarchical agent."""
    agent = config.agent
    stop = ("</action>", SUB_DONE) if agent.explicit_done else ("</action>",)
    return HierarchySettings(
        limits=_limits(config, spec),
        context=agent.context,
        last_pairs=agent.last_pairs,
        explicit_done=agent.explicit_done,
        macro=Sampling(max_tokens=agent.macro_tokens, temperature=macro, stop=("</blueprint>",)),
        micro=Sampling(max_tokens=agent.micro_tokens, temperature=micro, stop=stop),
    )


def flat_settings(config: Config, spec: EnvSpec, temperature: float) -> FlatSettings:
    """Translate the config for a flat agent; the hierarchical default "segment" means "full" without segments."""
    agent = config.agent
    return FlatSettings(
        limits=_limits(config, spec),
        context="full" if agent.context == "segment" else agent.context,
        last_pairs=agent.last_pairs,
        micro=Sampling(max_tokens=agent.micro_tokens, temperature=temperature, stop=("</action>",)),
    )


def _limits(config: Config, spec: EnvSpec) -> Limits:
    return Limits(
        max_steps=config.agent.max_steps or spec.max_steps,
        max_subgoals=config.agent.max_subgoals,
        subgoal_turns=config.agent.subgoal_turns,
    )
