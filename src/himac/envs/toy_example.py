"""The toy world's play that prompts show as an example, with thoughts of ours."""

from __future__ import annotations

EXAMPLE_PLAY = (
    (
        "Ways: garden - library.\nLocked: green door between library and barn, red door between library and tower.\n"
        "Things: green key in garden, red key in garden, treasure in tower.\nYou are in library. You carry nothing.",
        "<think>The treasure is in the tower, behind the red door, so I need the red key and not the green one. It lies "
        "in the garden.</think><action>go to garden</action>",
    ),
    (
        "Ways: garden - library.\nLocked: green door between library and barn, red door between library and tower.\n"
        "Things: green key in garden, red key in garden, treasure in tower.\nYou are in garden. You carry nothing.",
        "<think>Both keys are here. Hands hold one thing only: I take the red one.</think><action>take red key</action>",
    ),
    (
        "Ways: garden - library.\nLocked: green door between library and barn, red door between library and tower.\n"
        "Things: green key in garden, treasure in tower.\nYou are in garden. You carry red key.",
        "<think>The red door opens from the library.</think><action>go to library</action>",
    ),
    (
        "Ways: garden - library.\nLocked: green door between library and barn, red door between library and tower.\n"
        "Things: green key in garden, treasure in tower.\nYou are in library. You carry red key.",
        "<think>I stand before the red door with its key.</think><action>open red door</action>",
    ),
    (
        "Ways: garden - library, library - tower.\nLocked: green door between library and barn.\n"
        "Things: green key in garden, treasure in tower.\nYou are in library. You carry nothing.",
        "<think>The way to the tower is open.</think><action>go to tower</action>",
    ),
    (
        "Ways: garden - library, library - tower.\nLocked: green door between library and barn.\n"
        "Things: green key in garden, treasure in tower.\nYou are in tower. You carry nothing.",
        "<think>The treasure lies here and my hands are empty.</think><action>take treasure</action>",
    ),
)
"""Task 1 of split "train" with one door."""
