"""ReAct: one stream in which every action follows a thought.

The prompting baseline of arXiv 2210.03629: a frozen model is asked to think before it acts and shown one example
of it. The agent is the flat one; only what it is asked for differs, so a difference between the two is the
prompt's. Our own wording and examples; the paper's prompts hold one or two plays of each task type.
"""

from __future__ import annotations

from collections.abc import Sequence

from himac.agents.flat import FlatAgent, FlatSettings
from himac.agents.prompts import notes_view, react_system
from himac.types import EnvSpec


class ReActAgent(FlatAgent):
    """Answers every observation with a thought and an action.

    Args:
        spec: the world; its `example_play` is the few-shot example.
        settings: limits, context mode, sampling.
        notes: what was noted after earlier attempts at this task (see `ReflexionAgent`), the oldest first.
    """

    def __init__(self, spec: EnvSpec, settings: FlatSettings, *, notes: Sequence[str] = ()) -> None:
        super().__init__(spec, settings, system=react_system(spec), notes=notes_view(notes))
