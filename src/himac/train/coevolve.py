"""The co-evolution loop: read this first.

    for each iteration:
        phase A   the planner explores:   N blueprints a task, the frozen executor runs each greedily;
                  compare the blueprints of a task; update blueprint tokens
        phase B   the executor adapts:    M sampled executions of the best blueprint z*;
                  compare the executions of a blueprint; update action tokens

Source: arXiv 2603.00977, iterative co-evolution. The flat baselines and the joint ablation are the same loop with one
phase. Nothing here knows a model, a token, a file or the clock: the collector runs episodes, `credit` compares them,
the learner updates, the log writes, and whoever made the loop decides what time it is. Where the phases learn different
weights, the next collection may begin beside an update (`ahead`); it is the same collection, only earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from himac.algo.advantages import has_variance
from himac.algo.estimators import returns_of
from himac.config import AlgoConfig, BudgetConfig, RolloutConfig, RunConfig
from himac.errors import RunError
from himac.learner.checkpoint import TrainState
from himac.learner.credit import Credit, PerRole
from himac.rollout.collect import CollectClock
from himac.rollout.phases import TaskStream, choose, deletions_of, judged, judges_of, size_of, with_worth
from himac.rollout.summary import FAILED, summarise, summarise_groups
from himac.seeds import UPDATE, derive
from himac.types import Blueprint, Episode, Group, PhaseSpec, Role, Row, Sample, Task, Weights


class Collector(Protocol):
    """Runs episodes: in this process, shared among several, or elsewhere."""

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
        """Return one group a task; with blueprints (one a task), the executions of those."""
        ...

    def release(self) -> None:
        """Give back what memory can be done without while the learner learns."""
        ...

    def load_weights(self, state: Weights, *, version: int) -> None:
        """Sample with new weights from now on; None: they are the learner's own."""
        ...

    def clock(self) -> CollectClock:
        """Return where the time went since the last call."""
        ...

    def close(self) -> None:
        """Release environments and engines."""
        ...


class Ahead(Protocol):
    """A collector that can begin before it is asked."""

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
        """Begin what `collect` will be asked for; roles whose weights are moving are asked no earlier than that."""
        ...


class Learner(Protocol):
    """Turns samples into new weights."""

    @property
    def version(self) -> int:
        """Of the weights; counts up."""
        ...

    def update(
        self, samples: Sequence[Sample], phase: PhaseSpec, *, seed: int, spent: float = 0.0
    ) -> dict[str, float]:
        """Take the steps of one phase; `spent` is the share of the run's budget behind us. Returns metrics."""
        ...

    def weights(self) -> Any:
        """Return the weights for the collector; None where both use one module."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that `load` needs."""
        ...

    def load(self, folder: Path) -> None:
        """Take back what `save` wrote."""
        ...


