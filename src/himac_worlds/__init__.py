"""The name under which verifiers finds himac's worlds: it imports a taskset by the name of a top-level module.

    eval himac-worlds --env.taskset.world sokoban -n 20

What is here is `himac.envs.adapters.to_verifiers`.
"""

from himac.envs.adapters.to_verifiers import WorldsEnv, WorldsTaskset

__all__ = ["WorldsEnv", "WorldsTaskset"]
