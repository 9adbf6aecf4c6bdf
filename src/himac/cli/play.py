"""`himac play`: a person or a model plays one task in the terminal.

One idea: what is shown is what an agent gets: the world's text, the actions it lists, and, when a model plays,
the blueprint and the active sub-goal as they go.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from himac.agents.base import Agent
from himac.chat import ChatFormat, Conversation
from himac.config import Config
from himac.engines.base import Engine
from himac.envs.base import Env
from himac.errors import ConfigError
from himac.train.components import Workbench, build_env
from himac.types import Observation, Request, StepResult, Task


def play_person(config: Config, *, index: int, split: str) -> None:
    """Let a person play; "quit" ends it."""
    env = build_env(config)
    task = _task(env, split, index)
    out = Console(highlight=False)
    _say_rules(out, env)
    _show(out, env.reset(task, seed=0))
    total, result = 0.0, None
    while result is None or not (result.terminated or result.truncated):
        try:
            action = out.input("[bold]> [/bold]")
        except EOFError:
            break
        if action.strip().lower() in ("quit", "exit"):
            break
        result = env.step(action)
        total += result.reward
        _show(out, result.observation, note="" if result.valid else "(not an admissible action)")
    out.print(_verdict(result, total))
    env.close()


def play_model(config: Config, model: Path, *, index: int, split: str) -> None:
    """Let a model play greedily and show its plan and sub-goals."""
    bench = Workbench(config, model)
    env = bench.env
    task = _task(env, split, index)
    out = Console(highlight=False)
    _say_rules(out, env)
    first = env.reset(task, seed=0)
    _show(out, first)
    agent = bench.phases.agent()
    agent.start(first)
    result, total = _play(out, agent, env, bench.engine, bench.policy.chat)
    out.print(_verdict(result, total))


def _play(
    out: Console, agent: Agent, env: Env, engine: Engine, chat: ChatFormat
) -> tuple[StepResult | None, float]:
    """Run the agent to its end; return the last result and the sum of rewards."""
    conversation: Conversation | None = None
    result: StepResult | None = None
    total, shown = 0.0, -1
    while agent.stop is None:
        ask = agent.prompt()
        if ask.fresh or conversation is None:
            conversation = Conversation(chat, ask.messages)
        else:
            conversation.add_question(ask.messages[-1].content)
        request = Request(prompt=conversation.prompt, sampling=ask.sampling, role=ask.role)
        completion = engine.generate([request])[0]
        conversation.add_completion(completion)
        reply = agent.receive(chat.decode(completion.ids))
        if reply.blueprint is not None:
            out.print("\n[bold]Blueprint[/bold]")
            for number, subgoal in enumerate(reply.blueprint.subgoals, 1):
                out.print(f"  {number}. {escape(subgoal)}")
        elif reply.sub_done:
            out.print("[green]<sub_done>[/green]")
        if agent.blueprint is not None and agent.segment != shown and agent.stop is None:
            shown = agent.segment
            out.print(f"\n[bold cyan]sub-goal:[/bold cyan] {escape(agent.subgoal)}")
        if reply.action is None:
            continue
        out.print(f"[bold]> {escape(reply.action)}[/bold]")
        result = env.step(reply.action)
        total += result.reward
        _show(out, result.observation, note="" if result.valid else "(not an admissible action)")
        agent.observe(result)
    return result, total


def _task(env: Env, split: str, index: int) -> Task:
    name = split or env.spec.splits[0]
    tasks = env.tasks(name)
    if not 0 <= index < len(tasks):
        raise ConfigError(f"--index must lie in 0..{len(tasks) - 1} for split {name!r}, got {index}")
    return tasks[index]


def _say_rules(out: Console, env: Env) -> None:
    out.print(f"[bold]{escape(env.spec.name)}[/bold]")
    out.print(f"[dim]{escape(env.spec.rules)}[/dim]")
    if env.spec.goal:
        out.print(f"Goal: {escape(env.spec.goal)}")


def _show(out: Console, observation: Observation, *, note: str = "") -> None:
    out.print(f"\n{escape(observation.text)}")
    if observation.admissible:
        out.print(f"[dim]actions: {escape(', '.join(observation.admissible))}[/dim]")
    if note:
        out.print(f"[yellow]{escape(note)}[/yellow]")


def _verdict(result: StepResult | None, total: float) -> str:
    if result is None:
        return "nothing was played"
    won = "[bold green]solved[/bold green]" if result.success else "[bold red]not solved[/bold red]"
    return f"\n{won}, score {result.score:.2f}, return {total:.2f}"
