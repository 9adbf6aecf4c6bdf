"""Every word that himac says to a model, in one object that a user may replace.

Two short system prompts (planner, executor) plus one for each baseline, each made of the world's rules and the
answer's form. What all episodes share comes first, so that engines compute it once. `agent.prompts` in a recipe names
a TOML file, or a module, whose entries replace fields of `Prompts`.
"""

from __future__ import annotations

import functools
import importlib
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from himac.agents.grammar import SUB_DONE, read_turn, write_blueprint
from himac.config import AgentConfig
from himac.errors import ConfigError, closest
from himac.files import parse_toml, reason
from himac.plugins import add_current_folder
from himac.types import EnvSpec, Message, Observation

NONE: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """The words. In braces stands what is filled in; each text may use the names that ours uses, and no others."""

    planner: str = (
        "You plan. {rules}\nBreak the task into at most {max_subgoals} sub-goals, in order, for an executor to carry "
        "out. {think}Answer as\n{example}"
    )
    executor: str = "You act. {rules}\nWork on the current sub-goal only. {think}Answer each turn with one <action>...</action>{done}."
    executor_done: str = f", or {SUB_DONE} when the current sub-goal is complete"
    executor_done_too: str = (
        f", and {SUB_DONE} behind it when it completes the current sub-goal"  # agent.done_with_action
    )
    stream: str = (
        "You plan, then act. {rules}\nFirst break the task into at most {max_subgoals} sub-goals, in order. {think}Answer "
        "that first question as\n{example}\nThen work on the current sub-goal. {think}Answer each turn with one "
        "<action>...</action>{done}."
    )
    flat: str = "You act. {rules}\n{think}Answer each turn with one <action>...</action>."
    think: str = "Think first, between <think> and </think>. "  # filled in where a thought is asked for
    react: str = (
        "You act. {rules}\nEach turn, think about what you see and what to do next, then act once. Answer "
        "each turn as\n<think>...</think><action>...</action>{example}"
    )
    reflect: str = (
        "The attempt is over and the task is not solved. Another attempt at the same task will follow. Do not act "
        "now: in a few sentences, say where this attempt went wrong and what you will do differently."
    )
    step: str = "You are at step {step} and see:"  # before an observation in context "step"
    replan: str = "The sub-goal before the open ones was not finished. Plan from here on: only what is still to be done."
    notes: str = "What you noted after earlier, failed attempts at this task:"
    finish: str = "finish the task"  # the sub-goal after the last one
    nothing: str = "Nothing happens: answer with <action>...</action>."  # after an answer that cannot be read
    unread: str = "(could not be read)"  # what such an answer is in a list of past steps
    done_mark: str = " (done)"  # behind a sub-goal that was said to be done
    unfinished_mark: str = " (not finished)"  # behind one whose segment was forced to end
    carried: str = "; last action: {action}"  # and behind that, in context "carry"

    # The answer's form once more, at the very end of the first user message, where small models still know it. Left
    # out by default: himac's tiny models learn the form from demonstrations, and their tokens are their time.
    planner_form: str = ""
    executor_form: str = ""
    flat_form: str = ""

    def planner_messages(
        self, spec: EnvSpec, task: str, *, max_subgoals: int, think: bool
    ) -> tuple[Message, ...]:
        """Ask the planner for a blueprint.

        Args:
            spec: the world.
            task: the instruction; the first observation, when that states it.
            max_subgoals: the most sub-goals a blueprint may have.
            think: ask for a thought first.
        """
        example = write_blueprint(spec.example_subgoals)
        text = self.planner.format(
            rules=spec.rules, max_subgoals=max_subgoals, example=example, think=self._thought(think)
        )
        form = self.planner_form_of(spec, max_subgoals=max_subgoals, think=think)
        return Message(role="system", content=text), Message(role="user", content=paragraphs(task, form))

    def planner_form_of(self, spec: EnvSpec, *, max_subgoals: int, think: bool) -> str:
        """Return how the question for a blueprint ends."""
        example = write_blueprint(spec.example_subgoals)
        return self.planner_form.format(
            max_subgoals=max_subgoals, example=example, think=self._thought(think)
        )

    def stream_system(self, spec: EnvSpec, cfg: AgentConfig) -> Message:
        """Return the system prompt of an agent that plans and acts in one stream."""
        done = self.executor_done if cfg.explicit_done else ""
        done += self.executor_done_too if cfg.explicit_done and cfg.done_with_action else ""
        text = self.stream.format(
            rules=spec.rules,
            max_subgoals=cfg.max_subgoals,
            example=write_blueprint(spec.example_subgoals),
            think=self._thought(cfg.think),
            done=done,
        )
        return Message(role="system", content=text)

    def _thought(self, think: bool) -> str:
        return self.think if think else ""

    def executor_form_of(self, spec: EnvSpec, *, explicit_done: bool, think: bool) -> str:
        """Return how an executor's first message ends: the form of its answer on one of the world's own actions."""
        return self.executor_form.format(
            action=_example_action(spec),
            done=self.executor_done if explicit_done else "",
            think=self._thought(think),
        )

    def flat_form_of(self, spec: EnvSpec, *, think: bool) -> str:
        """Return how a flat agent's messages end, likewise."""
        return self.flat_form.format(action=_example_action(spec), think=self._thought(think))

    def executor_system(
        self, spec: EnvSpec, *, explicit_done: bool, think: bool, done_with_action: bool = False
    ) -> Message:
        """Return the executor's system prompt.

        Args:
            spec: the world.
            explicit_done: it says itself when a sub-goal is complete.
            think: ask for a thought first.
            done_with_action: it may say so behind an action.
        """
        done = self.executor_done if explicit_done else ""
        done += self.executor_done_too if explicit_done and done_with_action else ""
        text = self.executor.format(rules=spec.rules, done=done, think=self._thought(think))
        return Message(role="system", content=text)

    def flat_system(self, spec: EnvSpec, *, think: bool) -> Message:
        """Return the flat agent's system prompt; `think`: ask for a thought first."""
        return Message(role="system", content=self.flat.format(rules=spec.rules, think=self._thought(think)))

    def react_system(self, spec: EnvSpec) -> Message:
        """Return ReAct's system prompt: a thought before every action, shown on the world's example where it has one.

        Source: arXiv 2210.03629, whose prompts are few-shot; the wording and the examples are ours.
        """
        text = self.react.format(rules=spec.rules, example=_example_view(spec.example_play))
        return Message(role="system", content=text)

    def notes_view(self, notes: Sequence[str]) -> str:
        """Show what was noted after earlier attempts, the oldest first; "" without any.

        >>> print(Prompts().notes_view(["I took the wrong key first."]))
        What you noted after earlier, failed attempts at this task:
        1. I took the wrong key first.
        """
        if not notes:
            return ""
        return "\n".join([self.notes, *(f"{number}. {note}" for number, note in enumerate(notes, 1))])

    def blueprint_view(
        self,
        task: str,
        subgoals: Sequence[str],
        active: int,
        *,
        unfinished: Collection[int] = (),
        last_actions: Mapping[int, str] = NONE,
        current: bool = True,
    ) -> str:
        """Show the task and the blueprint with the active sub-goal marked.

        Args:
            task: the instruction; "" where the context holds it already.
            subgoals: the blueprint.
            active: index of the active one; len(subgoals) when all lie behind.
            unfinished: indices of those that nobody said were done.
            current: name the active one again, below.
            last_actions: {index: the last action that the world took under it}, where it is carried over.

        >>> print(Prompts().blueprint_view("Open it.", ["look around", "find the key", "open it"], 2, unfinished=[0]))
        Task: Open it.
        Blueprint:
        1. look around (not finished)
        2. find the key (done)
        3. open it
        Current sub-goal: open it
        """
        lines = [*([f"Task: {task}"] if task else []), "Blueprint:"]
        for index, subgoal in enumerate(subgoals):
            behind = self.unfinished_mark if index in unfinished else self.done_mark
            if index in last_actions:
                behind += self.carried.format(action=last_actions[index])
            lines.append(f"{index + 1}. {subgoal}{behind if index < active else ''}")
        if current:
            lines.append(f"Current sub-goal: {subgoals[active] if active < len(subgoals) else self.finish}")
        return "\n".join(lines)


