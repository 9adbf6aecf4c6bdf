"""The phases of a method, and the local Collector that runs them.

    planner   phase A: N blueprints a task, each run by the greedy, frozen executor
    executor  phase B: M sampled executions of one given blueprint a task
    joint     N blueprints a task, each with one sampled execution                    (ablation)
    flat      G sampled attempts of an agent without a planner                        (flat baselines)

A phase is a list of jobs. Its roles sample, the others are greedy; which agent a job carries and which seed it has is
all that differs, and the runner runs them all alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from himac.agents.base import Agent, Assignment
from himac.config import AgentConfig, AlgoConfig, RolloutConfig
from himac.rollout.collect import CollectClock, Runner
from himac.rollout.episode import Job, blueprint_logp
from himac.seeds import COLLECT, derive, generator
from himac.types import Blueprint, EnvSpec, Episode, Group, PhaseSpec, Role, StopReason, Task, Weights

MakeAgent = Callable[[EnvSpec, AgentConfig, Assignment], Agent]


def phases_of(algo: AlgoConfig, rollout: RolloutConfig, *, plans: bool) -> tuple[PhaseSpec, ...]:
    """Return the phases of one iteration.

    Args:
        algo: the [algo] section.
        rollout: the [rollout] section.
        plans: whether the method's agent writes blueprints.
    """
    acting = PhaseSpec(
        name="executor",
        roles=("executor",),
        temperature=rollout.temperature,
        epochs=algo.epochs[1],
        minibatches=algo.minibatches[1],
        minibatch_turns=algo.minibatch_turns,
    )
    if not plans:
        return (replace(acting, name="flat"),)
    planning = PhaseSpec(
        name="planner",
        judge=rollout.judge,
        roles=("planner",),
        temperature=rollout.planner_temperature or rollout.temperature,
        epochs=algo.epochs[0],
        minibatches=algo.minibatches[0],
        minibatch_turns=algo.minibatch_turns,
    )
    return (planning, acting) if algo.coevolution else (_joint(planning, acting),)


def _joint(planning: PhaseSpec, acting: PhaseSpec) -> PhaseSpec:
    """Return the ablation's phase: both roles at the temperatures, and with the number of steps, of the two phases."""
    steps = planning.epochs * planning.minibatches + acting.epochs * acting.minibatches
    return replace(
        acting,
        name="joint",
        roles=("planner", "executor"),
        planner_temperature=planning.temperature,
        minibatches=max(1, round(steps / max(acting.epochs, 1))),
    )


def size_of(phase: PhaseSpec, rollout: RolloutConfig, *, given: bool) -> int:
    """Return the episodes a task of a phase; `given`: their blueprints are."""
    return phase.size or (rollout.executor_group_size if given else rollout.group_size)


