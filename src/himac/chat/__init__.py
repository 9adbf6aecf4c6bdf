"""How a model is talked to: its chat template, and contexts that only ever grow."""

from himac.chat.conversation import Conversation, Dialogue, MessageFormat
from himac.chat.format import ChatFormat, Format
from himac.chat.template import ChatTemplate

__all__ = ["ChatFormat", "ChatTemplate", "Conversation", "Dialogue", "Format", "MessageFormat"]
