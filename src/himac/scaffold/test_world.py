"""What must stay true of the world: `pytest` in this folder."""

from world import Courier

from himac.testing import check_env, check_expert


def test_it_keeps_what_an_environment_promises() -> None:
    check_env(Courier())


def test_its_expert_plays_by_the_rules_and_wins() -> None:
    env = Courier()
    check_expert(env, env.expert())


def test_no_problem_is_in_two_splits() -> None:
    env = Courier(rooms=4, parcels=1)
    seen = {split: {env.reset(task).text for task in env.tasks(split)} for split in env.spec.splits}
    assert sum(map(len, seen.values())) == len(set.union(*seen.values()))


def test_a_delivered_parcel_counts_at_once() -> None:
    env = Courier(rooms=3, parcels=1)
    env.reset(env.tasks("train")[0])
    shown = env.expert().demonstrate(env.tasks("train")[0], seed=0, noise=0.0)
    assert shown is not None
    env.reset(env.tasks("train")[0])
    results = [env.step(action) for action in shown.actions]
    assert [result.success for result in results[:-1]] == [False] * (len(results) - 1)
    assert results[-1].success and results[-1].reward == 1.0
