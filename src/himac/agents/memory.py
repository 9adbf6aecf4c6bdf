"""How much an executor remembers.

The context modes differ only in what the next question contains. `segment`, `carry` and `full` go on
with the open context (append-only: one training sequence, one cached prefix); `step` opens a fresh one
each turn with the last few pairs, as the published baselines do.
"""

from __future__ import annotations

from himac.agents.base import ContextMode
from himac.agents.prompts import history_view, paragraphs
from himac.types import Message


class Memory:
    """Builds the messages of the next question.

    Args:
        mode: see `ContextMode`.
        system: the system prompt that every fresh context opens with.
        last_pairs: how many past (observation, action) pairs `step` shows; of an observation the text alone, as published.
        step: what `step` says before an observation, with the number of the step filled in.
        form: how every fresh context's first message ends; "" for nothing.
    """

    def __init__(
        self, mode: ContextMode, system: Message, *, last_pairs: int = 2, step: str = "", form: str = ""
    ) -> None:
        self._mode, self._system, self._last_pairs, self._step = mode, system, last_pairs, step
        self._form = form
        self._pairs: list[tuple[str, str]] = []
        self._head = ""  # what a fresh context says before the observation
        self._view = ""  # the last observation, as a prompt shows it
        self._seen = ""  # what the next answer is about: that, or a word on an answer that could not be read
        self._told = ""  # and as later prompts tell it
        self._fresh = True

    def open_segment(self, head: str, view: str, *, told: str = "") -> None:
        """Begin a segment.

        Args:
            head: names task and sub-goal.
            view: what it leaves out of the current observation.
            told: what later prompts say was seen; "" where the head says it.
        """
        carry_on = self._mode == "full" and not self._fresh
        self._head, self._view, self._told = head, view, told
        self._seen = paragraphs(head, view) if carry_on else view
        self._fresh = not carry_on
        if self._mode in ("segment", "carry"):
            self._pairs = []

    def go_on(self) -> None:
        """Let the next segment go on with the open context, where an answer in it was no action."""
        self._fresh = False

    def next_messages(self) -> tuple[bool, tuple[Message, ...]]:
        """Return (whether a fresh context opens, its messages)."""
        if not self._fresh and self._mode != "step":
            return False, (Message(role="user", content=self._seen),)
        parts = [self._head]
        if self._mode == "step" and self._pairs and self._last_pairs:
            recent = self._pairs[-self._last_pairs :]
            first = len(self._pairs) - len(recent) + 1
            steps = f"last {len(recent)} steps" if len(recent) > 1 else "last step"
            parts.append(f"Your {steps}:\n{history_view(recent, first)}")
        if self._mode == "step" and self._step and self._seen:
            parts.append(f"{self._step.format(step=len(self._pairs) + 1)}\n{self._seen}")
        else:
            parts.append(self._seen)
        return True, (self._system, Message(role="user", content=paragraphs(*parts, self._form)))

    def remember(self, action: str, view: str, *, told: str) -> None:
        """Take the action that answered the current observation, and what was seen next: in full, and as it is told later."""
        self._pairs.append((self._told, action))
        self._seen = self._view = view
        self._told, self._fresh = told, False

    def miss(self, nothing: str, unread: str) -> None:
        """Take an answer that could not be read: what the model is told, and what later prompts say it answered."""
        self._pairs.append((self._told, unread))
        # a growing context still shows the observation; a fresh one has to show it again
        self._seen = f"{nothing}\n{self._view}".rstrip() if self._mode == "step" else nothing
        self._told, self._fresh = nothing, False
