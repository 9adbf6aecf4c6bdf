"""What settings of himac 0.1.0 are called now, or why there are none any more."""

from __future__ import annotations

from himac.errors import ConfigError
from himac.toml import Table

TINY = ("hidden", "layers", "vocab")
"""What the numbers of model.tiny are."""

_OPTIMIZER = (
    "name", "lr", "muon_rate", "shared_state", "warmup", "schedule", "weight_decay", "grad_clip", "betas", "max_tokens",
)  # fmt: skip
_EPOCHS = ("algo.macro_updates", "algo.micro_updates")

RENAMED = {
    **{f"optim.{key}": f"optimizer.{key}" for key in _OPTIMIZER},
    "run.max_minutes": "budget.minutes",
    "run.max_env_steps": "budget.env_steps",
    "run.max_tokens": "budget.tokens",
    "agent.macro_tokens": "agent.planner_tokens",
    "agent.micro_tokens": "agent.executor_tokens",
    "rollout.macro_temperature": "rollout.planner_temperature",
    "rollout.micro_group_size": "rollout.executor_group_size",
    "algo.gamma": "algo.estimator_settings.gamma",
    "algo.step_weight": "algo.estimator_settings.step_weight",
    "algo.gae_lambda": "algo.estimator_settings.gae_lambda",
    "algo.value_lr": "algo.estimator_settings.value_lr",
    "algo.value_coef": "algo.estimator_settings.value_coef",
    "sft.macro_weight": "sft.planner_weight",
    "rollout.engine": "engine.name",
}
"""Settings of format 1 and what they are called now."""

GONE = {
    **dict.fromkeys(_EPOCHS, "one setting holds both phases': algo.epochs = [planner, executor]"),
    "algo.macro_minibatches": "one setting holds both phases': algo.minibatches = [planner, executor]",
    "agent.format_penalty": "agent.malformed_penalty is a share of the world's success reward",
    "algo.planner_kl_coef": "one setting holds both roles': algo.kl_coef = [planner, executor]",
    "algo.credit": 'credit by sub-goal is an estimator: algo.estimator = "subgoal"',
    "algo.clip_low": "one setting holds both: algo.clip = [low, high]",
    "algo.clip_high": "one setting holds both: algo.clip = [low, high]",
    "env.train_split": 'training takes the split "train", or a world\'s first',
    "endpoint.max_requests": "one setting holds both: endpoint.budget = [requests, tokens]",
    "endpoint.max_tokens": "one setting holds both: endpoint.budget = [requests, tokens]",
    "run.max_failed": "a run stops when more than half of a collection fails to run",
    "run.threads": "set the environment variable OMP_NUM_THREADS",
    **{f"model.tiny_{key}": "one setting holds all: model.tiny = [hidden, layers, vocab]" for key in TINY},
    "model.lora_alpha": "alpha is 2 x model.lora_rank",
    "run.keep_last": "the two newest checkpoints are kept, and the best",
    "sft.context_weight": "no recipe used it",
}
"""Settings of format 1 that are no more, and what to do instead."""


def refuse_renamed(tree: Table) -> None:
    """Say what a setting of format 1 is called now.

    Raises:
        ConfigError: the tree has one.
    """
    for section, table in tree.items():
        for key in table if isinstance(table, dict) else ():
            old = f"{section}.{key}"
            if old in RENAMED:
                raise ConfigError(f"{old} is called {RENAMED[old]} now", hint=f"write {RENAMED[old]}")
            if old in GONE:
                raise ConfigError(f"there is no setting {old} any more", hint=GONE[old])
