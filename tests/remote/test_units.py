"""Units of work, and the one who does them, without Ray."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from himac.config import Config, override
from himac.engines.base import lay_into
from himac.errors import ConfigError, MissingExtraError
from himac.remote import cluster
from himac.remote.runner import units_of
from himac.remote.weights import packed, unpacked
from himac.remote.worker import Worker
from himac.rollout.episode import Job
from himac.train.checks import check_trainable
from himac.train.components import Components, parts_of
from himac.types import Episode, Task


def jobs_of(sizes: list[int]) -> list[Job]:
    """Jobs without an agent, replica by replica, so that tasks alternate."""
    return [
        Job(task=Task(env="toy", split="train", index=task), replica=replica, agent=None, seed=0)  # type: ignore[arg-type]
        for replica in range(max(sizes))
        for task, size in enumerate(sizes)
        if replica < size
    ]


def test_a_unit_holds_whole_tasks_and_no_more_episodes_than_were_asked_for() -> None:
    for sizes, most in (([3] * 6, 3), ([3] * 6, 7), ([1] * 20, 8), ([5, 2, 2, 9, 1], 4)):
        jobs = jobs_of(sizes)
        units = units_of(jobs, most)
        assert sorted(index for unit in units for index in unit) == list(range(len(jobs)))
        homes = [{jobs[index].task for index in unit} for unit in units]
        assert sum(map(len, homes)) == len(sizes)  # no task is in two of them
        assert all(len(unit) <= most or len(home) == 1 for unit, home in zip(units, homes))
    assert [len(unit) for unit in units_of(jobs_of([1] * 20), 8)] == [8, 8, 4]
    assert units_of([], 8) == []


def test_weights_arrive_as_they_were_and_a_tied_head_travels_once() -> None:
    head = torch.randn(7, 3)
    state = {
        "embed": head, "head": head, "half": torch.randn(5).bfloat16(), "step": torch.tensor(3),
        "turned": torch.arange(6.0).view(2, 3).T, "none": torch.empty(0, 4), "none either": torch.empty(0, 4),
    }  # fmt: skip
    there = unpacked(packed(state))
    assert there.keys() == state.keys() - {"head"}
    for name, tensor in there.items():
        assert tensor.dtype == state[name].dtype and torch.equal(tensor, state[name])


@pytest.mark.parametrize("words", [{}, {"lora_rank": 2}, {"lora_rank": 2, "lora_per_role": True}])
def test_what_travels_is_what_learning_changes(config: Config, start: Path, words: dict[str, Any]) -> None:
    if words:
        pytest.importorskip("peft")
    cfg = override(config, model=words)
    learner, collector = (Components(cfg, start).policy for _ in range(2))
    with torch.no_grad():
        for p in learner.trainable:
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    there = unpacked(packed(learner.travelling()))
    assert len(there) < len(list(learner.model.parameters())) or not words  # an adapter's model stays at home
    lay_into(collector.model, there)
    for (name, ours), theirs in zip(learner.model.named_parameters(), collector.model.parameters()):
        assert torch.equal(ours, theirs), name


@pytest.fixture
def worker(config: Config, start: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return _worker(config, start)


def _worker(config: Config, start: Path) -> Worker:
    cfg = override(config, parallel={"collectors": 2})
    return Worker(lambda: parts_of(cfg, str(start)), folder=os.getcwd(), path=sys.path, threads=1)


class Asked:
    """A runner that notes what it is asked to run."""

    jobs: list[Job]
    is_stale = False

    def run(self, jobs: list[Job], **_: Any) -> list[Episode]:
        self.jobs = jobs
        return []


def asked(config: Config, start: Path) -> list[Job]:
    """The jobs of phase A for two tasks, made anew: a job's agent is used up by who runs it."""
    parts = Components(config, start)
    loop = parts.loop(parts.learner(), log=None, outside=None)  # type: ignore[arg-type]
    note: Any = Asked()
    parts.collector.runner = note
    parts.collector.collect(loop.phases[0], loop.tasks.at(0, 2), iteration=0)
    return note.jobs


def test_what_a_worker_makes_of_a_unit_depends_on_nothing_that_was_before(
    worker: Worker, config: Config, start: Path
) -> None:
    first, second = (asked(config, start)[at : at + 3] for at in (0, 3))
    again = asked(config, start)[3:]
    worker.run(first, True, 0, [])
    after, alone = worker.run(second, True, 0, []), _worker(config, start).run(again, True, 0, [])
    assert len(after.episodes) == 3 and after.software == alone.software
    for ours, theirs in zip(after.episodes, alone.episodes):
        for context, other in zip(ours.contexts, theirs.contexts, strict=True):
            assert np.array_equal(context.ids, other.ids) and np.array_equal(context.logps, other.logps)


def test_a_worker_tells_the_processor_time_of_each_unit_alone(
    worker: Worker, config: Config, start: Path
) -> None:
    jobs = asked(config, start)
    began = time.process_time()
    told = [worker.run(part, False, 0, []) for part in (jobs[:3], jobs[3:])]
    spent = time.process_time() - began
    assert all(0 < done.clock.generate_s <= done.clock.total_s for done in told)
    assert 0.9 * spent < sum(done.processor_s for done in told) <= spent


def test_a_collector_computes_where_it_is_and_starts_no_further_ones(config: Config, start: Path) -> None:
    parts = parts_of(override(config, parallel={"collectors": 3}, run={"device": "auto"}), str(start))
    assert type(parts.runner).__name__ == "EpisodeRunner"
    assert next(parts.model.parameters()).device.type == "cpu"


def test_without_ray_collectors_are_one_line(monkeypatch: pytest.MonkeyPatch, config: Config) -> None:
    monkeypatch.setattr(cluster, "is_installed", lambda: False)
    layout = override(config, parallel={"collectors": 2}).parallel
    with (
        pytest.raises(MissingExtraError, match=r"parallel\.collectors = 2") as told,
        cluster.connected(layout),
    ):
        pass
    assert "himac[ray]" in told.value.hint
    with cluster.connected(config.parallel), cluster.connected(layout, here=False):
        pass  # neither asks for it


def test_collectors_on_top_of_a_server_are_refused(config: Config) -> None:
    both = override(config, parallel={"collectors": 2}, engine={"name": "vllm-server"})
    with pytest.raises(ConfigError, match="one server"):
        check_trainable(both)