class Log(Protocol):
    """Receives metrics and episodes from the loop."""

    def phase(
        self, row: Row, groups: Sequence[Group], advantages: PerRole, chosen: Sequence[int] = ()
    ) -> None:
        """Take one phase's metrics and episodes; `chosen` says which blueprint of each group goes on."""
        ...

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Return a progress callback for a collection of `total` episodes."""
        ...


class Outside(Protocol):
    """What the loop cannot decide for itself, because several processes must agree on it."""

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        ...

    def processor_s(self) -> float:
        """Return the seconds of processor cores, of all processes, since this was last asked."""
        ...

    def out_of_time(self, state: TrainState) -> bool:
        """Whether the time that the run may take is over."""
        ...

    def evaluate(self, state: TrainState) -> TrainState:
        """Evaluate on the validation split; return the state with its best."""
        ...

    def save(self, state: TrainState, *, is_best: bool) -> TrainState:
        """Write a checkpoint."""
        ...


@dataclass(frozen=True, slots=True)
class Handed:
    """What a phase works on: tasks, and a blueprint for each where they are to be carried out."""

    tasks: Sequence[Task]
    blueprints: Sequence[Blueprint] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CoEvolution:
    """The loop, with what it needs."""

    phases: Sequence[PhaseSpec]
    tasks: TaskStream
    collector: Collector
    learner: Learner
    credit: Callable[[Sequence[Group], Sequence[Role]], Credit]
    log: Log
    outside: Outside
    run: RunConfig
    budget: BudgetConfig
    rollout: RolloutConfig
    algo: AlgoConfig
    evaluate_every: int  # iterations; 0 is never
    deletions: bool = False  # z* is also executed without each of its lines
    ahead: Ahead | None = None  # the collector, where a collection may begin beside an update
    behind: bool = False  # and may be carried out with the weights of before it

    def train(self, state: TrainState) -> TrainState:
        """Iterate to the end; return how far the run has come."""
        saved_at = state.iteration
        while not state.done(self.run.iterations, self.budget) and not self.outside.out_of_time(state):
            state, best_before = self.iterate(state), state.best_success
            if self._evaluates(state):
                state = self.outside.evaluate(state)
            is_best = state.best_success > best_before
            if is_best or state.iteration % self.run.save_every == 0:
                state, saved_at = self.outside.save(state, is_best=is_best), state.iteration
        return state if saved_at == state.iteration else self.outside.save(state, is_best=False)

    def iterate(self, state: TrainState) -> TrainState:
        """Run every phase once; each carries out the blueprints that the one before it found best, if it found any."""
        self.outside.lap()  # whatever ran since the last iteration, an evaluation say, is not this one's time
        self.collector.clock()
        self.outside.processor_s()
        spent: list[Episode] = []
        seconds, handed = 0.0, None
        for phase in self.phases:
            groups = self._with_worth(phase, list(self._collect(phase, state, handed, spent)), state, spent)
            seconds += self.outside.lap()
            credit = self.credit(groups, phase.roles)
            chosen, handed = self._hand_on(phase, groups, state)
            self.collector.release()
            if self.ahead is not None:
                self._begin(self.ahead, phase, handed, state, spent)
            learned = self.learner.update(
                credit.samples(
                    self.algo.aggregation,
                    keep_flat=self.algo.keeps_flat_groups,
                ),
                phase,
                seed=derive(self.run.seed, UPDATE.get(phase.name, phase.name), state.iteration),
                spent=state.spent(self.run.iterations, self.budget),
            )
            self.collector.load_weights(self.learner.weights(), version=self.learner.version)
            learn_s = self.outside.lap()
            seconds += learn_s
            row = _row(phase, credit, state) | learned | self._times() | {"learn_s": learn_s}
            self.log.phase(row, credit.groups, credit.advantages, chosen)
        return replace(
            _after(state, spent),
            processor_s=state.processor_s + self.outside.processor_s(),
            train_s=state.train_s + seconds,
        )

    def _collect(
        self,
        phase: PhaseSpec,
        state: TrainState,
        handed: Handed | None,
        spent: list[Episode],
    ) -> Iterator[Group]:
        """Yield the groups to learn from: under blueprints handed on, or of new tasks. `spent` takes all that was run."""
        if handed is not None:
            yield from self._run(phase, state, handed, spent)
            return
        rounds, wanted = self.rollout.dynamic_sampling + 1, self.rollout.tasks
        for attempt in range(rounds):  # with dynamic sampling, groups that carry no signal are replaced
            is_last = attempt == rounds - 1
            for group in self._run(phase, state, self._new_tasks(state, attempt, wanted), spent):
                if is_last or has_variance(returns_of([e for e in group if e.was_run])):
                    wanted -= 1
                    yield group
            if not wanted:
                return

    def _new_tasks(self, state: TrainState, attempt: int, count: int) -> Handed:
        """Return the first tasks of one of an iteration's rounds."""
        rounds = self.rollout.dynamic_sampling + 1
        return Handed(self.tasks.at((state.iteration * rounds + attempt) * self.rollout.tasks, count))

    def _begin(
        self, ahead: Ahead, phase: PhaseSpec, handed: Handed | None, state: TrainState, spent: list[Episode]
    ) -> None:
        """Begin the next phase's collection beside this one's update; of the next iteration unless one pauses before it."""
        following, at = self.phases[(self.phases.index(phase) + 1) % len(self.phases)], state
        if phase is self.phases[-1]:
            at, handed = _after(state, spent), None
            # who resumes has no older weights than the checkpoint's
            saves = self.behind and at.iteration % self.run.save_every == 0
            if saves or at.done(self.run.iterations, self.budget) or self._evaluates(at):
                return
        work = handed or self._new_tasks(at, 0, self.rollout.tasks)
        ahead.begin(
            following,
            work.tasks,
            blueprints=work.blueprints,
            iteration=at.iteration,
            version=self.learner.version,
            moving=phase.roles,
        )

    def _evaluates(self, state: TrainState) -> bool:
        """Whether an evaluation comes after this iteration."""
        return bool(self.evaluate_every) and state.iteration % self.evaluate_every == 0

    def _run(
        self,
        phase: PhaseSpec,
        state: TrainState,
        work: Handed,
        spent: list[Episode],
    ) -> list[Group]:
        size = size_of(phase, self.rollout, given=bool(work.blueprints))
        groups = self.collector.collect(
            phase,
            work.tasks,
            blueprints=work.blueprints,
            iteration=state.iteration,
            version=self.learner.version,
            progress=self.log.collecting(phase.name, len(work.tasks) * size),
        )
        spent += [episode for group in groups for episode in group]
        _check_failures(groups)
        more = None if work.blueprints else judges_of(phase, groups)
        return (
            groups
            if more is None
            else judged(groups, self._run(more[0], state, _handed(more[1]), spent), more[1])
        )

    def _with_worth(
        self, phase: PhaseSpec, groups: list[Group], state: TrainState, spent: list[Episode]
    ) -> list[Group]:
        """Run each z* without each of its lines, where an estimator asks for that: of the groups that are kept alone."""
        if not self.deletions or "executor" in phase.roles:
            return groups
        how, pairs = deletions_of(phase, groups)
        return with_worth(groups, self._run(how, state, _handed(pairs), spent), pairs) if pairs else groups

    def _hand_on(
        self, phase: PhaseSpec, groups: Sequence[Group], state: TrainState
    ) -> tuple[list[int], Handed | None]:
        """Return (index of z* in each group, what the next phase carries out)."""
        if "executor" in phase.roles:
            return [], None  # its executor has learned from these episodes already
        chosen = choose(groups, select=self.rollout.select, seed=derive(self.run.seed, state.iteration))
        best = [group[index] for group, index in zip(groups, chosen, strict=True)]
        pairs = [(e.task, e.blueprint) for e in best if e.blueprint is not None and e.was_run]
        return chosen, _handed(pairs)

    def _times(self) -> dict[str, float]:
        clock = self.collector.clock()
        times = {"collect_s": clock.total_s, "generate_s": clock.generate_s, "env_s": clock.env_s}
        return times | ({"stale_steps": clock.stale_steps} if self.behind else {})


