"""`himac play`: a person or a model plays one task in the terminal.

What is shown is the board, where the world has one, and what an agent gets: the world's text, the actions it lists, and,
when a model plays, the blueprint and the active sub-goal as they go.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from himac.cli.given import (
    checkpoint_option,
    complete_runs,
    config_of,
    examples,
    quiet_libraries,
    words_argument,
)
from himac.errors import ConfigError
from himac.images import Album
from himac.text import clean

if TYPE_CHECKING:
    from rich.console import Console

    from himac.cli.given import Which
    from himac.config import Config
    from himac.envs.base import Env
    from himac.rollout.episode import LiveEpisode
    from himac.types import Observation, StepResult, Task


@click.command(
    epilog=examples(
        "himac play env=sokoban",
        "himac play env=toy --index 3 --split test",
        "himac play --model demo-20260301-101500",
    )
)
@words_argument
@click.option(
    "--model",
    metavar="RUN|MODEL",
    default="",
    help="Who plays; left out: you do.",
    shell_complete=complete_runs,
)
@checkpoint_option
@click.option("--index", type=int, default=0, show_default=True, help="Which task of the split.")
@click.option("--split", default="", help="Left out: the environment's first.")
def play(words: tuple[str, ...], model: str, checkpoint: Which, index: int, split: str) -> None:
    """Play a task yourself, or watch a model play it."""
    from himac.config import is_endpoint
    from himac.train.checks import check

    if is_endpoint(model):
        raise ConfigError("himac play takes local models, got an endpoint", hint="himac eval takes endpoints")
    if not model:
        play_person(check(config_of(words)), index=index, split=split)
        return
    from himac.train.evaluate import find_model  # loads torch, which a person's first board does not wait for

    name, config, _ = find_model(model, list(words), checkpoint)
    quiet_libraries()
    play_model(check(config), name, index=index, split=split)


def play_person(config: Config, *, index: int, split: str) -> None:
    """Let a person play; "quit" ends it."""
    from himac.envs.base import make_env

    env = make_env(config.env.name, **config.env.settings)
    task = _task(env, split, index)
    out = _console()
    _say_rules(out, env)
    view = _View(out, env, Album())
    view.show(env.reset(task, seed=0), is_over=False, legend=True)
    total, result = 0.0, None
    while result is None or not (result.terminated or result.truncated):
        action = _asked(out)
        if action is None or action.strip().lower() in ("quit", "exit"):
            break
        result = env.step(action)
        total += result.reward
        over = result.terminated or result.truncated
        view.show(result.observation, is_over=over, note="" if result.valid else "(not an admissible action)")
    out.print(_verdict(result, total))
    env.close()


def play_model(config: Config, model: str, *, index: int, split: str) -> None:
    """Let a model play greedily and show its plan and sub-goals."""
    from himac.agents.base import GREEDY
    from himac.rollout.episode import Job, LiveEpisode
    from himac.train.components import Components

    parts = Components(config, model)
    task = _task(parts.env, split, index)
    out = _console()
    _say_rules(out, parts.env)
    job = Job(task=task, replica=0, agent=parts.collector.agent(GREEDY), seed=0)
    live = LiveEpisode(job, parts.env, parts.chat, cfg=config.agent, album=parts.album)
    live.begin()
    view = _View(out, parts.env, parts.album)
    view.show(live.first, is_over=False, legend=True)
    result, total = None, 0.0
    while not live.finished:
        request = live.ask(config.model.max_prompt)
        if request is None:
            break
        action = live.take(parts.engine.generate([request])[0])
        _show_turn(out, live)
        if action is not None:
            found = live.act(action)
            live.see(found)
            if found is not None:
                result, total = found, total + found.reward
                note = "" if found.valid else "(not an admissible action)"
                view.show(found.observation, is_over=found.terminated or found.truncated, note=note)
    out.print(_verdict(result, total))
    parts.close()


def _show_turn(out: Console, live: LiveEpisode) -> None:
    """Show what a model's last answer meant: a blueprint, a sub-goal done, an action."""
    agent, reply = live.job.agent, live.reply
    if reply is None:
        return
    if reply.blueprint is not None:
        out.print("\n[bold]Blueprint[/bold]")
        for number, subgoal in enumerate(reply.blueprint.subgoals, 1):
            out.print(f"  {number}. {_told(subgoal)}")
    elif reply.sub_done:
        out.print("[green]<sub_done>[/green]")
    if (reply.blueprint is not None or reply.sub_done) and agent.stop is None:
        out.print(f"\n[bold cyan]sub-goal:[/bold cyan] {_told(agent.subgoal)}")
    if reply.action is not None:
        out.print(f"[bold]> {_told(reply.action)}[/bold]")


def _told(text: str) -> str:
    """Return text from outside for rich: neither markup nor control characters."""
    from rich.markup import escape

    return escape(clean(text))


def _console() -> Console:
    from himac.cli.streams import screen

    return screen()


def _task(env: Env, split: str, index: int) -> Task:
    name = split or env.spec.splits[0]
    tasks = env.tasks(name)
    if not tasks:
        raise ConfigError(f"split {name!r} of {env.spec.name} has no tasks", hint="--split names another")
    if not 0 <= index < len(tasks):
        raise ConfigError(f"--index must lie in 0..{len(tasks) - 1} for split {name!r}, got {index}")
    return tasks[index]


def _say_rules(out: Console, env: Env) -> None:
    out.print(f"[bold]{_told(env.spec.name)}[/bold]")
    out.print(f"[dim]{_told(env.spec.rules)}[/dim]")
    if env.spec.goal:
        out.print(f"Goal: {_told(env.spec.goal)}")


def _asked(out: Console) -> str | None:
    """Return a person's next action, None at the input's end.

    A prompt is for who types: input that is piped is repeated in its place, so that the game reads as it was played.
    """
    typed = sys.stdin is not None and sys.stdin.isatty()
    try:
        action = out.input("[bold]> [/bold]" if typed else "")
    except (EOFError, RuntimeError):  # RuntimeError: stdin is closed
        return None
    if not typed:
        out.print(f"[bold]> {_told(action)}[/bold]")
    return action


@dataclass(frozen=True, slots=True)
class _View:
    """What a player sees of a world after each step."""

    out: Console
    env: Env
    album: Album

    def show(self, observation: Observation, *, is_over: bool, note: str = "", legend: bool = False) -> None:
        """Print the board, the text where it says more, and, while the game goes on, the actions."""
        from himac.envs.base import Draws
        from himac.report.pictures import print_told
        from himac.report.terminal import draw_board, legend_of, says_more

        self.out.print()
        board = self.env.board() if isinstance(self.env, Draws) else ""
        text = self.album.told(observation).text
        if board:
            draw_board(board, self.out)
            if legend and legend_of(board):
                self.out.print(f"[dim]{legend_of(board)}[/dim]")
        if says_more(text, board):
            print_told(clean(text), self.album, self.out, style="dim" if board else "")
        if note:
            self.out.print(f"[yellow]{_told(note)}[/yellow]")
        if observation.admissible and not is_over:
            self.out.print(f"[dim]actions: {_told(', '.join(observation.admissible))}[/dim]")


def _verdict(result: StepResult | None, total: float) -> str:
    if result is None:
        return "nothing was played"
    won = "[bold green]solved[/bold green]" if result.success else "[bold red]not solved[/bold red]"
    return f"\n{won}, score {result.score:.2f}, return {total:.2f}"