DEFAULT = Prompts()
FULL = Prompts(
    planner_form="{think}Write only the blueprint, at most {max_subgoals} sub-goals, in this form:\n{example}",
    executor_form="{think}Answer with one action, in this form: <action>{action}</action>{done}",
    flat_form="{think}Answer with one action, in this form: <action>{action}</action>",
)
"""For models that can read: the form at the end too, with a sub-goal and an action of the world."""
_OWN = {"": DEFAULT, "full": FULL}


@functools.cache
def load_prompts(name: str) -> Prompts:
    """Return himac's prompts with those entries replaced that a TOML file or a module has.

    Args:
        name: a path that ends in .toml; a dotted module with names like `planner = "..."`; "" for himac's own, "full"
            for those that end in the answer's form.

    Raises:
        ConfigError: no such file or module, an entry that `Prompts` does not have, or a text that fills in a name
            which ours does not.
    """
    if name in _OWN:
        return _OWN[name]
    found = _of_file(Path(name)) if name.endswith(".toml") else _of_module(name)
    known = [f.name for f in fields(Prompts)]
    for key, text in found.items():
        if key not in known:
            raise ConfigError(
                f"{name}: unknown prompt {key!r}; known: {', '.join(known)}{closest(key, known)}"
            )
        if not isinstance(text, str):
            raise ConfigError(f"{name}: prompt {key!r} must be a text, got {text!r}")
        usable = _fields_of(getattr(DEFAULT, key) or getattr(FULL, key), name, key)
        extra = _fields_of(text, name, key) - usable
        if extra:
            may = ", ".join(f"{{{field}}}" for field in sorted(usable)) or "nothing"
            raise ConfigError(f"{name}: prompt {key!r} fills in {{{min(extra)}}}; it may fill in {may}")
    return Prompts(**found)


