"""Reflexion: try, note what went wrong, try again with the notes.

A trial is an episode of its own, acted by ReAct. After one that failed, the same context is asked what
went wrong; the answer is the trial's last turn (role "planner", no action) and so is on file with it. The next
trial opens with the notes of the ones before. Source: arXiv 2303.11366, with the environment's own verdict as the
signal that a trial failed and the last three notes as memory, as in the paper's ALFWorld experiments.

That verdict is an oracle: success after K trials is a best of K, and is never compared with a single attempt
without saying so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from himac.agents.base import GREEDY, Assignment, Query, Reply
from himac.agents.grammar import read_note
from himac.agents.prompts import load_prompts
from himac.agents.react import ReActAgent
from himac.config import AgentConfig
from himac.errors import ConfigError
from himac.types import Blueprint, EnvSpec, Episode, Message, Observation, Sampling, StepResult, StopReason

MAX_NOTES = 3
"""Notes a trial sees, the newest; the paper keeps one to three."""


class ReflexionAgent:
    """Acts one trial of a task as ReAct does; after a failed one, writes a note for the next.

    Args:
        spec: the world.
        cfg: limits of the acting; the context must not be "step", or the note would be about the last pairs alone.
        assignment: the earlier trials' notes; whether a trial follows this one, so that a note is wanted.

    Raises:
        ConfigError: the context forgets, so that there is nothing to reflect on.
    """

    plans = False
    is_trained = False

    def __init__(self, spec: EnvSpec, cfg: AgentConfig, assignment: Assignment = GREEDY) -> None:
        if cfg.context == "step":
            raise ConfigError(
                'agent.context must be "segment" or "full" for method "reflexion", got "step"',
                hint="a note is about the whole trial",
            )
        self.stop: StopReason | None = None
        self.segment = 0
        self.subgoal = ""
        self.blueprint: Blueprint | None = None
        self._actor = ReActAgent(spec, cfg, replace(assignment, notes=assignment.notes[-MAX_NOTES:]))
        self._reflects = not assignment.is_last
        self._question = load_prompts(cfg.prompts).reflect
        self._sampling = Sampling(max_tokens=cfg.planner_tokens, temperature=assignment.executor_temperature)

    def start(self, observation: Observation) -> None:
        """Take the first observation."""
        self._actor.start(observation)

    def ask(self) -> Query:
        """Say what to ask next."""
        ask = self._actor.ask()
        if self._actor.stop is None:
            return ask
        question = f"{ask.messages[-1].content}\n\n{self._question}"
        return Query(
            role="planner",
            fresh=False,
            messages=(Message(role="user", content=question),),
            sampling=self._sampling,
        )

    def receive(self, text: str) -> Reply:
        """Take what the model wrote."""
        if self._actor.stop is not None:
            self.stop = self._actor.stop
            return Reply(readable=bool(read_note(text)))
        reply = self._actor.receive(text)
        self._end()
        return reply

    def observe(self, result: StepResult) -> None:
        """Take what the environment answered."""
        self._actor.observe(result)
        self._end()

    def _end(self) -> None:
        """End with the actor, unless its failure is to be thought about."""
        ended = self._actor.stop
        if ended is not None and (ended is StopReason.SUCCESS or not self._reflects):
            self.stop = ended


def notes_of(trials: Sequence[Episode]) -> tuple[str, ...]:
    """Return what was noted after the trials of a task, the oldest first; a trial without a note adds none."""
    turns = [turn for trial in trials for segment in trial.segments for turn in segment.turns]
    notes = [read_note(turn.text) for turn in turns if turn.role == "planner"]
    return tuple(note for note in notes if note)
