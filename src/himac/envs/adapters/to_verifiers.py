"""himac's worlds as a verifiers environment, for trainers of others; needs the extra "verifiers".

    from himac.envs.adapters.to_verifiers import load_environment
    env = load_environment("sokoban", split="train", boxes=1)     # a verifiers.v1 Env

On verifiers' command line and in prime-rl the taskset is called `himac-worlds`. The world plays the user: what it shows is
the user's turn, and the model's reply is the action. The model is told the rules of the world, and that an answer is one
action; blueprints and sub-goals are himac's own training and are not asked for.

Left out: pictures. verifiers can show them; nobody has tried it here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from himac.envs.base import make_env
from himac.errors import ConfigError, missing_extra
from himac.types import EnvSpec, Observation, Task

try:
    import verifiers.v1 as vf
    from pydantic import Field
except ImportError:
    raise missing_extra("verifiers", "verifiers", "himac.envs.adapters.to_verifiers") from None

TASKSET = "himac-worlds"
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_ACTION = re.compile(r"<action>(.*?)(?:</action>|\Z)", re.DOTALL)


class WorldsConfig(vf.TasksetConfig):
    """Which world, which of its tasks: `--env.taskset.*`."""

    world: str = "toy"
    """As for `himac.make_env`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The world's own."""
    split: str = ""
    """Whose tasks; "" is the training split."""


class WorldsData(vf.TaskData):
    """What names a task."""

    world: str
    settings: dict[str, Any]
    split: str
    index: int
    kind: str


class WorldsTask(vf.Task[WorldsData, vf.State, vf.TaskConfig]):
    """A task of a himac world. Its prompt is empty: the world opens the conversation."""


class WorldsEnvConfig(vf.EnvConfig):
    """Who plays."""

    # verifiers' own default is a sandbox that one has to rent; a player that only talks needs none
    player: vf.AgentConfig = vf.AgentConfig(harness={"id": "null"}, runtime={"type": "subprocess"})


class WorldsTaskset(vf.Taskset[WorldsTask, WorldsConfig]):
    """The tasks of a split of a himac world, in the world's order."""

    def load(self) -> Iterator[WorldsTask]:
        """Yield the split's tasks.

        Raises:
            ConfigError: unknown world, setting or split.
        """
        config = self.config
        env = make_env(config.world, **config.settings)
        split = config.split or env.spec.train_split
        try:
            if env.spec.images:
                raise ConfigError(f"{env.spec.name} shows pictures, and this adapter sends texts alone")
            for task in env.tasks(split):
                data = WorldsData(
                    name=f"{config.world}/{split}/{task.index}",
                    prompt=None,
                    system_prompt=system_prompt(env.spec),
                    world=config.world,
                    settings=config.settings,
                    split=split,
                    index=task.index,
                    kind=task.kind,
                )
                yield WorldsTask(data, config.task)
        finally:
            env.close()


class WorldsEnv(vf.Env[WorldsEnvConfig]):
    """One episode of a world: it shows, the player acts, until the world's end or its step limit."""

    async def run(self, task: vf.Task[Any, Any, Any], agents: vf.Agents[Any]) -> None:
        """Play; the trace gets the return as its reward, and success, score, steps and invalid as metrics."""
        data = task.data
        env = make_env(data.world, **data.settings)
        total, steps, invalid, result = 0.0, 0, 0, None
        try:
            shown = env.reset(Task(env=env.spec.name, split=data.split, index=data.index, kind=data.kind))
            async with agents.player.interaction(task) as interaction:
                segment = await interaction.turn(told(shown, env.spec))
                while not segment.terminated:
                    result = env.step(action_of(segment.last_reply))
                    total, steps, invalid = total + result.reward, steps + 1, invalid + (not result.valid)
                    if result.terminated or result.truncated:
                        break
                    segment = await interaction.turn(told(result.observation, env.spec))
        finally:
            env.close()
        trace = interaction.trace
        trace.record_reward("himac_return", float(total))
        trace.record_metrics(
            {
                "success": float(result.success) if result else 0.0,
                "score": float(result.score) if result else 0.0,
                "steps": float(steps),
                "invalid": float(invalid),
            }
        )


def load_environment(world: str, *, split: str = "", **settings: Any) -> vf.Env[Any]:
    """Return a himac world as a verifiers environment.

    Args:
        world: as for `make_env`.
        split: whose tasks; "": the training split's.
        **settings: the world's own.

    Raises:
        ConfigError: unknown world, setting or split.
    """
    env = make_env(world, **settings)
    env.tasks(split or env.spec.train_split)
    env.close()
    taskset = {"id": TASKSET, "world": world, "settings": settings, "split": split}
    made: vf.Env[Any] = vf.load_environment(vf.resolve_env_config({"taskset": taskset}))
    return made


def system_prompt(spec: EnvSpec) -> str:
    """Return what a model is told before the world opens the conversation."""
    goal = [f"Your task: {spec.goal}"] if spec.goal else []
    form = "Answer each turn with one action between <action> and </action>. You may think first, between <think> and </think>."
    return "\n".join([spec.rules, *goal, form])


def told(observation: Observation, spec: EnvSpec) -> str:
    """Return what a world shows as a user's turn."""
    if not spec.list_admissible or observation.admissible is None:
        return observation.text
    return f"{observation.text}\nActions: {', '.join(observation.admissible)}"


def action_of(reply: str) -> str:
    r"""Return the action of a model's reply: what stands between its tags, or else its last line that says something.

    >>> action_of("<think>left?</think> so <action> go east </action>"), action_of("Well.\n\ngo east\n")
    ('go east', 'go east')
    """
    said = _THOUGHT.sub("", reply)
    tagged = _ACTION.search(said)
    if tagged:
        return tagged[1].strip()
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""