def observation_view(spec: EnvSpec, observation: Observation) -> str:
    """Show an observation, with its admissible actions where the world's protocol lists them."""
    return "\n".join(part for part in (observation.text, admissible_view(spec, observation)) if part)


def opening_views(spec: EnvSpec, observation: Observation, *, said: bool) -> tuple[str, str]:
    """Return what a prompt shows of an observation, and what later ones tell of it; `said`: the task states it already."""
    if said:
        return admissible_view(spec, observation), ""
    return observation_view(spec, observation), observation.text


def admissible_view(spec: EnvSpec, observation: Observation) -> str:
    """Show an observation's admissible actions where the world's protocol lists them; "" elsewhere."""
    if not spec.list_admissible or observation.admissible is None:
        return ""
    return f"Admissible actions: {', '.join(observation.admissible)}"


def history_view(pairs: Sequence[tuple[str, str]], first_step: int) -> str:
    """Show past (observation, action) pairs, the oldest first; of what the task says already, the action alone.

    Args:
        pairs: what was seen and what was done then.
        first_step: number of the first pair's step, from 1.
    """
    return "\n".join(
        f"[step {step}] " + (f"saw: {seen}\n" if seen else "") + f"did: {action}"
        for step, (seen, action) in enumerate(pairs, first_step)
    )


def _example_view(pairs: Sequence[tuple[str, str]]) -> str:
    """Show an exemplary play after the rest of a system prompt; "" without one."""
    if not pairs:
        return ""
    turns = "\n".join(f"Seen: {seen}\nAnswer: {answer}" for seen, answer in pairs)
    return f"\n\nAn example, from another task:\n{turns}\n(end of the example)"


def paragraphs(*parts: str) -> str:
    """Join what there is, with an empty line between."""
    return "\n\n".join(part for part in parts if part)


def _example_action(spec: EnvSpec) -> str:
    """Return an action of the world's exemplary play; three dots where it has none."""
    actions = (read_turn(answer)[0] for _, answer in spec.example_play)
    return next((action for action in actions if action), "...")


def _of_file(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"agent.prompts: no file at {str(path)!r}") from error
    except (ValueError, OSError) as error:
        raise ConfigError(f"agent.prompts: {path} is not valid TOML: {reason(error)}") from error


def _of_module(name: str) -> dict[str, Any]:
    add_current_folder()
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"agent.prompts: {name!r} is neither a .toml file nor a dotted module")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"agent.prompts: no module {name!r}", hint="give a .toml file or a dotted module"
        ) from error
    return {key: value for key, value in vars(module).items() if isinstance(value, str) and key[0] != "_"}


def _fields_of(text: str, name: str, key: str) -> set[str]:
    """Return the names that a text fills in."""
    try:
        return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
    except ValueError as error:
        raise ConfigError(
            f"{name}: prompt {key!r}: {error}", hint="a brace itself is written twice: {{"
        ) from error
