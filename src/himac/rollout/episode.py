"""One episode while it runs.

Agent, environment and tokens meet here and nowhere else; training, evaluation, play and demonstrations all
drive this class. It keeps the open context, turns
completions into Turns, and freezes everything into an Episode when the agent or the world has had
enough.
"""

from __future__ import annotations

import hashlib
import math
import traceback
from dataclasses import dataclass, replace

from himac.agents.base import Agent, Query, Reply
from himac.chat import Conversation, Dialogue, Format
from himac.config import AgentConfig
from himac.envs.base import Env
from himac.errors import EnvError
from himac.images import Album
from himac.seeds import derive
from himac.text import whole
from himac.types import (
    Completion,
    Context,
    Episode,
    Observation,
    Request,
    Role,
    Segment,
    StepResult,
    StopReason,
    Task,
    Turn,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One episode to run."""

    task: Task
    replica: int  # which of its group's attempts this is
    agent: Agent  # fresh; belongs to this job alone
    seed: int  # of this episode's sampling
    env_seed: int = 0  # of the environment; equal for a whole group


@dataclass(slots=True)
class _OpenSegment:
    index: int
    subgoal: str
    turns: list[Turn]
    trimmed: int = 0


class LiveEpisode:
    """An episode under way. Call `begin`, then rounds of `ask`, `take`, `act`, `see`, then `record`.

    Args:
        job: what to run.
        env: where.
        chat: how the engine is talked to.
        cfg: what bad form costs.
        planner_chat: how the planner's engine is talked to; None where it is the same.
        album: keeps the pictures of a world that shows them; None makes one of its own.
    """

    def __init__(
        self,
        job: Job,
        env: Env,
        chat: Format,
        *,
        cfg: AgentConfig,
        planner_chat: Format | None = None,
        album: Album | None = None,
    ) -> None:
        self.job, self.env = job, env
        self._album = album or Album()
        self.role: Role = "executor"  # whose turn the next completion is
        self.query: Query | None = None  # what was asked last
        self.reply: Reply | None = None  # what the last completion meant
        self.calls = 0
        self.has_new_blueprint = False
        self._chats: dict[Role, Format] = {"planner": planner_chat or chat, "executor": chat}
        self._cfg = cfg
        self._conversation: Conversation | Dialogue | None = None
        self._contexts: list[Context] = []
        self._segments: list[_OpenSegment] = []
        self._planning: Turn | None = None
        self.first = Observation()
        self._state_key = ""
        self._last: StepResult | None = None
        self._env_steps = self._tokens = 0
        self._env_return = self._penalty = 0.0
        self._stop: StopReason | None = None
        self._error = ""

    @property
    def finished(self) -> bool:
        """Whether the agent, the world or a failure has ended the episode."""
        return self._stop is not None or self.job.agent.stop is not None

    @property
    def execution_key(self) -> tuple[int, tuple[str, ...]]:
        """What a greedy execution depends on: the task and the blueprint."""
        blueprint = self.job.agent.blueprint
        return self.job.task.index, blueprint.subgoals if blueprint else ()

    @property
    def _malformed(self) -> float:
        """What a malformed blueprint costs, in units of return."""
        return self._cfg.malformed_penalty * self.env.spec.reward_success

    def begin(self) -> None:
        """Reset the world and show it to the agent."""
        try:
            self.first = self._told(self.env.reset(self.job.task, seed=self.job.env_seed))
        except Exception:
            self._fail()
            return
        self._state_key = state_key(self.first)
        self.job.agent.start(self.first)

    def ask(self, max_prompt: int) -> Request | None:
        """Return the request for the next completion, or None when its prompt cannot be made to fit."""
        query = self.query = self.job.agent.ask()
        self.role = query.role
        if query.fresh or self._conversation is None:
            self._close_context()
            self._conversation = self._chats[query.role].conversation(query.messages)
        else:
            self._conversation.add_question(query.messages[-1].content)
        if len(self._conversation) > max_prompt and not self._trim(max_prompt):
            self._stop = StopReason.PROMPT_TOO_LONG
            return None
        sampling = replace(query.sampling, seed=derive(self.job.seed, self.calls))
        return self._conversation.request(sampling, query.role)

    def take(self, completion: Completion) -> str | None:
        """Record what the model wrote; return the action that the world is to carry out, if any."""
        assert self._conversation is not None
        self.calls += 1
        self._tokens += completion.length
        if completion.finish == "refused":
            self._stop, self._error = StopReason.ENGINE_ERROR, completion.error
            return None
        agent = self.job.agent
        segment, subgoal = agent.segment, agent.subgoal
        start, end = self._conversation.add_completion(completion)
        text = self._conversation.read(completion)
        reply = self.reply = agent.receive(text)
        form = self._malformed if reply.blueprint is not None else self._cfg.invalid_penalty[0]
        cost = 0.0 if reply.readable else form
        self._penalty += cost
        turn = Turn(
            role=self.role,
            context=len(self._contexts),
            start=start,
            end=end,
            text=text,
            action=reply.action,
            sub_done=reply.sub_done,
            readable=reply.readable,
            penalty=cost,
            state_key=self._state_key,
        )
        self.has_new_blueprint = reply.blueprint is not None
        if reply.blueprint is not None:
            self._planning = turn
            return None
        self._place(turn, segment, subgoal)
        return reply.action

    def act(self, action: str) -> StepResult | None:
        """Let the world carry the action out; None when it failed."""
        try:
            result = self.env.step(action)
            if not (math.isfinite(result.reward) and math.isfinite(result.score)):
                raise EnvError(f"reward {result.reward} and score {result.score} must be finite")
            return replace(result, observation=self._told(result.observation))
        except Exception:
            self._fail()
            return None

    def see(self, result: StepResult | None) -> None:
        """Record what came of the last action and show it to the agent."""
        if result is None:
            return
        self._env_steps += 1
        self._env_return += result.reward
        cost = 0.0 if result.valid else self._cfg.invalid_penalty[1]
        self._penalty += cost
        self._last = result
        if result.valid:  # what is not valid changes nothing, whatever the world says of it
            self._state_key = state_key(result.observation)
        turns = self._segments[-1].turns
        turns[-1] = replace(
            turns[-1],
            reward=result.reward,
            penalty=cost,
            admissible=result.valid,
            observation=result.observation.text,
        )
        self.job.agent.observe(result)

    def record(self, *, cut_short: bool = False) -> Episode:
        """Freeze the finished episode.

        Args:
            cut_short: the caller ends it here (a demonstration that has been told); counts as truncated.
        """
        self._close_context()
        agent, last = self.job.agent, self._last
        stop = self._stop or agent.stop or (StopReason.TRUNCATED if cut_short else None)
        assert stop is not None, "record() of an episode that has not ended"
        return Episode(
            task=self.job.task,
            replica=self.job.replica,
            instruction=self.first.text,
            blueprint=agent.blueprint,
            planning=self._planning,
            segments=self._frozen_segments(),
            contexts=tuple(self._contexts),
            env_return=self._env_return,
            penalty=self._penalty,
            success=last.success if last else False,
            score=last.score if last else 0.0,
            stop=stop,
            env_steps=self._env_steps,
            calls=self.calls,
            tokens=self._tokens,
            error=self._error,
        )

    def record_as_copy(self, leader: Episode) -> Episode:
        """Freeze an episode whose blueprint another one has already executed: own plan, shared execution."""
        self._close_context()
        assert self._planning is not None and leader.planning is not None
        own_penalty = self._penalty
        planning_penalty = self._malformed if not leader.planning.readable else 0.0
        return replace(
            leader,
            replica=self.job.replica,
            planning=self._planning,
            blueprint=self.job.agent.blueprint,
            contexts=(self._contexts[0], *leader.contexts[1:]),
            penalty=leader.penalty - planning_penalty + own_penalty,
            calls=self.calls,
            tokens=self._tokens,
            is_copy=True,
        )

    def _place(self, turn: Turn, index: int, subgoal: str) -> None:
        """Put a turn under its sub-goal."""
        if not self._segments or self._segments[-1].index != index:
            self._segments.append(_OpenSegment(index, subgoal, []))
        self._segments[-1].turns.append(turn)

    def _trim(self, max_tokens: int) -> bool:
        """Drop the oldest turns of the open context; False when that is not enough."""
        assert self._conversation is not None
        shorter = self._conversation.trimmed(max_tokens)
        if shorter is None:
            return False
        self._close_context()
        self._conversation, dropped = shorter
        self._segments[-1].trimmed += dropped
        return True

    def _close_context(self) -> None:
        if self._conversation is not None:
            self._contexts.append(self._conversation.context())
            self._conversation = None

    def _frozen_segments(self) -> tuple[Segment, ...]:
        frozen = []
        for index, segment in enumerate(self._segments):
            is_last = index == len(self._segments) - 1
            if segment.turns[-1].sub_done:
                stop = StopReason.SUB_DONE
            else:
                stop = StopReason.EPISODE_END if is_last else StopReason.BUDGET
            frozen.append(
                Segment(
                    index=segment.index,
                    subgoal=segment.subgoal,
                    turns=tuple(segment.turns),
                    stop=stop,
                    trimmed=segment.trimmed,
                )
            )
        return tuple(frozen)

    def _told(self, observation: Observation) -> Observation:
        """Return what the agent sees, fit to be written down: where the world shows pictures, their words first."""
        seen = self._album.told(observation) if self.env.spec.images else observation
        if seen.text.isascii() and all(map(str.isascii, seen.admissible or ())):
            return seen
        admissible = None if seen.admissible is None else tuple(map(whole, seen.admissible))
        return replace(seen, text=whole(seen.text), admissible=admissible)

    def _fail(self) -> None:
        self._stop, self._error = StopReason.ENV_ERROR, traceback.format_exc()


def blueprint_logp(episode: Episode) -> float:
    """Mean log-probability of an episode's own blueprint tokens; 0 when it wrote none."""
    if episode.planning is None:
        return 0.0
    logps_T = episode.contexts[episode.planning.context].logps
    return float(logps_T[episode.planning.start : episode.planning.end].mean())


def state_key(observation: Observation) -> str:
    """Name a state by all that can be seen of it: the text and the admissible actions."""
    parts = (observation.text, *(observation.admissible or ()))
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()
