"""The words of himac as frozen dataclasses; imports nothing but numpy and the errors.

Everything that travels between rooms (environments, agents, engines, estimators, the learner)
is one of these nouns, and each is immutable, so an episode that was trained on can be read again later
exactly as it was.

    Task -> Episode( blueprint turn, Segment( Turn, Turn, ... ), Segment(...) ) -> Sample

A worked example, `hierarchical` agent on a two-sub-goal task (token ids abridged):

    contexts[0]  <plan prompt> [1. get the key 2. open the door]           role planner, Turn 0
    contexts[1]  <task, blueprint, obs> [go east] <obs> [take key] <obs> [<sub_done>]   role executor, Turns 1-3
    contexts[2]  <task, blueprint, obs> [open door]                        role executor, Turn 4

Brackets are sampled tokens (mask 1); everything else is prompt (mask 0). A context is one training
sequence and one cached prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import numpy as np

LanguageModel: TypeAlias = Any
"""A causal language model of transformers, or one that peft has wrapped; their own annotations are partial."""
Tokenizer: TypeAlias = Any
"""A tokenizer of transformers."""
Weights: TypeAlias = Any
"""{name: tensor}, as the engine at hand takes it; None where it shares the learner's module."""
Json: TypeAlias = Any
"""A value out of foreign JSON, before it is checked."""
Row = dict[str, Any]
"""One JSON object of a run's files: a line of metrics or episodes, an evaluation, a comparison."""

Role = Literal["planner", "executor"]
"""Who wrote a turn: the one that plans or the one that acts. All turns of a flat agent are the executor's."""


