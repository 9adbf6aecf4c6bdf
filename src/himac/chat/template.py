"""What a chat template does, found out by sending it what himac sends.

A template is a program of its own: it may refuse a system message or move it, open a thought, ask for the date, trim
what it is given, or rewrite what was said before. Each of these is probed once, when a model is loaded. A template is
then either known exactly, or refused in one line.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

from himac.chat.bounds import TooMuchError, bounded, refuse_growth
from himac.chat.thoughts import THINK, UNTHINK, thought_is_open
from himac.errors import ModelError
from himac.types import Message, Tokenizer

CLOCK = dt.datetime(2025, 1, 1)
"""What a template is told when it asks for the time: prompts, and runs that resume, do not change at midnight."""

_CLOCK_NAME = "strftime_now"  # what transformers calls the clock in a template
_SYSTEM, _TASK, _ANSWER, _QUESTION = (f"himac{n}mark" for n in ("1sys", "2task", "3ans", "4ask"))
_AGAIN, _LAST = "himac5mark", "himac6mark"
_IMAGE_TOKENS = ("<|image_pad|>",)
_SEEING = "take Qwen2.5-VL or Qwen3-VL, or an environment that speaks"
_OPENED = re.compile(rf"\s*(?:{THINK}\s*(?:{UNTHINK}\s*)?)?")  # what may be written before an answer begins
_TALK = (
    Message(role="system", content=_SYSTEM),
    Message(role="user", content=_TASK),
    Message(role="assistant", content=_ANSWER),
    Message(role="user", content=_QUESTION),
    Message(role="assistant", content=_AGAIN),
    Message(role="user", content=_LAST),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFacts:
    """What was found out about a template."""

    folds_system: bool  # it takes no system message where one belongs: the text opens the first user message
    trims: bool  # it takes the space around a user's message away
    opens_thought: bool  # an answer begins inside a thought
    keeps_thoughts: bool  # it would show earlier thoughts again; himac's contexts always keep what was said
    asks_date: bool  # it writes the date, which is `CLOCK`
    lead: str  # space that an answer begins with
    between: str  # text behind an answer, up to the next user message
    after: str  # text behind a user message, up to where the model begins to write


class ChatTemplate:
    """The chat template of one tokenizer.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        think: whether thoughts are wanted; told to templates that can be (`enable_thinking`).

    Raises:
        ModelError: there is no template, it fails, or what it writes changes as a talk goes on.
    """

    def __init__(self, tokenizer: Tokenizer, *, think: bool = False) -> None:
        self.name = tokenizer.name_or_path
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(
                f"the tokenizer of {self.name!r} has no chat template",
                hint="use an instruct model, or set tokenizer.chat_template in its folder",
            )
        self._tokenizer, self._think = tokenizer, think
        self._text = _with_clock(tokenizer.get_chat_template())
        self._folds = False
        try:
            refuse_growth(self._text)
            with bounded():
                self.facts = self._found_out()
        except TooMuchError as error:
            raise self._refusal(
                f"cannot be used: {error}",
                "no chat needs that: take another model, or mend the template in its folder",
            ) from error

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text of a talk, up to where the model begins to write.

        Raises:
            ModelError: the template fails.
        """
        rows = [
            {"role": m.role, "content": m.content} for m in (_folded(messages) if self._folds else messages)
        ]
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    rows, tokenize=False, add_generation_prompt=True,
                    enable_thinking=self._think, chat_template=self._text,
                )
            )  # fmt: skip
        except (TooMuchError, MemoryError):
            raise
        except Exception as error:  # a template is a program: jinja's errors, and any of Python's
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"the chat template of {self.name!r} fails: {reason}",
                hint="himac sends a system message, then user and assistant in turn",
            ) from error

    def image_frame(self) -> tuple[str, str]:
        """Return what the template writes before and behind the token of a picture.

        Raises:
            ModelError: it shows no pictures, or not one token for each.
        """
        marks = [{"type": "text", "text": _TASK}, {"type": "image"}, {"type": "text", "text": _ANSWER}]
        plain = self.render([Message(role="user", content=_TASK + _ANSWER)])
        try:
            shown = str(
                self._tokenizer.apply_chat_template(
                    [{"role": "user", "content": marks}], tokenize=False, add_generation_prompt=True,
                    enable_thinking=self._think, chat_template=self._text,
                )
            )  # fmt: skip
        except Exception as error:
            raise self._refusal(f"shows no pictures: {type(error).__name__}", _SEEING) from error
        found = re.fullmatch(f"(.*){_TASK}(.*){_ANSWER}(.*)", shown, re.DOTALL)
        if found is None or found[1] + _TASK + _ANSWER + found[3] != plain:
            raise self._refusal("shows no pictures", _SEEING)
        token = next((t for t in _IMAGE_TOKENS if found[2].count(t) == 1), None)
        if token is None:
            raise self._refusal(f"shows a picture as {found[2]!r}", _SEEING)
        before, behind = found[2].split(token)
        return before, behind

    def _found_out(self) -> TemplateFacts:
        try:
            return self._probe()
        except ModelError:
            self._folds = True
            return self._probe()

    def _probe(self) -> TemplateFacts:
        opened, talk = self.render(_TALK[:2]), self.render(_TALK)
        marks = [_TASK, _ANSWER, _QUESTION, _AGAIN, _LAST]
        parts = re.split("|".join(marks), talk)
        if (
            len(parts) != len(marks) + 1
            or talk.count(_SYSTEM) != 1
            or [*re.findall("|".join(marks), talk)] != marks
        ):
            raise self._refusal(
                "drops or repeats messages", "himac needs a template that writes every message once"
            )
        before, after_task, between, after_question, between_again, after = parts
        written = before + _TASK + after_task  # up to an answer, as it stands once the talk has gone on
        lead = written.removeprefix(opened) if written.startswith(opened) else ""
        tail = opened.removeprefix(written.removesuffix(lead))
        is_kept = opened == written.removesuffix(lead) + tail and not lead.strip() and _OPENED.fullmatch(tail)
        if not is_kept or between_again != between or after != after_question.removesuffix(lead) + tail:
            raise self._refusal(
                "drops or rewrites earlier messages",
                "himac needs one that leaves what was said as it was when a talk goes on",
            )
        return TemplateFacts(
            folds_system=self._folds,
            trims=self._is_trimmed(),
            opens_thought=thought_is_open(tail),
            keeps_thoughts=self._keeps_thoughts(),
            asks_date=_CLOCK_NAME in self._text,
            lead=lead,
            between=between,
            after=after,
        )

    def _is_trimmed(self) -> bool:
        talk = (*_TALK[:3], Message(role="user", content=f" \n{_QUESTION} \n"))
        return f" \n{_QUESTION} \n" not in self.render(talk)

    def _keeps_thoughts(self) -> bool:
        """Whether an earlier answer's thought is shown again."""
        thought = Message(role="assistant", content=f"{THINK}\nhimac7mark\n{UNTHINK}\n\n{_ANSWER}")
        return "himac7mark" in self.render((*_TALK[:2], thought, _TALK[3]))

    def _refusal(self, what: str, hint: str) -> ModelError:
        return ModelError(f"the chat template of {self.name!r} {what}", hint=hint)


def _with_clock(template: str) -> str:
    """Give a template that asks for the date a clock of its own, which stands still.

    >>> _with_clock("It is {{ strftime_now('%Y') }}.")
    "{% macro strftime_now(form) %}{{ {'%Y': '2025'}.get(form, '2025-01-01') }}{% endmacro %}It is {{ strftime_now('%Y') }}."
    """
    if _CLOCK_NAME not in template:
        return template
    forms = [found[1] for found in re.findall(rf"{_CLOCK_NAME}\(\s*(['\"])(.*?)\1", template)]
    times = {form: CLOCK.strftime(form) for form in forms}
    told = f"{times!r}.get(form, '{CLOCK:%Y-%m-%d}')"
    return f"{{% macro {_CLOCK_NAME}(form) %}}{{{{ {told} }}}}{{% endmacro %}}{template}"


def _folded(messages: Sequence[Message]) -> list[Message]:
    """Put a leading system message in front of the first user message."""
    if len(messages) < 2 or messages[0].role != "system":
        return list(messages)
    system, first, *rest = messages
    return [Message(role="user", content=f"{system.content}\n\n{first.content}"), *rest]
