"""Every setting, in one file; no torch.

A recipe is a sparse TOML laid over these defaults, and dotted `key=value` words are laid over the
recipe. Defaults are the paper's (arXiv 2603.00977) or, where it is silent, the published protocol's that
it compares under. Unknown keys and wrong types are refused with one line. The resolved config is saved
with the run and reads back to the same object.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from himac.errors import ConfigError, closest
from himac.layout import ParallelConfig
from himac.recipes import find
from himac.renamed import refuse_renamed
from himac.toml import (
    Beta,
    Count,
    NonNegative,
    Number,
    Pair,
    Positive,
    Share,
    Table,
    at_least,
    build,
    flat,
    full_names,
    merge,
    read_toml,
    read_value,
    write_tables,
)

FORMAT = 2
"""Of run folders; written into each run's config. Format 1 is that of himac 0.1.0, which wrote none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The run: where it is written, how long it is, what it starts from."""

    name: str = ""  # folder under `dir`; "" takes the recipe's name and the date
    dir: str = "runs"
    seed: int = 0
    iterations: Count = 150
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
    save_every: Positive = 5  # iterations between checkpoints; the two newest are kept, and the best
    save_episodes: bool = True  # write every training episode, tokens included, to episodes.jsonl
    # more places for metrics: "tensorboard", "wandb", "mlflow", "trackio", or an import path
    sinks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    """What training may spend besides its iterations; it stops, and evaluates, when one is spent. 0 is no limit."""

    env_steps: Count = 0  # environment steps
    tokens: Count = 0  # generated tokens
    processed_tokens: Count = 0  # tokens read and generated, each context's once
    minutes: NonNegative = 0.0  # wall time
    processor_s: NonNegative = 0.0  # seconds of all processor cores together


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSettings:
    """The table `model.vision`."""

    freeze: bool = False  # True: the vision tower stays as it is, and a picture's features are made once
    min_pixels: Count = 0  # smaller pictures are enlarged to this area; 0: as the model's own processor says
    max_pixels: Count = 0  # larger ones are shrunk; 0: likewise
    tower: tuple[Positive, Positive] = (64, 1)  # of a tiny model: width and blocks of its vision tower
    patch: Positive = 8  # of a tiny model: pixels of a patch's side; four patches are a token
    family: Literal["qwen3_vl", "qwen2_5_vl", "qwen2_vl"] = "qwen3_vl"  # of a tiny model


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The language model both roles share."""

    name: str = "Qwen/Qwen2.5-1.5B-Instruct"  # Hugging Face name, or a local folder
    dtype: str = "auto"  # "auto" (bfloat16 on CUDA, float32 on CPU), "float32", "bfloat16"
    lora_rank: Count = 0  # 0 trains all weights; alpha is 2 x rank
    lora_per_role: bool = False  # an adapter for each role: updating one leaves the other exactly as it was
    gradient_checkpointing: bool = False
    max_prompt: Annotated[int, at_least(16)] = 2048  # tokens of context before its oldest turns are trimmed
    # what name = "tiny" builds from scratch, a Qwen3 architecture and its tokenizer: hidden size, layers, vocabulary
    tiny: tuple[Positive, Positive, Annotated[int, at_least(300)]] = (64, 3, 512)
    vision: Table = field(default_factory=dict)  # its eyes: freeze, min_pixels, max_pixels (docs/vision.md)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """The world: a name and whatever `make_env` takes for it."""

    name: str = "sokoban"  # toy, sokoban, alfworld, webshop; gym, openenv, textarena, verifiers; or an import path: package.module:Object
    settings: Table = field(default_factory=dict)  # every other key of the [env] table


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """The hierarchy and its limits."""

    # "segment", the paper's mask (a flat agent's is "step"); "carry" adds each finished sub-goal's last action
    context: Literal["segment", "carry", "full", "step"] = "segment"
    think: bool = True  # every prompt asks for a thought before the answer, as the published ones do
    last_pairs: Count = 2  # (observation, action) pairs shown in "step" mode; published protocol
    explicit_done: bool = True  # False: ablation without <sub_done>
    done_with_action: bool = False  # True: an action followed by <sub_done> does both in one turn
    max_subgoals: Positive = 8
    subgoal_turns: Positive = 15  # turns of a sub-goal before its segment is forced to end
    max_steps: Count = 0  # environment steps of an episode; 0 takes the environment's published limit
    planner_tokens: Positive = 512  # longest blueprint; published response length
    executor_tokens: Positive = 512  # longest turn
    invalid_penalty: tuple[NonNegative, NonNegative] = (0.1, 0.0)  # unreadable, inadmissible; published: tags
    prompts: str = ""  # "" for tiny models, "full" for real ones: the answer's form ends the prompt; or a TOML file, a module
    malformed_penalty: Share = 0.05  # of the success reward, for a malformed blueprint; our choice


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """How episodes are collected."""

    tasks: Number = 16  # tasks an iteration; published protocol
    group_size: Number = 8  # blueprints a task in phase A (N = 8 in the paper); attempts a task when flat
    executor_group_size: Number = 8  # executions of z* in phase B
    temperature: Annotated[float, at_least(0.01, why="training explores by sampling")] = 1.0
    planner_temperature: NonNegative = 0.0  # of phase A's blueprints; 0 takes `temperature`
    select: Literal["best", "random"] = "best"  # which blueprint phase B executes; "random" is the ablation
    judge: tuple[Positive, NonNegative] = (1, 0.0)  # executions that judge a blueprint, and their temperature
    dynamic_sampling: Count = 0  # extra rounds of tasks to replace groups without variance
    max_live: Positive = 128  # episodes in flight; a finished one's place is taken by a pending one


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What generates: a name and whatever it takes."""

    name: str = "transformers"  # or an import path: package.module:Object
    settings: Table = field(default_factory=dict)  # every other key of the [engine] table


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgoConfig:
    """What is optimised."""

    method: str = "himac"  # himac, himac-replan, flat, one-stream; in himac eval: react, reflexion; or a path
    estimator: str = "group_relative"  # whose advantage (docs/baselines.md), or an import path to yours
    estimator_settings: Table = field(default_factory=dict)  # the estimator's own, by its own names
    coevolution: bool = True  # False: ablation, both levels updated together from one set of episodes
    epochs: tuple[Count, Count] = (1, 1)  # over the samples of phase A; of phase B, and of a flat iteration
    minibatches: tuple[Positive, Positive] = (1, 1)  # optimizer steps an epoch; phase A, phase B
    minibatch_turns: Count = 0  # turns an optimizer step, as published (64 to 256); 0: by `minibatches`
    clip: tuple[NonNegative, NonNegative] = (0.2, 0.2)  # below and above a ratio of 1; published protocol
    max_ratio: NonNegative = 0.0  # cap on learner's over engine's probability of a token; 0: taken as equal
    kl_coef: NonNegative | Pair = 0.01  # beta in the paper; or two: the planner's, the executor's
    entropy_coef: float = 0.0
    drop_flat_groups: bool = False  # True: groups without variance are left out, KL and entropy too
    # an episode's mean over its tokens; "token": the published token-mean; a number of tokens: Dr. GRPO's constant
    aggregation: Literal["episode", "token"] | Positive = "episode"

    def kl_of(self, role: str) -> float:
        """Return the KL coefficient of a role's tokens."""
        if isinstance(self.kl_coef, tuple):
            return self.kl_coef[0 if role == "planner" else 1]
        return self.kl_coef

    @property
    def has_kl(self) -> bool:
        """Whether any token is held to the reference."""
        return bool(self.kl_of("planner") or self.kl_of("executor"))

    @property
    def keeps_flat_groups(self) -> bool:
        """Whether groups without variance have anything to teach: without KL and entropy they have no gradient."""
        return not self.drop_flat_groups and (self.has_kl or self.entropy_coef != 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """The optimizer."""

    name: Literal["adamw", "muon"] = "adamw"  # "muon" moves weight matrices by Muon, all else by AdamW
    lr: NonNegative = 1e-6  # published protocol
    muon_rate: NonNegative = 1.0  # Muon's learning rate over `lr`, its step scaled to AdamW's
    shared_state: bool = False  # True: one state for both roles, as in 0.1.0; phases then leak
    warmup: Count = 0  # optimizer steps of a role to the full rate
    schedule: Literal["constant", "linear"] = "constant"  # "linear" falls to 0 as the run's budget is spent
    weight_decay: NonNegative = 0.01
    grad_clip: NonNegative = 1.0
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    max_tokens: Annotated[int, at_least(64)] = 16384  # tokens of one packed forward and backward


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig:
    """The warm start from the environment's expert."""

    demonstrations: Annotated[int, at_least(0, 10_000_000)] = 0  # 0: no warm start; a "tiny" model needs one
    kinds: tuple[str, ...] = ()  # task types that are demonstrated; empty for all there are
    noise: Annotated[float, at_least(0, 0.9)] = 0.1  # share of random actions: seen, never imitated
    careless: Share = 0.0  # share of demonstrations that leave out something the task asks for
    epochs: NonNegative = 1.0  # passes over the demonstrations
    batch: Positive = 32  # demonstrations an optimizer step
    lr: NonNegative = 1e-3
    style: Literal["method", "both", "himac", "flat", "stream"] = "method"  # whose format is demonstrated
    planner_weight: NonNegative = 1.0  # what a blueprint's token counts; an action's counts 1
    describe: Count = 0  # pictures that are put into words before anything is demonstrated

    @property
    def steps(self) -> int:
        """Optimizer steps of a warm start."""
        return max(1, round(self.epochs * self.demonstrations / self.batch))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """Evaluation during training and by `himac eval`."""

    split: str = "val"  # evaluated every so often; decides which checkpoint is the best
    tasks: Count = 0  # tasks spread over the split, always the same ones; 0 is the whole split
    every: Count = 10  # iterations between evaluations; 0 is never
    final: str = ""  # split evaluated whole before and after training; "" is none
    temperature: NonNegative = 0.0  # 0 is greedy; the published protocol's 0.4 is the other one we report
    planner: str = ""  # model or endpoint that plans in `himac eval`; "" is the evaluated model
    executor: str = ""  # model or endpoint that acts in `himac eval`; "" is the evaluated model
    trials: Positive = 3  # attempts a task for method = "reflexion"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """OpenAI-compatible endpoints, for evaluation. What is set here changes no result."""

    key_env: str = "OPENAI_API_KEY"  # environment variable with the key; the key itself is never in a config
    planner_key_env: str = ""  # the planner's, where it is another; "" is key_env
    timeout_s: Annotated[float, at_least(0.1)] = 120.0  # seconds for one attempt
    retries: Count = 8  # further attempts of a request, about two minutes in all, before the evaluation stops
    concurrency: Positive = 8  # requests, and so episodes, under way at once
    budget: tuple[Count, Count] = (0, 0)  # requests, and tokens, that one command may spend; 0 is no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything. Sections in the order a reader asks for them."""

    run: RunConfig = field(default_factory=RunConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    algo: AlgoConfig = field(default_factory=AlgoConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)


SHORT = {
    "env": "env.name",
    "model": "model.name",
    "split": "eval.split",
    "seed": "run.seed",
    "method": "algo.method",
}
"""Words the command line takes instead of a dotted key."""

OPEN: dict[str, type] = {"env": EnvConfig, "engine": EngineConfig}
"""Sections whose other keys belong to somebody else, and are gathered in the field `settings`."""


def load_config(recipe: str | Path | None = None, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a recipe and lay the overrides over it.

    Args:
        recipe: TOML file, or the name of one that comes with himac; None starts from the defaults.
        overrides: words like "optimizer.lr=1e-5", "env.boxes=2", "env=toy".

    Raises:
        MissingFileError: no such recipe.
        ConfigError: unknown key, wrong type, value out of range.
    """
    tree: Table = {}
    if recipe is not None:
        tree = read_toml(find(recipe))
    for word in overrides:
        _lay(tree, word)
    return config_from_dict(tree)


def overlay(config: Config, overrides: list[str] | tuple[str, ...]) -> Config:
    """Lay `key=value` words over a config; naming another environment forgets the old one's settings."""
    tree = {name: dict(table) for name, table in asdict(config).items()}
    changed: Table = {}
    for word in overrides:
        _lay(changed, word)
    for section in OPEN:
        name = tree[section]["name"]
        if changed.get(section, {}).get("name", name) != name:
            tree[section] = {}
    if changed.get("algo", {}).get("estimator", config.algo.estimator) != config.algo.estimator:
        tree["algo"]["estimator_settings"] = {}
    merge(tree, changed)
    return config_from_dict(tree)


def config_from_dict(tree: Table) -> Config:
    """Build a config from nested dicts, checking every key, type and range."""
    tree = {name: dict(table) if isinstance(table, dict) else table for name, table in tree.items()}
    tree.pop("format", None)
    refuse_renamed(tree)
    known = [f.name for f in fields(Config)]
    for section in tree:
        if section not in known:
            raise ConfigError(
                f"unknown section [{section}]; known: {', '.join(known)}{closest(section, known)}"
            )
    for section, cls in OPEN.items():
        if isinstance(tree.get(section), dict):
            tree[section] = _gather(tree[section], cls)
    config: Config = build(Config, tree)
    vision_settings(config.model.vision)
    if config.model.lora_per_role and not config.model.lora_rank:
        raise ConfigError("model.lora_per_role = true needs model.lora_rank of at least 1, got 0")
    return config


def to_toml(config: Config) -> str:
    """Write a config as TOML that `load_config` reads back to the same object."""
    return write_tables({"format": FORMAT, **_as_written(config)})


def differences(config: Config, base: Config) -> dict[str, tuple[Any, Any]]:
    """Return {dotted key: (value in base, value in config)} where the two differ."""
    ours, theirs = (flat(_as_written(c)) for c in (config, base))
    keys = list(dict.fromkeys([*theirs, *ours]))
    return {k: (theirs.get(k), ours.get(k)) for k in keys if theirs.get(k) != ours.get(k)}


def is_endpoint(name: str | os.PathLike[str]) -> bool:
    """Whether a model's name is the address of an OpenAI-compatible endpoint."""
    return str(name).startswith(("http://", "https://"))


def vision_settings(table: Table) -> VisionSettings:
    """Read the table `model.vision`.

    Raises:
        ConfigError: an unknown key, a wrong type, a number out of its range.
    """
    settings: VisionSettings = build(VisionSettings, table, "model.vision")
    return settings


def override(config: Config, **sections: Table) -> Config:
    """Return a copy with some fields of some sections replaced, checked again."""
    tree = asdict(config)
    merge(tree, sections)
    return config_from_dict(tree)


def _as_written(config: Config) -> Table:
    """Return the tables of a config, the environment's own settings among its others."""
    tree = asdict(config)
    for section in OPEN:
        tree[section] |= tree[section].pop("settings")
    return tree


def _lay(tree: Table, word: str) -> None:
    """Lay one `key=value` word over the tree."""
    key, found, text = word.partition("=")
    key = SHORT.get(key.strip(), key.strip())
    if not found or "." not in key:
        meant = " or ".join(f"{name}={text}" for name in full_names(key, Config)) if found else ""
        hint = f"did you mean {meant}?" if meant else "for example optimizer.lr=1e-5"
        raise ConfigError(f"cannot read {word!r}; allowed: section.key=value", hint=hint)
    *path, leaf = key.split(".")
    table = tree
    for name in path:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{key!r} goes through {name!r}, which is not a section")
    table[leaf] = read_value(text.strip())


def _gather(table: Table, cls: type) -> Table:
    """Keep the keys that a section's own class has; move all others into its field `settings`."""
    own, given = {f.name for f in fields(cls)} - {"settings"}, table.get("settings", {})
    if not isinstance(given, dict):
        raise ConfigError(f"settings must be a table, got {given!r}")
    rest = {key: value for key, value in table.items() if key not in own | {"settings"}}
    kept = {key: value for key, value in table.items() if key in own}
    return {**kept, "settings": {**given, **rest}}
