"""The loop: what each phase takes from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import Quiet
from himac.config import Config, override
from himac.learner.checkpoint import Progress
from himac.train.coevolve import Loop
from himac.train.components import Workbench


@pytest.mark.parametrize(("given", "taken"), [(0, 3), (1, 1)])
def test_phase_a_may_take_fewer_steps_than_phase_b(
    toy_config: Config, start: Path, given: int, taken: int
) -> None:
    algo = {"minibatches": 3, "macro_minibatches": given, "macro_updates": 2}
    bench = Workbench(override(toy_config, algo=algo), start)
    bench.policy.freeze_reference()
    learner = bench.learner()
    asked: list[tuple[int, int]] = []
    update = learner.update

    def noting(samples: Any, settings: Any, *, seed: int) -> Any:
        asked.append((settings.passes, settings.minibatches))
        return update(samples, settings, seed=seed)

    learner.update = noting  # type: ignore[method-assign]
    houses = bench.env.tasks("train")
    Loop(config=bench.config, bench=bench, learner=learner, tasks=houses, log=Quiet()).iterate(Progress())
    assert asked == [(2, taken), (1, 3)]


def test_the_time_of_an_evaluation_is_not_a_phase_s(toy_config: Config, start: Path) -> None:
    bench = Workbench(toy_config, start)
    bench.policy.freeze_reference()
    log, houses = Quiet(), bench.env.tasks("train")
    bench.collector.clock.generate_s += 1000.0
    Loop(config=toy_config, bench=bench, learner=bench.learner(), tasks=houses, log=log).iterate(Progress())  # type: ignore[arg-type]
    assert [row["phase"] for row in log.rows] == ["macro", "micro"]
    assert all(0 < row["generate_s"] < 500 for row in log.rows)