class LocalCollector:
    """Makes phases into jobs in this process.

    Args:
        runner: runs the jobs, here or elsewhere.
        spec: the world.
        make_agent: builds an agent for one episode.
        agent: the [agent] section.
        rollout: the [rollout] section.
        seed: the run's.
    """

    def __init__(
        self,
        runner: Runner,
        spec: EnvSpec,
        make_agent: MakeAgent,
        *,
        agent: AgentConfig,
        rollout: RolloutConfig,
        seed: int,
    ) -> None:
        self.runner, self.spec = runner, spec
        self._replans = getattr(make_agent, "replans", False)  # then one plan is not one execution
        self._make_agent, self._agent, self._rollout, self._seed = make_agent, agent, rollout, seed
        self._begun_version = 0

    def collect(
        self,
        phase: PhaseSpec,
        tasks: Sequence[Task],
        *,
        blueprints: Sequence[Blueprint] = (),
        iteration: int = 0,
        version: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> list[Group]:
        """Return one group a task.

        Args:
            phase: who samples.
            tasks: what to run.
            blueprints: one a task, to be carried out; none: agents that plan write their own.
            iteration: of the run, from 0; the seeds depend on it.
            version: of the learner's weights; here they are what is sampled with, unless those may be behind.
            progress: called with the number of episodes that have just finished.
        """
        size = size_of(phase, self._rollout, given=bool(blueprints))
        jobs = self._jobs(phase, tasks, blueprints, iteration)
        episodes = self.runner.run(jobs, share_identical=self._shares(phase), progress=progress)
        if self.runner.is_stale:
            self.runner.clock.stale_steps = version - self._begun_version
        return [episodes[first : first + size] for first in range(0, len(episodes), size)]

    def begin(
        self,
        phase: PhaseSpec,
        tasks: Sequence[Task],
        *,
        blueprints: Sequence[Blueprint] = (),
        iteration: int = 0,
        version: int = 0,
        moving: Sequence[Role],
    ) -> None:
        """Begin what `collect` will be asked for, beside an update; roles that it moves are not asked before that."""
        self._begun_version = version
        jobs = self._jobs(phase, tasks, blueprints, iteration)
        self.runner.begin(jobs, share_identical=self._shares(phase), moving=moving)

    def _jobs(
        self, phase: PhaseSpec, tasks: Sequence[Task], blueprints: Sequence[Blueprint], iteration: int
    ) -> list[Job]:
        """Return a phase's episodes, the attempts at each task together."""
        label = COLLECT.get(phase.name, phase.name)
        size = size_of(phase, self._rollout, given=bool(blueprints))
        given: Sequence[Blueprint | None] = blueprints or [None] * len(tasks)
        seen: Counter[Task] = Counter()
        jobs: list[Job] = []
        for task, blueprint in zip(tasks, given, strict=True):
            again = (
                (seen[task],) if seen[task] else ()
            )  # a task that comes twice is not run with the same seeds
            seen[task] += 1
            jobs += [
                Job(
                    task=task,
                    replica=replica,
                    agent=self.agent(_assignment(phase, blueprint)),
                    seed=derive(self._seed, label, iteration, task.index, replica, *again),
                    env_seed=derive(self._seed, "env", task.index, *again),
                )
                for replica in range(size)
            ]
        return jobs

    def _shares(self, phase: PhaseSpec) -> bool:
        """Whether identical blueprints are one execution: what a greedy, frozen executor makes of one is the same twice.

        Where it is sampled, to judge, those who wrote the same share the judges too.
        """
        return "executor" not in phase.roles and self.spec.deterministic and not self._replans

    def agent(self, assignment: Assignment) -> Agent:
        """Build an agent for one episode."""
        return self._make_agent(self.spec, self._agent, assignment)

    def release(self) -> None:
        """Give back what memory the engine can do without, until new weights come."""
        self.runner.release()

    def load_weights(self, state: Weights, *, version: int) -> None:
        """Sample with new weights from now on; None: the engine shares the learner's module."""
        self.runner.load_weights(state, version)

    def clock(self) -> CollectClock:
        """Return where the time went since the last call."""
        clock, self.runner.clock = self.runner.clock, CollectClock()
        return clock

    def close(self) -> None:
        """Close the environments, and whoever runs episodes for this process alone."""
        self.runner.close()


def _assignment(phase: PhaseSpec, blueprint: Blueprint | None) -> Assignment:
    """The phase's roles sample; the others are greedy, or sampled where several executions judge."""

    def temperature(role: Role) -> float:
        return phase.temperature_of(role) if role in phase.roles else phase.judge[1]

    return Assignment(
        planner_temperature=temperature("planner"),
        executor_temperature=temperature("executor"),
        blueprint=blueprint,
    )


def judges_of(
    phase: PhaseSpec, groups: Sequence[Group]
) -> tuple[PhaseSpec, list[tuple[Task, Blueprint]]] | None:
    """Return what else is to be run before a phase's blueprints are compared: (how, which); None: nothing.

    A blueprint's return is an estimate of what the executor makes of it on average, (1/m) sum_j R_j. Of its m executions
    at the judge's temperature the phase has made one; identical blueprints of a task share them all.
    """
    more = phase.judge[0] - 1
    if more < 1 or "executor" in phase.roles:
        return None
    wanted = {
        (e.task, e.blueprint.subgoals): e.blueprint
        for group in groups
        for e in group
        if e.blueprint and e.was_run and e.stop is not StopReason.PROMPT_TOO_LONG
    }
    spec = PhaseSpec(name="judge", roles=("executor",), temperature=phase.judge[1], size=more)
    return spec, [(task, blueprint) for (task, _), blueprint in wanted.items()]


def judged(
    groups: Sequence[Group], executions: Sequence[Group], pairs: Sequence[tuple[Task, Blueprint]]
) -> list[Group]:
    """Return the groups, each episode with the mean return of all executions of its blueprint."""
    found = _returns(executions, pairs)

    def judge(episode: Episode) -> Episode:
        others = found.get((episode.task, episode.blueprint.subgoals)) if episode.blueprint else None
        if others is None or not episode.was_run:
            return episode
        return replace(episode, judged=(episode.executed + sum(others)) / (1 + len(others)))

    return [[judge(episode) for episode in group] for group in groups]


def deletions_of(phase: PhaseSpec, groups: Sequence[Group]) -> tuple[PhaseSpec, list[tuple[Task, Blueprint]]]:
    """Return what is to be run to learn what each line of each z* is worth: (how, which), z* without one sub-goal each.

    The executor is the one that judged, frozen and greedy unless a recipe has it sampled. Plans that come to the same are run once.
    """
    wanted: dict[tuple[Task, tuple[str, ...]], Blueprint] = {}
    for group in groups:
        star = group[best_blueprint(group)]
        if star.blueprint is None or star.blueprint.malformed or not star.was_run:
            continue
        for shorter in _without_each(star.blueprint):
            wanted.setdefault((star.task, shorter.subgoals), shorter)
    size, temperature = phase.judge
    roles: tuple[Role, ...] = ("executor",) if temperature else ()
    spec = PhaseSpec(name="deletion", roles=roles, temperature=temperature or 1.0, size=size)
    return spec, [(task, blueprint) for (task, _), blueprint in wanted.items()]


def with_worth(
    groups: Sequence[Group], executions: Sequence[Group], pairs: Sequence[tuple[Task, Blueprint]]
) -> list[Group]:
    """Return the groups, each z* with what every one of its lines is worth: its return less the return without it."""
    found = _returns(executions, pairs)
    told = []
    for group in groups:
        best = best_blueprint(group)
        star = group[best]
        without = (
            [found.get((star.task, s.subgoals)) for s in _without_each(star.blueprint)]
            if star.blueprint
            else []
        )
        if without and all(without):
            own = star.executed if star.judged is None else star.judged
            worth = tuple(own - sum(returns) / len(returns) for returns in without if returns)
            group = [replace(e, worth=worth) if i == best else e for i, e in enumerate(group)]
        told.append(group)
    return told


def _returns(
    executions: Sequence[Group], pairs: Sequence[tuple[Task, Blueprint]]
) -> dict[tuple[Task, tuple[str, ...]], list[float]]:
    """Return {(task, sub-goals): the returns of the executions that could be run}."""
    return {
        (task, blueprint.subgoals): [e.return_ for e in group if e.was_run]
        for (task, blueprint), group in zip(pairs, executions, strict=True)
    }


def _without_each(blueprint: Blueprint) -> list[Blueprint]:
    """Return a blueprint without its first sub-goal, without its second, and so on."""
    goals = blueprint.subgoals
    return [replace(blueprint, subgoals=goals[:k] + goals[k + 1 :]) for k in range(len(goals))]


def best_blueprint(group: Group) -> int:
    """Return the index of z*: the best of (return, score, fewer environment steps, mean log-probability a token).

    An episode that could not be run is never the best while another one was.
    """
    keys = [(e.was_run, e.return_, e.score, -e.env_steps, blueprint_logp(e)) for e in group]
    return max(range(len(group)), key=keys.__getitem__)


def choose(groups: Sequence[Group], *, select: str, seed: int) -> list[int]:
    """Return, per group, the index of the blueprint that phase B executes ("random" is the ablation)."""
    if select == "best":
        return [best_blueprint(group) for group in groups]
    rng = generator(seed, "choose")
    return [int(rng.integers(len(group))) for group in groups]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStream:
    """An endless stream of training tasks: the split, reshuffled every epoch."""

    tasks: Sequence[Task]
    seed: int

    def at(self, start: int, count: int) -> list[Task]:
        """Return `count` tasks from position `start`."""
        picked, size = [], len(self.tasks)
        orders: dict[int, np.ndarray] = {}
        for position in range(start, start + count):
            epoch = position // size
            if epoch not in orders:
                orders[epoch] = generator(self.seed, "order", epoch).permutation(size)
            picked.append(self.tasks[int(orders[epoch][position % size])])
        return picked
