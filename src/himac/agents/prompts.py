"""Every word that himac says to a model.

One idea: two short system prompts (planner, executor) plus one for each baseline, each made of the
world's rules and the answer's form. The parts that all episodes share come first, so that engines
compute them once.
"""

from __future__ import annotations

from collections.abc import Sequence

from himac.agents.grammar import SUB_DONE, write_blueprint
from himac.types import EnvSpec, Message, Observation

FINISH = "finish the task"
NOTHING = "Nothing happens: answer with <action>...</action>."
REFLECT = (
    "The attempt is over and the task is not solved. Another attempt at the same task will follow. Do not act now: "
    "in a few sentences, say where this attempt went wrong and what you will do differently."
)


def macro_messages(spec: EnvSpec, task: str, *, max_subgoals: int) -> tuple[Message, ...]:
    """Ask the planner for a blueprint.

    Args:
        spec: the world.
        task: the instruction; the first observation, when that states it.
        max_subgoals: the most sub-goals a blueprint may have.
    """
    system = (
        f"You plan. {spec.rules}\n"
        f"Break the task into at most {max_subgoals} sub-goals, in order, for an executor to carry out. Answer as\n"
        f"{write_blueprint(spec.example_subgoals)}"
    )
    return Message(role="system", content=system), Message(role="user", content=task)


def micro_system(spec: EnvSpec, *, explicit_done: bool) -> Message:
    """The executor's system prompt.

    Args:
        spec: the world.
        explicit_done: whether the executor itself says when a sub-goal is complete.
    """
    done = f", or {SUB_DONE} when the current sub-goal is complete" if explicit_done else ""
    return Message(
        role="system",
        content=f"You act. {spec.rules}\nWork on the current sub-goal only. Answer each turn with one "
        f"<action>...</action>{done}.",
    )


def flat_system(spec: EnvSpec) -> Message:
    """The flat agent's system prompt."""
    return Message(
        role="system", content=f"You act. {spec.rules}\nAnswer each turn with one <action>...</action>."
    )


def react_system(spec: EnvSpec) -> Message:
    """The ReAct agent's system prompt: a thought before every action, shown on the world's example where it has one.

    Source: arXiv 2210.03629, whose prompts are few-shot; the wording and the examples are ours.
    """
    return Message(
        role="system",
        content=f"You act. {spec.rules}\nEach turn, think about what you see and what to do next, then act once. Answer "
        f"each turn as\n<think>...</think><action>...</action>{_example_view(spec.example_play)}",
    )


def _example_view(pairs: Sequence[tuple[str, str]]) -> str:
    """Show an exemplary play after the rest of a system prompt; "" without one."""
    if not pairs:
        return ""
    turns = "\n".join(f"Seen: {seen}\nAnswer: {answer}" for seen, answer in pairs)
    return f"\n\nAn example, from another task:\n{turns}\n(end of the example)"


def notes_view(notes: Sequence[str]) -> str:
    """Show what was noted after earlier attempts, the oldest first; "" without any.

    >>> print(notes_view(["I took the wrong key first."]))
    What you noted after earlier, failed attempts at this task:
    1. I took the wrong key first.
    """
    if not notes:
        return ""
    lines = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join(["What you noted after earlier, failed attempts at this task:", *lines])


def plan_view(task: str, subgoals: Sequence[str], active: int) -> str:
    """Show the task and the blueprint with the active sub-goal marked.

    >>> print(plan_view("Open the door.", ["find the key", "open the door"], 1))
    Task: Open the door.
    Blueprint:
    1. find the key (done)
    2. open the door
    Current sub-goal: open the door
    """
    lines = [f"Task: {task}", "Blueprint:"]
    for index, subgoal in enumerate(subgoals):
        lines.append(f"{index + 1}. {subgoal}{' (done)' if index < active else ''}")
    lines.append(f"Current sub-goal: {subgoals[active] if active < len(subgoals) else FINISH}")
    return "\n".join(lines)


def observation_view(spec: EnvSpec, observation: Observation) -> str:
    """Show an observation, with its admissible actions where the world's protocol lists them."""
    if not spec.list_admissible or observation.admissible is None:
        return observation.text
    return f"{observation.text}\nAdmissible actions: {', '.join(observation.admissible)}"


def history_view(pairs: Sequence[tuple[str, str]], first_step: int) -> str:
    """Show past (observation, answer) pairs, the oldest first.

    Args:
        pairs: what was seen and what was answered to it.
        first_step: number of the first pair's step, from 1.
    """
    lines = [
        f"[step {first_step + i}] saw: {seen}\nanswered: {answer}" for i, (seen, answer) in enumerate(pairs)
    ]
    return "\n".join(lines)