def _handed(pairs: Sequence[tuple[Task, Blueprint]]) -> Handed:
    return Handed([task for task, _ in pairs], [blueprint for _, blueprint in pairs])


def _after(state: TrainState, spent: Sequence[Episode]) -> TrainState:
    """Return the state after an iteration that ran these episodes; what its time was is not known yet."""
    return replace(
        state,
        iteration=state.iteration + 1,
        # a copy's steps were taken once, by its leader; its tokens were its own
        env_steps=state.env_steps + sum(e.env_steps for e in spent if not e.is_copy),
        tokens=state.tokens + sum(e.tokens for e in spent),
        processed_tokens=state.processed_tokens + sum(e.processed for e in spent),
    )


def _row(phase: PhaseSpec, credit: Credit, state: TrainState) -> Row:
    """Return what the log says of a phase, times and updates left out; what could not be run is a share."""
    episodes = credit.episodes
    return {
        "iteration": state.iteration + 1,
        "phase": phase.name,
        **summarise([episode for episode in episodes if episode.was_run]),
        "failed": sum(episode.stop in FAILED for episode in episodes) / max(len(episodes), 1),
        **summarise_groups(credit.groups),
    }


def _check_failures(groups: Sequence[Group]) -> None:
    """Stop a run when more than half of its episodes cannot be run."""
    episodes = [episode for group in groups for episode in group]
    failed = [episode for episode in episodes if episode.stop in FAILED]
    if 2 * len(failed) > len(episodes):
        reason = failed[0].error.strip().splitlines()[-1] if failed[0].error else failed[0].stop.value
        raise RunError(
            f"{len(failed)} of {len(episodes)} episodes could not be run (first: {reason})",
            hint="himac check env=... plays the world; a prompt that is too long needs a larger model.max_prompt",
        )
