"""The flat agent: one stream that plans and acts at once.

What GRPO, GiGPO, RLOO and PPO train in the paper's comparison, and, with another system prompt, what ReAct
prompts. It shares the hierarchical agent's memory and grammar, so that the two differ in the hierarchy and in
nothing else.
"""

from __future__ import annotations

from himac.agents.base import (
    GREEDY,
    Assignment,
    ContextMode,
    Query,
    Reply,
    call_limit,
    ending,
    step_limit,
)
from himac.agents.grammar import read_turn
from himac.agents.memory import Memory
from himac.agents.prompts import load_prompts, observation_view, opening_views, paragraphs
from himac.config import AgentConfig
from himac.types import Blueprint, EnvSpec, Message, Observation, Sampling, StepResult, StopReason


class FlatAgent:
    """Answers every observation with an action.

    There is one segment, so the hierarchical default context, "segment", means what is published for flat agents: a
    fresh prompt each turn with the task, the last pairs and the step number. "full" is one growing stream.

    Args:
        spec: the world.
        cfg: limits and context mode.
        assignment: its temperature is the executor's.
    """

    plans = False
    default_context: ContextMode = "step"  # what "segment" means
    always_thinks = False  # its own prompt asks for a thought

    def __init__(self, spec: EnvSpec, cfg: AgentConfig, assignment: Assignment = GREEDY) -> None:
        self.stop: StopReason | None = None
        self.segment = 0
        self.subgoal = ""
        self.blueprint: Blueprint | None = None
        self._spec, self._cfg, self._notes = spec, cfg, assignment.notes
        self._prompts = load_prompts(cfg.prompts)
        self._context: ContextMode = (
            self.default_context if cfg.context in ("segment", "carry") else cfg.context
        )
        self._memory = Memory(
            self._context,
            self._system(),
            last_pairs=cfg.last_pairs,
            step=self._prompts.step,
            form=self._form(),
        )
        self._sampling = Sampling(
            max_tokens=cfg.executor_tokens,
            temperature=assignment.executor_temperature,
            stop=("</action>",),
            thinks=cfg.think or self.always_thinks,
        )
        self._action = ""  # what the environment is answering to
        self._calls = self._steps = 0

    def start(self, observation: Observation) -> None:
        """Take the first observation."""
        task = f"Task: {self._spec.goal or observation.text}"
        head = paragraphs(task, self._prompts.notes_view(self._notes))
        view, told = opening_views(self._spec, observation, said=not self._spec.goal)
        self._memory.open_segment(head, view, told=told)

    def ask(self) -> Query:
        """Say what to ask next."""
        fresh, messages = self._memory.next_messages()
        return Query(role="executor", fresh=fresh, messages=messages, sampling=self._sampling)

    def receive(self, text: str) -> Reply:
        """Take what the model wrote."""
        self._calls += 1
        action, _ = read_turn(text)
        if action is None:
            self._memory.miss(self._prompts.nothing, self._prompts.unread)
            self._after_step()
            return Reply(readable=False)
        self._action = action
        return Reply(action=action)

    def observe(self, result: StepResult) -> None:
        """Take what the environment answered."""
        seen = result.observation
        self._memory.remember(self._action, observation_view(self._spec, seen), told=seen.text)
        if result.terminated or result.truncated:
            self.stop = ending(result)
        else:
            self._after_step()

    def _after_step(self) -> None:
        self._steps += 1
        if self._steps >= step_limit(self._spec, self._cfg):
            self.stop = StopReason.MAX_STEPS
        elif self._calls >= call_limit(self._spec, self._cfg):
            self.stop = StopReason.MAX_CALLS

    def _form(self) -> str:
        return self._prompts.flat_form_of(self._spec, think=self._cfg.think)

    def _system(self) -> Message:
        return self._prompts.flat_system(self._spec, think=self._cfg.think)
