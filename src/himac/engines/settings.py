"""What engines may be told in a recipe, checked without loading them: himac's own import torch or vLLM."""

from __future__ import annotations

from typing import Annotated

from himac.plugins import resolve
from himac.toml import Count, Kind, Table, at_least, check_keys, check_settings

GIVEN = ("model", "tokenizer", "max_batch", "vision")
"""Parameters of an engine that are no settings: whoever builds it has them."""
OWN: dict[str, dict[str, Kind]] = {
    "transformers": {"max_kv_tokens": Count, "fixed_shapes": bool | None},
    "vllm": {"max_length": Count, "max_kv_tokens": Count, "options": Table | None},
    "vllm-server": {
        "address": str,
        "folder": str,
        "reload": str,
        "key_env": str,
        "timeout_s": Annotated[float, at_least(1)],
    },
}
"""Settings of himac's own engines, as their signatures have them (a test compares)."""


def check_engine(name: str, settings: Table) -> None:
    """Refuse an engine that there is not, and settings that it does not take; one of the user's own is imported.

    Raises:
        ConfigError: the first of them.
    """
    if name in OWN:
        check_keys(OWN[name], settings, "engine")
    else:
        check_settings(resolve("engines", name), settings, "engine", given=GIVEN)
