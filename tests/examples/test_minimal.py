"""The method in one file learns, and stays one short file."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).resolve().parents[2] / "examples" / "minimal.py"


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1])
def test_the_minimal_example_learns_to_plan_and_act_in_houses_it_never_saw(seed: int) -> None:
    curve, _, _ = runpy.run_path(str(FILE))["train"](iterations=12, seed=seed)
    assert curve[0] <= 0.25, "the warm start alone must not solve the houses"
    assert curve[-1] >= 0.9


@pytest.mark.learning
def test_what_the_minimal_example_learns_is_what_a_person_would_say() -> None:
    _, planner, executor = runpy.run_path(str(FILE))["train"](iterations=10, seed=0)
    useful = ("get", "within reach", "hands empty", "something behind")
    decoy = ("get", "within reach", "hands empty", "nothing behind")
    assert planner.table[useful] > planner.table[decoy] + 1
    met, unmet = (("<sub_done>", "not named", f"sub-goal {word}met") for word in ("", "not "))
    assert executor.table[met] > executor.table[unmet] + 1


def test_a_choice_s_gradient_sums_to_zero_and_is_the_derivative() -> None:
    policy = runpy.run_path(str(FILE))["Policy"]()
    policy.table = {("a",): 0.3, ("b",): -0.2}
    described = [("a",), ("b",), ("a",)]
    _, grad = policy.choose(described, None, told=1)
    p = np.exp([0.3, -0.2, 0.3]) / np.exp([0.3, -0.2, 0.3]).sum()
    assert grad == pytest.approx({("a",): -p[0] - p[2], ("b",): 1 - p[1]})
    assert sum(grad.values()) == pytest.approx(0)


def test_the_minimal_example_fits_in_two_hundred_lines() -> None:
    assert len(FILE.read_text(encoding="utf-8").splitlines()) <= 200
