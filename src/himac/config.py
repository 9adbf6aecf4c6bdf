"""Every setting, in one file; no torch.

One idea: a recipe is a sparse TOML laid over these defaults, and dotted `key=value` words are laid over the
recipe. Defaults are the paper's (arXiv 2603.00977) or, where it is silent, the published protocol's that
it compares under. Unknown keys and wrong types are refused with one line. The resolved config is saved
with the run and reads back to the same object.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from himac.errors import ConfigError, MissingFileError, closest
from himac.toml import build, flat, read_value, write_value

Method = Literal["himac", "flat", "react", "reflexion"]
PROMPTING = ("react", "reflexion")
"""Methods that ask a frozen model: evaluated, never trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The run: where it is written, how long it is, what it starts from."""

    name: str = ""  # folder under `dir`; "" takes the recipe's name and the date
    dir: str = "runs"
    seed: int = 0
    iterations: int = 150
    max_minutes: float = 0.0  # stop (and evaluate) after this much training time; 0 is no limit
    max_env_steps: int = 0  # stop (and evaluate) after this many environment steps; 0 is no limit
    max_tokens: int = 0  # stop (and evaluate) after this many generated tokens; 0 is no limit
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
    threads: int = 1  # torch threads; more than 1 only for a lone job on pinned cores
    save_every: int = 5  # iterations between checkpoints
    keep_last: int = 2  # newest checkpoints kept, besides the best
    save_episodes: bool = True  # write every training episode, tokens included, to episodes.jsonl
    max_failed: float = 0.5  # stop when more than this share of an iteration's episodes fails to run
    sinks: tuple[str, ...] = ()  # further places for metrics: "tensorboard", "wandb"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The language model both roles share."""

    name: str = "Qwen/Qwen2.5-1.5B-Instruct"  # Hugging Face name, or a local folder
    dtype: str = "auto"  # "auto" (bfloat16 on CUDA, float32 on CPU), "float32", "bfloat16"
    lora_rank: int = 0  # 0 trains all weights
    lora_alpha: int = 0  # 0 takes 2 x rank
    lora_per_role: bool = False  # an adapter for each role: updating one leaves the other exactly as it was
    gradient_checkpointing: bool = False
    max_prompt: int = 2048  # tokens of context before its oldest turns are trimmed
    # name = "tiny" builds a Qwen3-architecture model and its tokenizer from scratch, with these sizes:
    tiny_hidden: int = 64
    tiny_layers: int = 3
    tiny_vocab: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """The world: a name and whatever `make_env` takes for it."""

    name: str = "sokoban"
    settings: dict[str, Any] = field(default_factory=dict)  # every other key of the [env] table
    train_split: str = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """The hierarchy and its limits."""

    context: Literal["segment", "full", "step"] = "segment"  # the paper's temporal mask is "segment"
    last_pairs: int = 2  # (observation, answer) pairs shown in "step" mode; published protocol
    explicit_done: bool = True  # False: ablation without <sub_done>
    max_subgoals: int = 8
    subgoal_turns: int = 15  # turns before the fallback advances a sub-goal
    max_steps: int = 0  # environment steps of an episode; 0 takes the environment's published limit
    macro_tokens: int = 512  # longest blueprint; published response length
    micro_tokens: int = 512  # longest turn
    invalid_penalty: float = 0.1  # per unreadable or inadmissible action; published protocol
    format_penalty: float = 0.5  # for a malformed blueprint; our choice, the paper gives no number


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """How episodes are collected."""

    tasks: int = 16  # tasks an iteration; published protocol
    group_size: int = 8  # blueprints a task in phase A (N = 8 in the paper); attempts a task when flat
    micro_group_size: int = 8  # executions of z* in phase B
    temperature: float = 1.0
    macro_temperature: float = 0.0  # of phase A's blueprints, for a bolder planner; 0 takes `temperature`
    select: Literal["best", "random"] = "best"  # which blueprint phase B executes; "random" is the ablation
    dynamic_sampling: int = 0  # extra rounds of tasks to replace groups without variance
    max_live: int = 128  # episodes in flight; a finished one's place is taken by a pending one

    @property
    def planner_temperature(self) -> float:
        """What phase A's blueprints are sampled at."""
        return self.macro_temperature or self.temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgoConfig:
    """What is optimised."""

    method: Method = "himac"
    estimator: Literal["group_relative", "group_mean", "rloo", "gigpo", "gigpo_mean", "ppo"] = (
        "group_relative"
    )
    credit: Literal["episode", "subgoal"] = "episode"  # "subgoal" also compares within each sub-goal of z*
    gamma: float = 0.95  # discount over turns, for "gigpo" (published), "ppo" and credit by sub-goal
    step_weight: float = 1.0  # what the comparison within a state ("gigpo", published) or sub-goal counts
    gae_lambda: float = 0.95  # "ppo": 1 is the whole return, 0 trusts the critic one turn ahead
    value_lr: float = 10.0  # "ppo": the value head's rate over optim.lr (published: 1e-5 beside 1e-6)
    value_coef: float = 0.5  # "ppo": how hard the value loss pulls at the backbone; 0 leaves it alone
    coevolution: bool = True  # False: ablation, both levels updated together from one set of episodes
    macro_updates: int = 1  # passes over phase A's samples
    micro_updates: int = 1  # passes over phase B's samples (and over a flat iteration's)
    minibatches: int = 1  # optimiser steps a pass
    macro_minibatches: int = 0  # those of phase A, whose batch has fewer tokens; 0 takes `minibatches`
    clip_low: float = 0.2  # published protocol
    clip_high: float = 0.2
    kl_coef: float = 0.01  # beta in the paper
    entropy_coef: float = 0.0
    aggregation: Literal["episode", "token"] = "episode"  # "token" is the published token-mean

    @property
    def planner_minibatches(self) -> int:
        """How many steps a pass over phase A's samples takes."""
        return self.macro_minibatches or self.minibatches

    @property
    def has_critic(self) -> bool:
        """Whether a value head takes the place of peers."""
        return self.estimator == "ppo"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """The optimiser."""

    name: Literal["adamw", "muon"] = "adamw"  # "muon" moves weight matrices by Muon, all else by AdamW
    lr: float = 1e-6  # published protocol
    muon_rate: float = 1.0  # what Muon's learning rate is in multiples of `lr`, its step scaled to AdamW's
    warmup: int = 0  # optimiser steps to the full rate
    schedule: Literal["constant", "linear"] = "constant"  # "linear" falls to 0 as the run's budget is spent
    weight_decay: float = 0.01
    grad_clip: float = 1.0
    betas: tuple[float, ...] = (0.9, 0.999)
    max_tokens: int = 16384  # tokens of one packed forward and backward


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig:
    """The warm start from the environment's expert."""

    demonstrations: int = 0  # 0: no warm start; a "tiny" model needs one
    kinds: tuple[str, ...] = ()  # task types that are demonstrated; empty for all there are
    noise: float = 0.1  # share of random actions: seen in the context, never imitated
    careless: float = 0.0  # share of demonstrations that leave out something the task asks for
    epochs: float = 1.0  # passes over the demonstrations
    batch: int = 32  # demonstrations an optimiser step
    lr: float = 1e-3
    style: Literal["both", "himac", "flat"] = "both"  # whose format is demonstrated
    macro_weight: float = 1.0  # what a blueprint's token counts; an action's counts 1
    context_weight: float = 0.0  # what a token of the world's answers counts: learning to foresee them


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """Evaluation during training and by `himac eval`."""

    split: str = "val"  # evaluated every so often; decides which checkpoint is the best
    tasks: int = 0  # first tasks of the split; 0 is the whole split
    every: int = 10  # iterations between evaluations; 0 is never
    final: str = ""  # split evaluated whole before and after training; "" is none
    temperature: float = 0.0  # 0 is greedy; the published protocol's 0.4 is the other one we report
    planner: str = ""  # model or endpoint that plans in `himac eval`; "" is the evaluated model
    executor: str = ""  # model or endpoint that acts in `himac eval`; "" is the evaluated model
    trials: int = 3  # attempts a task for method = "reflexion"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """OpenAI-compatible endpoints, for evaluation. What is set here changes no result."""

    key_env: str = "OPENAI_API_KEY"  # environment variable with the key; the key itself is never in a config
    planner_key_env: str = ""  # the planner's, where it is another; "" is key_env
    timeout_s: float = 120.0  # seconds for one attempt
    retries: int = 8  # further attempts of a request, about two minutes in all, before the evaluation stops
    concurrency: int = 8  # requests, and so episodes, under way at once
    max_requests: int = 0  # attempts one command may send; 0 is no limit
    max_tokens: int = 0  # prompt and completion tokens one command may use; 0 is no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything. Sections in the order a reader asks for them."""

    run: RunConfig = field(default_factory=RunConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    algo: AlgoConfig = field(default_factory=AlgoConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)


_SHORT = {
    "env": "env.name",
    "model": "model.name",
    "split": "eval.split",
    "seed": "run.seed",
    "method": "algo.method",
}
"""Words the command line takes instead of a dotted key."""


def load_config(recipe: str | Path | None = None, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a recipe and lay the overrides over it.

    Args:
        recipe: TOML file; None starts from the defaults.
        overrides: words like "optim.lr=1e-5", "env.boxes=2", "env=toy".

    Raises:
        MissingFileError: no such recipe.
        ConfigError: unknown key, wrong type, value out of range.
    """
    tree: dict[str, Any] = {}
    if recipe is not None:
        tree = _read_toml(Path(recipe))
    for word in overrides:
        _lay(tree, word)
    return config_from_dict(tree)


def overlay(config: Config, overrides: list[str]) -> Config:
    """Lay `key=value` words over a config; naming another environment forgets the old one's settings."""
    tree = {name: dict(table) for name, table in asdict(config).items()}
    changed: dict[str, Any] = {}
    for word in overrides:
        _lay(changed, word)
    if changed.get("env", {}).get("name", config.env.name) != config.env.name:
        tree["env"] = {}
    for section, table in changed.items():
        tree.setdefault(section, {}).update(table)
    return config_from_dict(tree)


def config_from_dict(tree: dict[str, Any]) -> Config:
    """Build a config from nested dicts, checking every key, type and range."""
    known = {f.name for f in fields(Config)}
    for section in tree:
        if section not in known:
            raise ConfigError(
                f"unknown section [{section}]; known: {', '.join(sorted(known))}{closest(section, known)}"
            )
    tree = {name: dict(table) if isinstance(table, dict) else table for name, table in tree.items()}
    if isinstance(tree.get("env"), dict):
        tree["env"] = _gather_env(tree["env"])
    config = build(Config, tree, "")
    _check(config)
    return config


def to_toml(config: Config) -> str:
    """Write a config as TOML that `load_config` reads back to the same object."""
    lines = []
    for section, table in asdict(config).items():
        if section == "env":
            table = {**{k: v for k, v in table.items() if k != "settings"}, **table["settings"]}
        lines.append(f"[{section}]")
        lines += [f"{key} = {write_value(value)}" for key, value in table.items()]
        lines.append("")
    return "\n".join(lines)


def differences(config: Config, base: Config) -> dict[str, tuple[Any, Any]]:
    """Return {dotted key: (value in base, value in config)} where the two differ."""
    ours, theirs = flat(asdict(config)), flat(asdict(base))
    keys = list(dict.fromkeys([*theirs, *ours]))
    return {k: (theirs.get(k), ours.get(k)) for k in keys if theirs.get(k) != ours.get(k)}


def check_trainable(config: Config) -> None:
    """Refuse to train what is only asked: prompting methods, and models behind endpoints.

    Raises:
        ConfigError: the config describes an evaluation.
    """
    if config.algo.method in PROMPTING:
        raise ConfigError(
            f"algo.method = {config.algo.method!r} prompts a frozen model and is not trained",
            hint="himac eval MODEL method=" + config.algo.method,
        )
    if config.model.name.startswith(("http://", "https://")):
        raise ConfigError(
            "model.name is an endpoint, which shows no tokens and no log-probabilities and cannot be trained",
            hint="himac eval takes endpoints; himac train takes local models",
        )
    for key in ("planner", "executor"):
        if name := getattr(config.eval, key):
            raise ConfigError(f"eval.{key} is for himac eval; training has one model, got {name!r}")


def override(config: Config, **sections: dict[str, Any]) -> Config:
    """Return a copy with some fields of some sections replaced, checked again."""
    changed = {name: replace(getattr(config, name), **table) for name, table in sections.items()}
    config = replace(config, **changed)
    _check(config)
    return config


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        shipped = sorted(p.name for p in Path("configs").glob("*.toml"))
        hint = f"recipes here: {', '.join(shipped)}" if shipped else "give the path of a TOML file"
        raise MissingFileError(f"no recipe at {str(path)!r}", hint=hint)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _lay(tree: dict[str, Any], word: str) -> None:
    """Lay one `key=value` word over the tree."""
    key, found, text = word.partition("=")
    key = _SHORT.get(key.strip(), key.strip())
    if not found or "." not in key:
        raise ConfigError(
            f"cannot read {word!r}; allowed: section.key=value", hint="for example optim.lr=1e-5"
        )
    *path, leaf = key.split(".")
    table = tree
    for name in path:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{key!r} goes through {name!r}, which is not a section")
    table[leaf] = read_value(text.strip())


def _gather_env(table: dict[str, Any]) -> dict[str, Any]:
    """Keep the [env] keys himac knows; all others are the environment's own settings."""
    own = {f.name for f in fields(EnvConfig)} - {"settings"}
    settings = {
        **table.get("settings", {}),
        **{k: v for k, v in table.items() if k not in own | {"settings"}},
    }
    return {**{k: v for k, v in table.items() if k in own}, "settings": settings}


_AT_LEAST = {
    "run.iterations": 0, "run.threads": 1, "run.save_every": 1, "run.keep_last": 1, "run.max_minutes": 0, "run.max_env_steps": 0, "run.max_tokens": 0,
    "model.lora_rank": 0, "model.max_prompt": 16, "agent.max_subgoals": 1, "agent.subgoal_turns": 1,
    "agent.max_steps": 0, "agent.macro_tokens": 1, "agent.micro_tokens": 1, "agent.last_pairs": 0,
    "agent.invalid_penalty": 0, "agent.format_penalty": 0, "rollout.tasks": 1, "rollout.group_size": 1,
    "rollout.micro_group_size": 1, "rollout.temperature": 0.01, "rollout.macro_temperature": 0, "rollout.dynamic_sampling": 0,
    "rollout.max_live": 1, "algo.macro_updates": 0, "algo.micro_updates": 0, "algo.minibatches": 1, "algo.macro_minibatches": 0,
    "algo.clip_low": 0, "algo.clip_high": 0, "algo.kl_coef": 0, "algo.gamma": 0, "algo.step_weight": 0, "algo.gae_lambda": 0,
    "algo.value_lr": 0, "algo.value_coef": 0, "optim.lr": 0, "optim.muon_rate": 0, "optim.warmup": 0,
    "optim.grad_clip": 0, "optim.max_tokens": 64, "sft.demonstrations": 0, "sft.noise": 0, "sft.careless": 0, "sft.epochs": 0,
    "sft.batch": 1, "sft.macro_weight": 0, "sft.context_weight": 0, "sft.lr": 0, "eval.tasks": 0, "eval.every": 0, "eval.temperature": 0,
    "eval.trials": 1, "endpoint.timeout_s": 0.1, "endpoint.retries": 0, "endpoint.concurrency": 1,
    "endpoint.max_requests": 0, "endpoint.max_tokens": 0,
}  # fmt: skip
_AT_MOST = {"sft.noise": 0.9, "sft.careless": 1, "run.max_failed": 1, "algo.gamma": 1, "algo.gae_lambda": 1}
_WHY = {"rollout.temperature": "training explores by sampling"}


def _check(config: Config) -> None:
    values = flat(asdict(config))
    for key, least in _AT_LEAST.items():
        if values[key] < least:
            raise ConfigError(f"{key} must be at least {least}, got {values[key]}", hint=_WHY.get(key, ""))
    for key, most in _AT_MOST.items():
        if values[key] > most:
            raise ConfigError(f"{key} must be at most {most}, got {values[key]}")
    if config.model.lora_per_role and not config.model.lora_rank:
        raise ConfigError("model.lora_per_role = true needs model.lora_rank of at least 1, got 0")
    _check_peers(config)


def _check_peers(config: Config) -> None:
    """Refuse what would compare an episode with nobody, or with those it cannot be compared with."""
    algo, rollout = config.algo, config.rollout
    for key in ("group_size", "micro_group_size"):
        size = getattr(rollout, key)
        if size < 2 and not algo.has_critic:
            raise ConfigError(
                f"rollout.{key} must be at least 2 for estimator {algo.estimator!r}, got {size}",
                hint='it compares an episode with its peers; estimator = "ppo" needs none',
            )
    if rollout.group_size < 2 and rollout.dynamic_sampling:
        raise ConfigError(
            f"rollout.dynamic_sampling must be 0 with rollout.group_size = 1, got {rollout.dynamic_sampling}",
            hint="it replaces groups without variance, and a group of one has none",
        )
    if algo.credit == "subgoal":
        if algo.method != "himac" or not algo.coevolution:
            raise ConfigError(
                'algo.credit = "subgoal" needs algo.method = "himac" and algo.coevolution = true',
                hint="only phase B's executions share a blueprint, and so their sub-goals",
            )
        if algo.estimator not in ("group_relative", "group_mean", "rloo"):
            raise ConfigError(
                f'algo.credit = "subgoal" goes with group_relative, group_mean or rloo, got {algo.estimator!r}'
            )
