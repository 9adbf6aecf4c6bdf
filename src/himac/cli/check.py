"""`himac check`: does a world, its expert and an estimator keep what they promise?"""

from __future__ import annotations

import click

from himac.cli.given import config_of, examples, tell, words_argument


@click.command(
    epilog=examples(
        "himac check env=my_world:MyEnv",
        "himac check env=my_world:MyEnv env.size=5 --tasks 20",
        "himac check env=toy algo.estimator=my_estimator:MyEstimator",
    )
)
@words_argument
@click.option(
    "--tasks", type=click.IntRange(min=1), default=5, show_default=True, help="Tasks of each split to play."
)
def check(words: tuple[str, ...], tasks: int) -> None:
    """Check an environment, expert or estimator of your own."""
    from himac.algo.estimators import make_estimator
    from himac.envs.base import Expert, make_env
    from himac.envs.check import check_env, check_expert, told_apart
    from himac.testing import check_estimator, random_groups
    from himac.train import checks

    config = checks.check(config_of(words))
    check_env(make_env(config.env.name, **config.env.settings), num_tasks=tasks)
    print(f"env        {config.env.name}: ok")
    env = make_env(config.env.name, **config.env.settings)
    for told in told_apart(env):
        tell({"splits": told})
    offered = getattr(env, "expert", None)
    if offered is None:
        print("expert     none: no warm start from demonstrations")
    else:
        expert: Expert = offered()
        check_expert(env, expert, num_tasks=tasks, split=env.spec.train_split)
        print("expert     ok")
    estimator = make_estimator(config.algo.estimator, config.algo.estimator_settings)
    for role in ("planner", "executor"):
        check_estimator(estimator, random_groups(), role)
    print(f"estimator  {config.algo.estimator}: ok")
    env.close()
