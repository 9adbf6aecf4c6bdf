"""Messages that only ever grow a context.

A context opens with a rendered prompt, takes the completion's ids as they were sampled, and goes on with the tokens
that the chat template puts between that completion and the next one. Nothing the model said is ever tokenised again,
so the ids here are the ids it saw and the ids it is trained on; also where the template itself would drop an earlier
thought. An engine behind an endpoint shows no ids: for it the same conversation is kept as messages.
"""

from __future__ import annotations

import copy
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from himac.chat.thoughts import THINK
from himac.images import estimated_tokens
from himac.types import Completion, Context, Message, Request, Role, Sampling

if TYPE_CHECKING:
    from himac.chat.format import ChatFormat


class Conversation:
    """One growing context: ids, which of them were sampled, and their log-probabilities."""

    def __init__(self, chat: ChatFormat, messages: Sequence[Message]) -> None:
        self._chat = chat
        self._ids = array("i", chat.open(messages))
        self._head = len(self._ids)  # tokens of the first prompt, which always stays
        self._spans: list[tuple[int, int]] = []  # [start, end) of each completion
        self._trained = 0  # completions before this one were taken over by `trimmed`: prompt here
        self._logps: list[tuple[float, ...]] = []  # of each completion

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def prompt(self) -> np.ndarray:
        """(T,) int32: everything so far, which is what the model reads next."""
        return np.array(self._ids, np.int32)

    def request(self, sampling: Sampling, role: Role) -> Request:
        """Return what to ask the engine next."""
        if self._chat.opens_thought:
            sampling = replace(sampling, in_thought=True)
        return Request(prompt=self.prompt, sampling=sampling, role=role)

    def read(self, completion: Completion) -> str:
        """Return a completion's text; of a thought that the prompt has opened, the opening too."""
        text = self._chat.decode(completion.ids)
        return THINK + text if self._chat.opens_thought else text

    def add_completion(self, completion: Completion) -> tuple[int, int]:
        """Append what the model wrote; return its span [start, end) in the context."""
        start = len(self._ids)
        self._ids.extend(completion.ids)
        self._spans.append((start, len(self._ids)))
        self._logps.append(completion.logps)
        return self._spans[-1]

    def add_question(self, text: str) -> None:
        """Append the next user message, up to where the model begins to write again."""
        start, end = self._spans[-1]
        self._ids.extend(self._chat.follow(self._ids[-1] if end > start else -1, text))

    def trimmed(self, max_tokens: int) -> tuple[Conversation, int] | None:
        """Return (a context without its oldest exchanges that fits, how many were dropped).

        The first prompt always stays. None when even that and the newest exchange do not fit. What is
        kept counts as prompt in the new context: each sampled token is trained on once.
        """
        for dropped in range(1, len(self._spans)):
            cut = self._spans[dropped][0] - self._head
            if len(self._ids) - cut <= max_tokens:
                shorter = copy.copy(self)
                shorter._ids = self._ids[: self._head] + self._ids[self._head + cut :]
                shorter._spans = [(start - cut, end - cut) for start, end in self._spans[dropped:]]
                shorter._logps = self._logps[dropped:]
                shorter._trained = len(shorter._spans)
                return shorter, dropped
        return None

    def context(self) -> Context:
        """Return the context as arrays."""
        sampled = np.zeros(len(self._ids), bool)
        logps = np.zeros(len(self._ids), np.float32)
        for (start, end), values in list(zip(self._spans, self._logps, strict=True))[self._trained :]:
            sampled[start:end] = True
            logps[start:end] = values
        return Context(ids=self.prompt, sampled=sampled, logps=logps)


class MessageFormat:
    """The format of an engine behind an endpoint: messages stay messages, and nothing is known of tokens."""

    def conversation(self, messages: Sequence[Message]) -> Dialogue:
        """Open a conversation."""
        return Dialogue(messages)


class Dialogue:
    """One growing list of messages, used as a `Conversation` is.

    Its length is an estimate (`himac.images.estimated_tokens`): only the endpoint can count its tokens. Its context is empty,
    so an episode made of dialogues can be read and evaluated, and never trained on.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = list(messages)
        self._head = len(self._messages)  # messages of the first prompt, which always stay

    def __len__(self) -> int:
        return sum(estimated_tokens(message.content) for message in self._messages)

    def request(self, sampling: Sampling, role: Role) -> Request:
        """Return what to ask the engine next."""
        return Request(messages=tuple(self._messages), sampling=sampling, role=role)

    def read(self, completion: Completion) -> str:
        """Return a completion's text."""
        return completion.text or ""

    def add_completion(self, completion: Completion) -> tuple[int, int]:
        """Append what the model wrote; its span in the context is empty."""
        self._messages.append(Message(role="assistant", content=completion.text or ""))
        return 0, 0

    def add_question(self, text: str) -> None:
        """Append the next user message."""
        self._messages.append(Message(role="user", content=text))

    def trimmed(self, max_tokens: int) -> tuple[Dialogue, int] | None:
        """Return (a dialogue without its oldest exchanges that fits, how many were dropped); None when none fits."""
        head, rest = self._messages[: self._head], self._messages[self._head :]
        for dropped in range(1, len(rest) // 2):
            shorter = Dialogue(head + rest[2 * dropped :])
            shorter._head = self._head
            if len(shorter) <= max_tokens:
                return shorter, dropped
        return None

    def context(self) -> Context:
        """Return an empty context: an endpoint shows no tokens."""
        return Context(ids=np.empty(0, np.int32), sampled=np.empty(0, bool), logps=np.empty(0, np.float32))
