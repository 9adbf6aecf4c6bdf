"""The co-evolution loop: read this first.

    for each iteration:
        phase A   the planner explores:   N blueprints a task, the frozen executor runs each greedily;
                  compare the blueprints of a task; update blueprint tokens
        phase B   the executor adapts:    M sampled executions of the best blueprint z*;
                  compare the executions of a blueprint; update action tokens

Source: arXiv 2603.00977, iterative co-evolution. The flat baselines and the joint ablation are the same loop with one
phase. Nothing here knows a model, a token or a file format: phases collect, the estimator compares, the
learner updates, the log writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from himac.algo.advantages import has_variance
from himac.algo.estimators import make_estimator, returns_of
from himac.algo.ppo import value_targets
from himac.config import Config
from himac.errors import RunError
from himac.learner.checkpoint import Progress
from himac.learner.learner import Learner, UpdateSettings
from himac.learner.samples import appraise, to_samples
from himac.rollout.phases import choose, next_tasks
from himac.rollout.summary import summarise, summarise_groups
from himac.seeds import derive
from himac.train.components import Workbench
from himac.types import Episode, Group, Role, Sample, StopReason, Task

Collect = Callable[..., list[Group]]  # one of `Phases`: (tasks, step, progress=...) -> one group a task


class Log(Protocol):
    """What the loop tells the outside."""

    def phase(
        self, row: dict[str, Any], groups: Sequence[Group], advantages: Any, chosen: Sequence[int]
    ) -> None:
        """Take one phase's metrics and episodes."""
        ...

    def collecting(self, title: str, total: int) -> Any:
        """Return a progress callback for a collection of `total` episodes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One iteration of training, with what it needs."""

    config: Config
    bench: Workbench
    learner: Learner
    tasks: Sequence[Task]  # the training split
    log: Log

    def iterate(self, progress: Progress) -> Progress:
        """Run one iteration; return how far the run has come."""
        began = time.perf_counter()
        self._clock()  # whatever ran since the last phase, an evaluation say, is not this one's time
        step = progress.iteration
        self.learner.anneal(progress.spent(self.config.run))
        if self.config.algo.method == "flat":
            spent = self._flat(step)
        elif self.config.algo.coevolution:
            spent = self._coevolve(step)
        else:
            spent = self._joint(step)
        return replace(
            progress,
            iteration=step + 1,
            env_steps=progress.env_steps + sum(e.env_steps for e in spent if not e.is_copy),
            tokens=progress.tokens + sum(e.tokens for e in spent),
            train_s=progress.train_s + time.perf_counter() - began,
        )

    def _coevolve(self, step: int) -> list[Episode]:
        """Phase A, then phase B under the best blueprints of phase A."""
        explored, groups, tasks = self._collect(self.bench.phases.explore, "macro", step)
        places = choose(groups, select=self.config.rollout.select, seed=derive(self.config.run.seed, step))
        self._learn("macro", step, groups, ("macro",), chosen=places)

        best = [group[place].blueprint for group, place in zip(groups, places, strict=True)]
        phases, size = self.bench.phases, self.config.rollout.micro_group_size
        blueprints = [b for b in best if b is not None]
        live = [task for task, b in zip(tasks, best, strict=True) if b is not None]
        tick = self.log.collecting("micro", len(live) * size)
        executed = phases.execute(live, blueprints, step, progress=tick)
        self._learn("micro", step, executed, ("micro",))
        return explored + [e for group in executed for e in group]

    def _joint(self, step: int) -> list[Episode]:
        """Ablation: both levels explore in the same episodes and are updated together."""
        spent, groups, _ = self._collect(self.bench.phases.joint, "joint", step)
        self._learn("joint", step, groups, ("macro", "micro"))
        return spent

    def _flat(self, step: int) -> list[Episode]:
        spent, groups, _ = self._collect(self.bench.phases.attempt, "flat", step)
        self._learn("flat", step, groups, ("micro",))
        return spent

    def _collect(
        self, run_phase: Collect, title: str, step: int
    ) -> tuple[list[Episode], list[Group], list[Task]]:
        """Collect one group a task; with dynamic sampling, replace groups that carry no signal.

        Returns:
            (every episode that was run, the groups to learn from, their tasks).
        """
        rollout, run = self.config.rollout, self.config.run
        spent: list[Episode] = []
        kept: list[Group] = []
        for attempt in range(rollout.dynamic_sampling + 1):
            count = rollout.tasks - len(kept)
            start = (step * (rollout.dynamic_sampling + 1) + attempt) * rollout.tasks
            tasks = next_tasks(self.tasks, start=start, count=count, seed=run.seed)
            tick = self.log.collecting(title, count * rollout.group_size)
            groups = run_phase(tasks, step, progress=tick)
            spent += [e for group in groups for e in group]
            is_last = attempt == rollout.dynamic_sampling
            kept += [g for g in groups if is_last or has_variance(returns_of(g))]
            if len(kept) == rollout.tasks:
                break
        return spent, kept, [group[0].task for group in kept]

    def _learn(
        self,
        phase: str,
        step: int,
        groups: Sequence[Group],
        roles: tuple[Role, ...],
        *,
        chosen: Sequence[int] = (),
    ) -> None:
        """Compare the groups, update the roles' tokens, tell the log."""
        began = time.perf_counter()
        algo, rollout, run = self.config.algo, self.config.rollout, self.config.run
        self._check_failures(groups)
        if self.learner.critic is not None:
            groups = appraise(groups, self.learner.values)
        estimate = make_estimator(algo)
        episodes = [e for group in groups for e in group]
        samples: list[Sample] = []
        advantages: dict[str, Any] = {}
        for role in roles:
            advantages[role] = estimate(groups, role)
            flat = [a for group in advantages[role] for a in group]
            targets = None
            if self.learner.critic is not None:
                targets = value_targets(episodes, role, gamma=algo.gamma, lam=algo.gae_lambda)
            samples += to_samples(episodes, flat, role=role, aggregation=algo.aggregation, targets=targets)
        settings = UpdateSettings(
            passes=algo.macro_updates if phase == "macro" else algo.micro_updates,
            minibatches=algo.planner_minibatches if phase == "macro" else algo.minibatches,
            temperature=rollout.planner_temperature if phase == "macro" else rollout.temperature,
        )
        learned = self.learner.update(samples, settings, seed=derive(run.seed, phase, step))
        self.bench.refresh(self.learner.num_steps)
        row = {
            "iteration": step + 1,
            "phase": phase,
            **summarise(episodes),
            **summarise_groups(groups),
            **learned,
            **self._clock(),
            "learn_s": time.perf_counter() - began,
        }
        self.log.phase(row, groups, advantages, chosen)

    def _clock(self) -> dict[str, float]:
        """Read and reset the collector's clock."""
        clock = self.bench.collector.clock
        row = {"collect_s": clock.total_s, "generate_s": clock.generate_s, "env_s": clock.env_s}
        self.bench.collector.clock = type(clock)()
        return row

    def _check_failures(self, groups: Sequence[Group]) -> None:
        episodes = [e for group in groups for e in group]
        failed = [e for e in episodes if e.stop in (StopReason.ENV_ERROR, StopReason.PROMPT_TOO_LONG)]
        if len(failed) > self.config.run.max_failed * len(episodes):
            reason = failed[0].error.strip().splitlines()[-1] if failed[0].error else failed[0].stop.value
            raise RunError(
                f"{len(failed)} of {len(episodes)} episodes could not be run (first: {reason})",
                hint="see episodes.jsonl for the tracebacks; run.max_failed sets the limit",
            )
