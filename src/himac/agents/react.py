"""ReAct: one stream in which every action follows a thought.

The prompting baseline of arXiv 2210.03629: a frozen model is asked to think before it acts and shown one example
of it. The agent is the flat one; only what it is asked for differs, so a difference between the two is the
prompt's. Our own wording and examples; the paper's prompts hold one or two plays of each task type.
"""

from __future__ import annotations

from himac.agents.base import ContextMode
from himac.agents.flat import FlatAgent
from himac.types import Message


class ReActAgent(FlatAgent):
    """Answers every observation with a thought and an action.

    Args:
        spec: the world; its `example_play` is the few-shot example.
        cfg: limits and context mode.
        assignment: its notes, of earlier trials (see `ReflexionAgent`), open the first message.
    """

    is_trained = False
    default_context: ContextMode = "full"  # its examples are whole plays
    always_thinks = True

    def _form(self) -> str:
        return ""  # its own system prompt shows a whole play

    def _system(self) -> Message:
        return self._prompts.react_system(self._spec)
