"""A subset of a split is spread over it and the same for everybody."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from himac.rollout.evaluate import subset
from himac.types import Task


def _tasks(size: int, split: str = "val") -> Sequence[Task]:
    return [Task(env="toy", split=split, index=index) for index in range(size)]


@given(size=st.integers(1, 400), count=st.integers(1, 400))
def test_a_subset_has_distinct_tasks_one_from_each_part(size: int, count: int) -> None:
    chosen = [task.index for task in subset(_tasks(size), count)]
    assert chosen == sorted(set(chosen)) and len(chosen) == min(size, count)
    if count < size:
        assert all(
            part * size // count <= index <= (part + 1) * size / count for part, index in enumerate(chosen)
        )


def test_it_is_the_same_every_time_and_another_one_for_another_split() -> None:
    assert subset(_tasks(500), 20) == subset(_tasks(500), 20)
    ours, theirs = ([task.index for task in subset(_tasks(500, split), 20)] for split in ("val", "test"))
    assert ours != theirs and ours != list(range(20))


def test_nothing_asked_for_is_the_whole_split() -> None:
    assert subset(_tasks(7), 0) == subset(_tasks(7), 7) == subset(_tasks(7), 99) == _tasks(7)