class StopReason(StrEnum):
    """Why an episode or a segment ended."""

    SUCCESS = "success"  # the environment terminated with success
    FAILURE = "failure"  # the environment terminated without success
    TRUNCATED = "truncated"  # the environment's own limit
    MAX_STEPS = "max_steps"  # episode limit on environment steps
    MAX_CALLS = "max_calls"  # episode limit on model calls
    PROMPT_TOO_LONG = "prompt_too_long"  # the context does not fit, even trimmed
    ENV_ERROR = "env_error"  # the environment raised
    ENGINE_ERROR = "engine_error"  # an endpoint refused the prompt (too long for it, filtered)
    SUB_DONE = "sub_done"  # segment: the executor said <sub_done>
    BUDGET = "budget"  # segment: forced, its turns ran out
    EPISODE_END = "episode_end"  # segment: the episode ended while it was active


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSpec:
    """What an agent has to be told about a world before it sees it."""

    name: str  # "sokoban"
    rules: str  # what the world is and which actions exist, for the system prompt, a few lines
    example_subgoals: tuple[str, ...]  # two or three sub-goals in the world's own words
    max_steps: int  # the published episode limit, in environment steps
    list_admissible: bool  # the published prompt lists the admissible actions
    splits: tuple[str, ...]  # names accepted by `tasks`
    reward_success: float  # reward that the published protocol gives for a solved task
    goal: str = ""  # the task in words when all tasks share it; "": the first observation states it
    deterministic: bool = True  # same (task, seed, actions) -> same results
    images: bool = False  # every observation carries a picture, which belongs to what the agent sees
    example_play: tuple[
        tuple[str, str], ...
    ] = ()  # (seen, answer) of a short exemplary play, for few-shot prompts

    @property
    def train_split(self) -> str:
        """The split that is trained on: "train", or the first where none is called so."""
        return "train" if "train" in self.splits else self.splits[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One problem of one environment: what `Env.reset` needs, and nothing else."""

    env: str  # environment name, e.g. "sokoban"
    split: str  # "train", "val", "test", or the environment's own names ("valid_seen", ...)
    index: int  # position in the split's fixed order, from 0
    kind: str = ""  # task type within the environment for grouped evaluation; "" when there is only one


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the agent may see after `reset` or `step`."""

    text: str = ""  # the world's text, exactly; "" when there is none
    image: np.ndarray | None = None  # (H, W, 3) uint8; None when the environment gives no image
    admissible: tuple[str, ...] | None = None  # every valid action in the world's order; None: not enumerated


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What `Env.step` returns. `terminated` (the task's own end) and `truncated` (a limit) stay apart."""

    observation: Observation
    reward: float  # environment reward of this step, in the environment's own unit
    terminated: bool
    truncated: bool
    success: bool  # the task is solved, as of this step
    score: float  # graded result in [0, 1]; equals float(success) where nothing finer exists
    valid: bool  # the action was admissible; False for a "nothing happens" step


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """An expert's play of one task: what the warm start imitates.

    `actions[i]` belongs to sub-goal `segment_of[i]`; an agent's formatter turns it into chat turns.
    """

    task: Task
    subgoals: tuple[str, ...]  # the blueprint, in order
    actions: tuple[str, ...]  # environment actions, in order
    segment_of: tuple[int, ...]  # per action: index of the sub-goal it serves, never decreasing
    is_noise: tuple[bool, ...]  # per action: random, to be seen in the context but not imitated


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an engine samples one completion."""

    max_tokens: int = 512  # most new tokens
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0  # nucleus; 1 is off
    stop: tuple[str, ...] = ()  # generation ends after the completion's text contains one of these
    seed: int = 0  # per request: the completion depends on (prompt, sampling), not on its batch
    thinks: bool = (
        False  # a thought was asked for: engines that cannot see one leave the stop strings to the reader
    )
    in_thought: bool = False  # the prompt ends inside a thought: stop strings rest until it is closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One completion asked of an engine: tokens in, or messages to an engine behind an endpoint."""

    prompt: tuple[int, ...] | np.ndarray = ()  # (T,) token ids; empty where messages are sent
    messages: tuple[Message, ...] = ()  # the same as chat, for engines that have no tokens to show
    sampling: Sampling
    role: Role = "executor"  # who is asked: roles may have weights, and engines, of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine returns: tokens out, exactly as sampled (the end-of-turn token included), or text."""

    ids: tuple[int, ...] = ()  # (T,) sampled token ids; empty from an endpoint, which shows none
    logps: tuple[
        float, ...
    ] = ()  # (T,) log-probability of each, at the sampling temperature (at 1 when greedy)
    finish: Literal["stop", "length", "refused"]  # end-of-turn token or stop string; max_tokens; no answer
    text: str | None = None  # what an endpoint wrote; None: the ids say it
    num_tokens: int = 0  # tokens of `text`, as the endpoint counts them; 0 where ids say it
    error: str = ""  # why an endpoint refused this one request; "" otherwise

    @property
    def length(self) -> int:
        """Tokens that were sampled."""
        return len(self.ids) or self.num_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """The planner's plan: sub-goals in order."""

    subgoals: tuple[str, ...]  # 1 to max_subgoals
    malformed: bool = False  # the text could not be read; subgoals is then the task itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One growing token sequence: a cached prefix for the engine, one training sequence for the learner."""

    ids: np.ndarray  # (T,) int32 token ids
    sampled: np.ndarray  # (T,) bool; True where the model sampled the token in this context
    logps: np.ndarray  # (T,) float32 behaviour log-probabilities; 0 where not sampled


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One prompt and its completion. `context[start:end]` are its sampled tokens."""

    role: Role
    context: int  # index into Episode.contexts
    start: int  # first sampled token in that context
    end: int  # one past the last
    text: str  # the completion as text, end-of-turn token left out
    action: str | None = None  # what went to the environment; None for a blueprint or <sub_done>
    sub_done: bool = False
    readable: bool = True  # the completion could be parsed
    admissible: bool = True  # the environment accepted the action; True when nothing was sent
    reward: float = 0.0  # environment reward of the action; 0 when nothing was sent
    penalty: float = 0.0  # what this turn's form cost, >= 0; an episode's penalty is the sum
    observation: str = ""  # text the environment answered with; "" when nothing was sent
    state_key: str = ""  # identifies the state the turn was taken in (anchor states); "" when unknown
    value: float | None = None  # a critic's estimate of the return from here on; None without a critic


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The turns of one active sub-goal."""

    index: int  # position in the blueprint; len(subgoals) means "finish the task"
    subgoal: str  # its text; "" for a flat agent
    turns: tuple[Turn, ...]
    stop: StopReason
    trimmed: int = 0  # how many of its oldest turns a token budget has dropped from the context


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One attempt at one task, finished."""

    task: Task
    replica: int  # which of its group's attempts this is, from 0
    instruction: str  # the first observation's text, as the agent saw it
    blueprint: Blueprint | None  # None for a flat agent
    planning: Turn | None  # the turn that wrote the blueprint; None when it was given or there is none
    segments: tuple[Segment, ...]
    contexts: tuple[Context, ...]
    env_return: float  # sum of environment rewards
    penalty: float  # format and invalid-action penalties, >= 0
    success: bool
    score: float  # in [0, 1]
    stop: StopReason
    env_steps: int  # steps the environment took
    calls: int  # completions asked of the engine
    tokens: int  # tokens sampled
    is_copy: bool = False  # shares another episode's execution (identical blueprint, greedy, deterministic)
    error: str = ""  # traceback when stop is ENV_ERROR, the endpoint's words when ENGINE_ERROR

    worth: tuple[float, ...] = ()  # what its return would lose without each line of its blueprint
    judged: float | None = (
        None  # mean return of several executions of its blueprint, the plan's own penalty left out
    )

    @property
    def return_(self) -> float:
        """The return that groups compare: environment rewards minus penalties, a mean where several executions judge."""
        if self.judged is not None:
            return self.judged - (self.planning.penalty if self.planning else 0.0)
        return self.env_return - self.penalty

    @property
    def executed(self) -> float:
        """The return of its own execution, the plan's penalty left out."""
        return self.env_return - self.penalty + (self.planning.penalty if self.planning else 0.0)

    @property
    def was_run(self) -> bool:
        """Whether the episode is anybody's peer: a world or an engine that broke says nothing of a policy."""
        return self.stop not in (StopReason.ENV_ERROR, StopReason.ENGINE_ERROR)

    @property
    def processed(self) -> int:
        """Tokens read and generated for it, each context's once; a copy's are those of its own plan."""
        own = self.contexts[:1] if self.is_copy else self.contexts
        return sum(len(context.ids) for context in own)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Every turn in order: the blueprint's first, then each segment's."""
        head = (self.planning,) if self.planning is not None else ()
        return head + tuple(turn for segment in self.segments for turn in segment.turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSpec:
    """One phase of an iteration: who explores, and how what was found is learned."""

    name: str  # "planner", "executor", "joint", "flat"; "eval" trains nobody
    roles: tuple[Role, ...]  # sampled, compared and trained; the others are greedy and frozen
    temperature: float  # of those roles
    planner_temperature: float | None = (
        None  # of the planner, where a phase trains both and it has one of its own
    )
    epochs: int = 1  # over the phase's samples
    minibatches: int = 1  # optimizer steps an epoch
    size: int = 0  # episodes a task; 0: the recipe's group
    judge: tuple[int, float] = (
        1,
        0.0,
    )  # executions of a blueprint, and their temperature, where it is the planner's phase
    minibatch_turns: int = (
        0  # trained turns of one optimizer step; 0: `minibatches` says how many steps there are
    )

    def temperature_of(self, role: Role) -> float:
        """Return the temperature that a role of the phase samples at."""
        own = self.planner_temperature if role == "planner" else None
        return self.temperature if own is None else own

    @property
    def has_one_temperature(self) -> bool:
        """Whether all its roles sample alike."""
        return len({self.temperature_of(role) for role in self.roles}) <= 1


Group = Sequence[Episode]
"""Episodes that are each other's peers: they are compared with one another and with nobody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One training sequence: what the learner sees. It knows tokens, masks and advantages, nothing else."""

    ids: np.ndarray  # (T,) int32
    mask: np.ndarray  # (T,) bool; True where the token gets gradient
    logps: np.ndarray  # (T,) float32 behaviour log-probabilities
    advantages: np.ndarray  # (T,) float32; 0 outside the mask
    weights: np.ndarray  # (T,) float32; what the token counts in the loss, 0 outside the mask
    role: Role = (
        "executor"  # who wrote the trained tokens: which adapter and which column of a critic is meant
    )
    targets: np.ndarray | None = None  # (T,) float32 what a critic should say, at the last token before each
    # trained turn, NaN elsewhere; None without a critic

    @property
    def num_turns(self) -> int:
        """Trained turns: runs of the mask, for the prompt always says something between two of them."""
        return int(np.count_nonzero(np.diff(self.mask.astype(np.int8), prepend=np.int8(0)) == 1))
