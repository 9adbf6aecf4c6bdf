"""Messages to token ids and back, exactly: the chat template of one tokenizer, cut where a context grows.

Left out: tool-call templates.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence

import numpy as np

from himac import images
from himac.chat.conversation import Conversation, MessageFormat
from himac.chat.template import ChatTemplate
from himac.chat.thoughts import THINK, UNTHINK, is_mark
from himac.errors import ModelError
from himac.images import TAG, Eyes
from himac.types import Message, Tokenizer

_SEAM = "\ue83a"  # stands within what would be read as a control token; of the private use area, and never in a prompt


class ChatFormat:
    """The chat template of one tokenizer.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        think: whether thoughts are wanted; some templates can be told.
        eyes: know how many tokens a picture has; None for a model that sees none.

    Raises:
        ModelError: there is no template, it is not append-only, no token ends an answer, or it shows no pictures.
    """

    def __init__(self, tokenizer: Tokenizer, *, think: bool = False, eyes: Eyes | None = None) -> None:
        self.tokenizer, self._eyes = tokenizer, eyes
        self.template = ChatTemplate(tokenizer, think=think)
        self._frame = self.template.image_frame() if eyes is not None else ("", "")
        self._open = functools.lru_cache(maxsize=1024)(self._open_messages)  # peers see the same states
        self._encode = functools.lru_cache(maxsize=8192)(self._encode_text)
        self._decode = functools.lru_cache(maxsize=8192)(self._decode_ids)  # and give the same answers
        added = tokenizer.added_tokens_decoder
        self._marks = {number for number, token in added.items() if token.special and is_mark(token.content)}
        self._controls = self._control_tokens()
        between = self._encode(self.template.facts.between)
        places = [at for at, number in enumerate(between) if self._ends_answer(number)]
        if not places:
            raise ModelError(
                f"the chat template of {tokenizer.name_or_path!r} writes no token that ends an answer",
                hint="a model cannot say with it that it has finished; take another instruct model",
            )
        self._num_end = places[0] + 1  # tokens of `between` that are the answer's: some write a space first
        self._ending = between[: self._num_end]
        self.end_id: int = self._ending[-1]
        self._cut = self._where_to_cut()

    @property
    def opens_thought(self) -> bool:
        """Whether the prompt ends inside a thought."""
        return self.template.facts.opens_thought

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
        facts = self.template.facts
        content = self._as_text(question.strip() if facts.trims else question)
        ids = self._encode(facts.between + content + facts.after)
        return list(ids[self._num_end :] if last_id == self.end_id else ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return a completion's text without the end-of-turn token or other special tokens."""
        return self._decode(tuple(ids))

    def line_of(self, ids: Sequence[int]) -> np.ndarray:
        """Return (T,) which line of the text each token lies in, from 0; a token that ends a line lies in that line."""
        breaks_T = np.array([self._decode((int(token),)).count("\n") for token in ids], int)
        lines_T: np.ndarray = np.cumsum(breaks_T) - breaks_T
        return lines_T

    def answer(self, text: str) -> list[int]:
        """Return the ids of an assistant message as a demonstration: its text and the end of turn.

        Where the prompt has opened a thought, the text's own thought goes on from there, or an empty one is closed.
        """
        if self.opens_thought:
            thought = text.lstrip()
            closed = f"\n{UNTHINK}\n\n{text}"
            text = thought.removeprefix(THINK) if thought.startswith(THINK) else closed
        return [*self._encode(self.template.facts.lead + text), *self._ending]

    def _open_messages(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        spelled = [Message(role=m.role, content=self._as_text(m.content)) for m in messages]
        text = self.template.render(spelled)
        return self._encode_apart(text, self._cut) if self._cut else self._encode(text)

    def _encode_apart(self, text: str, end: str) -> tuple[int, ...]:
        """Tokenise a prompt message by message: a system prompt that all share is tokenised once."""
        *ended, rest = text.split(end)
        return tuple(itertools.chain(*(self._encode(part + end) for part in ended), self._encode(rest)))

    def _encode_text(self, text: str) -> tuple[int, ...]:
        if self._eyes is None or not TAG.search(text):
            return self._encode_words(text)
        found: list[int] = []
        behind = ""  # what the template writes behind the picture before
        for words, name in images.parts(text, known=self._eyes.album):
            ids = self._eyes.ids(name) if name else None
            if ids is not None:
                found += [*self._encode_words(behind + words + self._frame[0]), *ids]
                behind = self._frame[1]
            else:
                found += self._encode_words(behind + words)
        return tuple(found)

    def _encode_words(self, text: str) -> tuple[int, ...]:
        parts = text.split(_SEAM)
        return tuple(itertools.chain(*(self.tokenizer.encode(p, add_special_tokens=False) for p in parts)))

    def _decode_ids(self, ids: tuple[int, ...]) -> str:
        """Decode; the marks of a thought stay, though some tokenizers call them special."""
        runs = itertools.groupby(ids, key=lambda number: number in self._marks)
        return "".join(
            str(self.tokenizer.decode(list(run), skip_special_tokens=not are_marks))
            for are_marks, run in runs
        )

    # control tokens

    def _control_tokens(self) -> re.Pattern[str] | None:
        """Return what in a text would be read as a control token: special ones, and those that the template writes."""
        facts = self.template.facts
        frame = facts.between + facts.after
        added = self.tokenizer.added_tokens_decoder.values()
        found = {t.content for t in added if len(t.content) > 1 and (t.special or t.content in frame)}
        words = sorted(
            (re.escape(content) for content in found if not is_mark(content)), key=len, reverse=True
        )
        return re.compile("|".join(words)) if words else None

    def _as_text(self, content: str) -> str:
        """Cut what spells a control token in two, so that it stays text."""
        content = content.replace(_SEAM, "")
        if self._controls is None:
            return content
        return self._controls.sub(lambda found: found[0][0] + _SEAM + found[0][1:], content)

    def _ends_answer(self, number: int) -> bool:
        token = self.tokenizer.added_tokens_decoder.get(number)
        return number == self.tokenizer.eos_token_id or (token is not None and bool(token.content.strip()))

    def _where_to_cut(self) -> str:
        """Return the special token that ends a message and at which a prompt may be cut; "" when there is none.

        Special tokens are found before anything else is done to a text, so what lies on their two sides is tokenised
        apart. One that takes the spaces beside it, and a tokenizer for which a talk comes out otherwise, are left alone.
        """
        token = self.tokenizer.added_tokens_decoder.get(self.end_id)
        if token is None or not token.special or token.lstrip or token.rstrip:
            return ""
        facts = self.template.facts
        text = f"himac{facts.between}himac{facts.after}himac{facts.between}himac{facts.after}"
        return token.content if self._encode_apart(text, token.content) == self._encode(text) else ""


Format = ChatFormat | MessageFormat
"""How an engine is talked to."""
