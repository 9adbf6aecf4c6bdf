"""Messages to token ids and back, exactly.

A context only ever grows. It opens with a rendered prompt, takes the completion's ids as they were
sampled, and goes on with the tokens that the chat template puts between that completion and the next
one. Nothing the model said is ever tokenised again, so the ids here are the ids it saw and the ids it
is trained on. An engine behind an endpoint shows no ids: for it the same conversation is kept as messages.

Left out: images (a processor's business) and tool-call templates.
"""

from __future__ import annotations

import copy
import functools
import itertools
from array import array
from collections.abc import Sequence

import numpy as np

from himac.errors import ModelError
from himac.types import Completion, Context, Message, Request, Role, Sampling, Tokenizer

_ANSWER, _QUESTION = "himac-answer-7f3a", "himac-question-91bc"
_TALK = (
    Message(role="user", content="hello"),
    Message(role="assistant", content=_ANSWER),
    Message(role="user", content=_QUESTION),
)


def thought_is_open(text: str) -> bool:
    """Whether a completion is in the midst of a thought, where tags are still only thought of.

    >>> thought_is_open("<think>not <action>"), thought_is_open("<think>so</think>"), thought_is_open("<action>")
    (True, False, False)
    """
    low = text.lower()
    return low.rfind("<think>") > low.rfind("</think>")


class ChatFormat:
    """The chat template of one tokenizer, cut at the places where a context grows.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.

    Raises:
        ModelError: there is no template, or it rewrites what was said before (not append-only).
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no chat template",
                hint="use an instruct model, or set tokenizer.chat_template in its folder",
            )
        self.tokenizer = tokenizer
        self._open = functools.lru_cache(maxsize=1024)(self._open_messages)  # peers see the same states
        self._encode = functools.lru_cache(maxsize=8192)(self._encode_text)
        self._decode = functools.lru_cache(maxsize=8192)(self._decode_ids)  # and give the same answers
        self._between, self._after = self._cut_template()
        self._end = self._end_of_message()

    def conversation(self, messages: Sequence[Message]) -> Conversation:
        """Open a conversation."""
        return Conversation(self, messages)

    def open(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of a fresh prompt, up to where the model begins to write."""
        return list(self._open(tuple(messages)))

    def follow(self, last_id: int, question: str) -> list[int]:
        """Return the ids between a completion and the next one.

        Args:
            last_id: the completion's last token. When it is not the end-of-turn token (a stop string
                or the length limit ended it), that token is supplied here, unsampled.
            question: the user message that comes next.
        """
        ids = self._encode(self._between + question + self._after)
        return list(ids[1:] if ids and ids[0] == last_id else ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return a completion's text without the end-of-turn token or other special tokens."""
        return self._decode(tuple(ids))

    def line_of(self, ids: Sequence[int]) -> np.ndarray:
        """Return (T,) which line of the text each token lies in, from 0; a token that ends a line lies in that line."""
        breaks_T = np.array([self._decode((int(token),)).count("\n") for token in ids], int)
        lines_T: np.ndarray = np.cumsum(breaks_T) - breaks_T
        return lines_T

    def answer(self, text: str) -> list[int]:
        """Return the ids of an assistant message as a demonstration: its text and the end of turn."""
        return [*self._encode(text), *self._encode(self._between)[:1]]

    def _open_messages(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        text = self._render(messages)
        return self._encode_apart(text, self._end) if self._end else self._encode(text)

    def _encode_apart(self, text: str, end: str) -> tuple[int, ...]:
        """Tokenise a prompt message by message: a system prompt that all share is tokenised once."""
        *ended, rest = text.split(end)
        return tuple(itertools.chain(*(self._encode(part + end) for part in ended), self._encode(rest)))

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _decode_ids(self, ids: tuple[int, ...]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _render(self, messages: Sequence[Message]) -> str:
        rows = [{"role": m.role, "content": m.content} for m in messages]
        return str(self.tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=True))

    def _cut_template(self) -> tuple[str, str]:
        """Split what the template writes around a follow-up question into (before it, after it)."""
        text = self._render(_TALK)
        before, found, tail = text.partition(_ANSWER)
        between, found_too, after = tail.partition(_QUESTION)
        if not (before and found and found_too):
            raise ModelError(
                f"the chat template of {self.tokenizer.name_or_path!r} drops or rewrites earlier messages",
                hint="himac needs a template that keeps every message as it was",
            )
        return between, after

    def _end_of_message(self) -> str:
        """Return the special token that ends a message and at which a prompt may be cut; "" when there is none.

        Special tokens are found before anything else is done to a text, so what lies on their two sides is tokenised
        apart. One that takes the spaces beside it, and a tokenizer for which a talk comes out otherwise, are left alone.
        """
        first = next(iter(self._encode(self._between)), -1)
        token = self.tokenizer.added_tokens_decoder.get(first)
        if token is None or not token.special or token.lstrip or token.rstrip:
            return ""
        text = self._render(_TALK)
        return token.content if self._encode_apart(text, token.content) == self._encode(text) else ""


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
        return Request(prompt=self.prompt, sampling=sampling, role=role)

    def read(self, completion: Completion) -> str:
        """Return a completion's text."""
        return self._chat.decode(completion.ids)

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

    Its length is an estimate, a quarter of its bytes: only the endpoint can count its tokens. Its context is empty,
    so an episode made of dialogues can be read and evaluated, and never trained on.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = list(messages)
        self._head = len(self._messages)  # messages of the first prompt, which always stay

    def __len__(self) -> int:
        return sum(len(message.content.encode("utf-8", "replace")) for message in self._messages) // 4

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


Format = ChatFormat | MessageFormat
"""How an engine is talked to."""
