"""A training run from its folder's point of view: start, warm start, iterate, evaluate, save, resume.

One idea: a run is its config and its folder. Whatever is random is derived from the config's seed and the
iteration, and whatever grows is cut back to the last checkpoint, so a run that was killed goes on to
the numbers it would have had.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from himac.config import Config, check_trainable, to_toml
from himac.envs.base import make_expert, provenance
from himac.errors import ConfigError, RunError
from himac.learner import checkpoint as ckpt
from himac.learner.policy import Policy
from himac.models.load import save_model
from himac.models.tiny import build_tiny
from himac.rollout.evaluate import evaluate
from himac.runs.folder import CONFIG, MACHINE, RunWriter, write_text
from himac.runs.machine import describe_machine
from himac.seeds import derive
from himac.train.coevolve import Log, Loop
from himac.train.components import Workbench, build_env, pick_device
from himac.train.warm_start import demo_samples, demo_texts, demonstrations, warm_start
from himac.types import Episode, Task

START = "start"  # folder of the model the run starts from, when the run itself made it


class Console(Log, Protocol):
    """What a run tells a person; also takes the loop's rows."""

    def say(self, text: str) -> None:
        """Take one line."""
        ...

    def attach(self, writer: RunWriter, iterations: int) -> None:
        """Begin writing rows to a run."""
        ...

    def warm_start(self, step: int, steps: int, metrics: dict[str, float]) -> None:
        """Take one step of the warm start."""
        ...

    def evaluation(self, row: dict[str, Any], episodes: Sequence[Episode]) -> None:
        """Take one evaluation."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished run has to show."""

    folder: Path
    progress: ckpt.Progress
    before: dict[str, Any] | None  # evaluation of the final split at iteration 0
    after: dict[str, Any] | None  # and at the end


def new_run(folder: Path, config: Config) -> None:
    """Make a run folder and save its config.

    Raises:
        RunError: the folder already holds a run, or cannot be written.
    """
    if (folder / CONFIG).exists():
        raise RunError(
            f"{str(folder)!r} already holds a run", hint=f"himac train --resume {folder}, or another run.name"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the run folder {str(folder)!r}: {error}") from error
    machine = describe_machine() | _accelerator(config.run.device)
    write_text(folder / MACHINE, json.dumps(machine, indent=1) + "\n")
    write_text(folder / CONFIG, to_toml(config))


def _accelerator(name: str) -> dict[str, str]:
    """Name the GPU that `run.device` means here; nothing where it means none."""
    device = pick_device(name)
    return {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}


def train(config: Config, folder: Path, console: Console) -> Outcome:
    """Train, or go on training, the run in `folder` (see `new_run`).

    Raises:
        ConfigError: the config describes an evaluation.
    """
    check_trainable(config)
    start = starting_model(config, folder, console)
    saved = ckpt.find(folder)
    bench = Workbench(config, ckpt.model_folder(saved) if saved else start)
    _note_world(folder, bench)
    learner = bench.learner()
    if config.algo.kl_coef:
        if saved:
            bench.policy.adopt_reference(Policy.load(start, config.model, device=bench.device).model)
        else:
            bench.policy.freeze_reference()
    progress = ckpt.Progress()
    if saved:
        progress = ckpt.read_progress(saved)
        ckpt.load_learner(saved, learner)
        console.say(f"resuming {folder.name} after iteration {progress.iteration}")
    writer = RunWriter(folder, lengths=progress.lengths)
    console.attach(writer, config.run.iterations)
    try:
        return _Session(config, folder, console, bench, learner, writer).go(
            progress, resumed=saved is not None
        )
    finally:
        writer.close()
        bench.collector.close()


def _note_world(folder: Path, bench: Workbench) -> None:
    """Write beside the machine's description what results of this world have to be reported with."""
    told = provenance(bench.env)
    if told:
        path = folder / MACHINE
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        write_text(path, json.dumps(found | {"world": told}, indent=1) + "\n")


def starting_model(config: Config, folder: Path, console: Console) -> str | Path:
    """Return what the run starts from: the named model, or the one a warm start makes in the folder.

    Raises:
        ConfigError: a tiny model without demonstrations to learn its language from.
    """
    made = folder / START
    if made.is_dir():
        return made
    is_tiny = config.model.name == "tiny"
    if not config.sft.demonstrations:
        if is_tiny:
            raise ConfigError(
                'model.name = "tiny" needs a warm start', hint="set sft.demonstrations, say 2000"
            )
        return config.model.name
    part = folder / f".part-{START}"
    build_start(config, part, console)
    part.rename(made)
    return made


def build_start(config: Config, target: Path, console: Console) -> None:
    """Make the warm-started model: demonstrations, a tiny model where asked for, imitation."""
    env = build_env(config)
    expert = make_expert(config.env.name, env)
    count = config.sft.demonstrations
    demos = demonstrations(config, env, expert, progress=console.collecting("demonstrations", count))
    base: str | Path = config.model.name
    if base == "tiny":
        base = target
        m = config.model
        heads = max(1, m.tiny_hidden // 64)
        build_tiny(
            target,
            demo_texts(config, demos, env),
            hidden=m.tiny_hidden,
            layers=m.tiny_layers,
            heads=heads,
            kv_heads=max(1, heads // 2),
            head_dim=64,
            vocab=m.tiny_vocab,
            seed=derive(config.run.seed, "tiny") % 2**31,
        )
    bench = Workbench(config, base)
    console.say(
        f"warm start: {count} demonstrations, model of {bench.policy.num_parameters / 1e6:.2f} M parameters"
    )
    samples = demo_samples(
        config, demos, env, bench.policy.chat, progress=console.collecting("replaying demonstrations", count)
    )
    warm_start(config, bench.learner(), samples, report=console.warm_start)
    save_model(bench.policy.model, bench.policy.tokenizer, target)


class _Session:
    """One process's share of a run."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        console: Console,
        bench: Workbench,
        learner: Any,
        writer: RunWriter,
    ) -> None:
        self._config, self._folder, self._console = config, folder, console
        self._bench, self._learner, self._writer = bench, learner, writer

    def go(self, progress: ckpt.Progress, *, resumed: bool) -> Outcome:
        """Iterate to the end."""
        config = self._config
        tasks = self._bench.env.tasks(config.env.train_split)
        loop = Loop(config=config, bench=self._bench, learner=self._learner, tasks=tasks, log=self._console)
        before, saved_at = None, progress.iteration
        if not resumed:
            before = self._evaluate_final(progress)
            progress = self._save(self._evaluate(progress), is_best=False)
        while progress.iteration < config.run.iterations and not self._budget_spent(progress):
            progress = loop.iterate(progress)
            best_before = progress.best_success
            if config.eval.every and progress.iteration % config.eval.every == 0:
                progress = self._evaluate(progress)
            is_best = progress.best_success > best_before
            if is_best or progress.iteration % config.run.save_every == 0:
                progress, saved_at = self._save(progress, is_best=is_best), progress.iteration
        if saved_at != progress.iteration:
            progress = self._save(progress, is_best=False)
        after = self._evaluate_final(progress)  # not part of the checkpoint: a killed one is told again
        return Outcome(folder=self._folder, progress=progress, before=before, after=after)

    def _budget_spent(self, progress: ckpt.Progress) -> bool:
        run = self._config.run
        spent = (
            (run.max_minutes * 60, progress.train_s),
            (run.max_env_steps, progress.env_steps),
            (run.max_tokens, progress.tokens),
        )
        return any(limit and so_far >= limit for limit, so_far in spent)

    def _evaluate(self, progress: ckpt.Progress) -> ckpt.Progress:
        """Evaluate on the first tasks of the validation split; return the progress with its best."""
        settings = self._config.eval
        if not settings.every:
            return progress
        tasks = self._bench.env.tasks(settings.split)
        chosen = tasks[: settings.tasks] if settings.tasks else tasks
        summary = self._run_evaluation(progress, chosen, settings.split)
        best = max(progress.best_success, summary["success"])
        return replace(progress, best_success=best, evaluated=progress.iteration)

    def _evaluate_final(self, progress: ckpt.Progress) -> dict[str, Any] | None:
        split = self._config.eval.final
        return self._run_evaluation(progress, self._bench.env.tasks(split), split) if split else None

    def _run_evaluation(self, progress: ckpt.Progress, tasks: Sequence[Task], split: str) -> dict[str, Any]:
        summary, episodes = evaluate(
            self._bench.phases,
            tasks,
            temperature=self._config.eval.temperature,
            seed=self._config.run.seed,
            progress=self._console.collecting(f"evaluating {split}", len(tasks)),
        )
        self._bench.refresh(self._learner.num_steps)  # a resumed run has nothing cached here either
        row = {
            "iteration": progress.iteration,
            "phase": "eval",
            "split": split,
            "total_env_steps": progress.env_steps,
            "total_tokens": progress.tokens,
            "total_train_s": round(progress.train_s, 2),
            **summary,
        }
        told = provenance(self._bench.env)
        if told:
            row["provenance"] = told
        self._console.evaluation(row, episodes)
        return row

    def _save(self, progress: ckpt.Progress, *, is_best: bool) -> ckpt.Progress:
        progress = replace(progress, lengths=self._writer.lengths())
        ckpt.save(
            self._folder,
            progress,
            policy=self._bench.policy,
            learner=self._learner,
            keep_last=self._config.run.keep_last,
            is_best=is_best,
        )
        return progress
