"""A training run from its folder's point of view: start, warm start, train, evaluate, save, resume.

A run is its config and its folder. Whatever is random is derived from the config's seed and the iteration, and
whatever grows is cut back to the last checkpoint, so a run that was killed goes on to the numbers it would have had.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from himac.config import Config, override, to_toml, vision_settings
from himac.envs.base import make_expert, provenance
from himac.errors import ConfigError, RunError
from himac.learner import checkpoint as ckpt
from himac.learner.learner import Learner
from himac.learner.policy import Policy
from himac.models.attention import why_padded
from himac.models.load import holds_one_adapter
from himac.models.tiny import TinyShape, build_tiny
from himac.parallel import ALONE, Ranks
from himac.rollout.evaluate import evaluate, subset
from himac.runs.console import Console, Silent
from himac.runs.folder import CONFIG, MACHINE, RECIPE, START, RunWriter, write_text
from himac.runs.log import NoLog, RunLog
from himac.runs.machine import describe_machine
from himac.runs.sinks import make_sinks
from himac.seeds import derive
from himac.train.checks import check, check_trainable
from himac.train.components import Components, agent_class, build_env, pick_device
from himac.train.describing import describe
from himac.train.warm_start import demo_samples, demo_texts, demonstrations, warm_start
from himac.types import Row, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished run has to show."""

    folder: Path
    state: ckpt.TrainState
    before: Row | None  # evaluation of the final split at iteration 0
    after: Row | None  # and at the end


def new_run(folder: Path, config: Config, *, recipe: str = "", ranks: int = 1) -> None:
    """Make a run folder and save its config, the text of the recipe it came from, and where it is started.

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
    machine = describe_machine() | _accelerator(config.run.device) | ({"ranks": ranks} if ranks > 1 else {})
    write_text(folder / MACHINE, json.dumps(machine, indent=1) + "\n")
    if recipe:
        write_text(folder / RECIPE, recipe)
    write_text(folder / CONFIG, to_toml(config))


def train(config: Config, folder: Path, console: Console | None = None, *, ranks: Ranks = ALONE) -> Outcome:
    """Train, or go on training, the run in `folder` (see `new_run`).

    Args:
        config: the run's settings, as its folder has them.
        folder: the run's.
        console: told what happens; None: nobody is.
        ranks: the processes that do it together; all call this, with the same folder, and the first one writes.

    Raises:
        ConfigError: the config describes an evaluation.
    """
    console = console if console is not None and ranks.is_first else Silent()
    check_trainable(config)
    parts = Components(config, starting_model(config, folder, console, ranks=ranks), ranks=ranks)
    if ranks.is_first:
        _note_world(folder, parts)
    if padded := why_padded(parts.policy.model):
        console.say(f"padded rows, nothing shared, and so slower: {padded}")
    if config.algo.has_kl:
        parts.policy.freeze_reference()  # before a checkpoint is loaded: the reference is where the run began
    learner = parts.learner()
    state, saved = ckpt.TrainState(), ranks.first(ckpt.find(folder))
    if saved:
        state = ckpt.read_state(saved)
        learner.load(saved)
        console.say(f"resuming {folder.name} after iteration {state.iteration}")
    writer = RunWriter(folder, lengths=state.lengths, album=parts.album) if ranks.is_first else None
    log: RunLog | NoLog = NoLog()
    if writer is not None:
        log = RunLog(
            writer,
            console,
            iterations=config.run.iterations,
            sinks=make_sinks(config.run.sinks, folder),
            save_episodes=config.run.save_episodes,
        )
    try:
        return _Session(config, folder, parts, learner, log, writer).go(state, resumed=saved is not None)
    finally:
        log.close()
        parts.close()


def starting_model(
    config: Config, folder: Path, console: Console | None = None, *, ranks: Ranks = ALONE
) -> str | Path:
    """Return what the run starts from: the named model, or the one a warm start makes in the folder.

    An adapter's run starts from an ordinary model and with an adapter that is nothing yet, so that the reference, which is
    the model without its adapter, is what the run starts from: the adapter of a warm start, or of the named model, is
    merged. Roles' own adapters cannot be.

    Raises:
        ConfigError: a tiny model without demonstrations to learn its language from.
    """
    made = folder / START
    if ranks.first(made.is_dir()):
        return made
    config = override(config, model={"name": _moved_along(config.model.name, folder)})
    if not config.sft.demonstrations:
        if config.model.name == "tiny":
            raise ConfigError(
                'model.name = "tiny" needs a warm start', hint="set sft.demonstrations, say 2000"
            )
        if not (config.model.lora_rank and holds_one_adapter(config.model.name)):
            return config.model.name
    part = folder / f".part-{START}"
    if config.sft.demonstrations:
        build_start(config, part, console, ranks=ranks)
    elif ranks.is_first:
        _save_merged(Policy.load(config.model.name, config.model, device=torch.device("cpu")), part)
    if ranks.is_first:
        part.rename(made)
    ranks.wait()
    return made


def _moved_along(name: str, folder: Path) -> str:
    """Return a model's path; one that is not there any more is looked for where it lay beside the run's folder.

    A run that started from "runs/comparison/starts/a/start" and lies in /new/comparison/b now finds
    /new/comparison/starts/a/start: the two were moved together.
    """
    path = Path(name)
    if path.is_dir() or len(path.parts) < 3:  # "organisation/model" is a name on the hub
        return name
    for parent in folder.resolve().parents:
        for first in range(len(path.parts)):
            found = parent.joinpath(*path.parts[first:])
            if (found / "config.json").is_file():
                return str(found)
    return name


def build_start(
    config: Config, target: Path, console: Console | None = None, *, ranks: Ranks = ALONE
) -> None:
    """Make the warm-started model: demonstrations, a tiny model where asked for, imitation."""
    console, sft, seed = console or Silent(), check(config).sft, config.run.seed
    env = build_env(config)
    demos = demonstrations(
        env,
        make_expert(config.env.name, env),
        sft,
        split=env.spec.train_split,
        seed=seed,
        progress=console.collecting("demonstrations", sft.demonstrations),
    )
    plans = getattr(agent_class(config), "plans", False)
    base: str | Path = config.model.name
    config = override(config, model={"lora_per_role": False})  # there is one start, which both roles share
    if base == "tiny":
        base = target
        config = override(config, model={"lora_rank": 0})  # a model from nothing has nothing to adapt
        hidden, layers, vocab = config.model.tiny
        heads = max(1, hidden // 64)
        shape = TinyShape(hidden=hidden, layers=layers, heads=heads, kv_heads=max(1, heads // 2))
        if ranks.is_first:
            texts = demo_texts(demos, env, sft=sft, agent=config.agent, plans=plans)
            eyes = vision_settings(config.model.vision) if env.spec.images else None
            build_tiny(target, texts, shape, vocab=vocab, seed=derive(seed, "tiny") % 2**31, vision=eyes)
        ranks.wait()
    parts = Components(config, base, ranks=ranks)
    size = parts.policy.num_parameters / 1e6
    console.say(f"warm start: {sft.demonstrations} demonstrations, model of {size:.2f} M parameters")
    tick = console.collecting("replaying demonstrations", sft.demonstrations)
    samples = demo_samples(
        demos, env, parts.chat, sft=sft, agent=config.agent, plans=plans, progress=tick, album=parts.album
    )
    learner = parts.learner()
    if sft.describe:
        describe(
            learner,
            demos,
            env,
            parts.chat,
            parts.album,
            sft,
            seed=seed,
            report=_steps_to(console, "describing"),
        )
    warm_start(learner, samples, sft, seed=seed, report=_steps_to(console))
    if ranks.is_first:
        _save_merged(parts.policy, target)


def _save_merged(policy: Policy, target: Path) -> None:
    """Save a model as an ordinary one."""
    policy.merge()
    policy.save(target)


def _steps_to(console: Console, what: str = "warm start") -> Callable[[int, int, dict[str, float]], None]:
    """Return what says a line every few seconds of the warm start."""
    spoke_s = 0.0

    def report(step: int, steps: int, metrics: dict[str, float]) -> None:
        nonlocal spoke_s
        if time.monotonic() - spoke_s > 5 or step in (1, steps):
            spoke_s = time.monotonic()
            console.say(f"{what} {step}/{steps} | loss {metrics['loss']:.4f} | grad {metrics['grad']:.2f}")

    return report


def _accelerator(name: str) -> dict[str, str]:
    """Name the GPU that `run.device` means here; nothing where it means none."""
    device = pick_device(name)
    return {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}


def _note_world(folder: Path, parts: Components) -> None:
    """Record the environment's provenance in machine.json."""
    origin = provenance(parts.env)
    if origin:
        path = folder / MACHINE
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        write_text(path, json.dumps(found | {"world": origin}, indent=1) + "\n")


class _Session:
    """One process's share of a run: what the loop leaves to the outside (clock, evaluation, files)."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        parts: Components,
        learner: Learner,
        log: RunLog | NoLog,
        writer: RunWriter | None,
    ) -> None:
        self._config, self._folder = config, folder
        self._parts, self._learner, self._log, self._writer = parts, learner, log, writer
        self._ranks = parts.ranks
        self._lap_began, self._processor_began = time.perf_counter(), time.process_time()

    def go(self, state: ckpt.TrainState, *, resumed: bool) -> Outcome:
        """Evaluate, train, evaluate."""
        loop = self._parts.loop(self._learner, log=self._log, outside=self)
        before = None
        if not resumed:
            before = self._evaluate_final(state)
            state = self.save(self.evaluate(state) if self._config.eval.every else state, is_best=False)
        state = loop.train(state)
        after = self._evaluate_final(state)  # not part of the checkpoint: a killed one runs again
        return Outcome(folder=self._folder, state=state, before=before, after=after)

    def lap(self) -> float:
        """Return the seconds since the last lap, by the first rank's clock: the run's length is decided by it."""
        began, self._lap_began = self._lap_began, time.perf_counter()
        return self._ranks.first(self._lap_began - began)

    def processor_s(self) -> float:
        """Return the seconds of processor cores, of all ranks, since this was last asked."""
        began, self._processor_began = self._processor_began, time.process_time()
        return float(self._ranks.sum(np.array(self._processor_began - began)))

    def out_of_time(self, state: ckpt.TrainState) -> bool:
        """Whether the run has trained for as long as it may."""
        return state.out_of_time(self._config.budget)

    def evaluate(self, state: ckpt.TrainState) -> ckpt.TrainState:
        """Evaluate on the validation split, or a subset of it; return the state with its best."""
        settings = self._config.eval
        tasks = self._parts.env.tasks(settings.split)
        chosen = subset(tasks, settings.tasks)
        summary = self._run_evaluation(state, chosen, settings.split)
        best = max(state.best_success, summary["success"])
        return replace(state, best_success=best, evaluated=state.iteration)

    def save(self, state: ckpt.TrainState, *, is_best: bool) -> ckpt.TrainState:
        """Write a checkpoint; it remembers how long the run's files were."""
        if self._writer is not None:
            state = replace(state, lengths=self._writer.lengths())
            ckpt.save(self._folder, state, self._learner, is_best=is_best)
        return self._ranks.first(state)  # the others wait here until it is written

    def _evaluate_final(self, state: ckpt.TrainState) -> Row | None:
        split = self._config.eval.final
        return self._run_evaluation(state, self._parts.env.tasks(split), split) if split else None

    def _run_evaluation(self, state: ckpt.TrainState, tasks: Sequence[Task], split: str) -> Row:
        parts = self._parts
        summary, episodes = evaluate(
            parts.collector,
            tasks,
            temperature=self._config.eval.temperature,
            seed=self._config.run.seed,
            progress=self._log.collecting(f"evaluating {split}", len(tasks)),
        )
        # a resumed run has nothing cached after an evaluation, so this one may not have either
        parts.collector.load_weights(None, version=self._learner.version)
        row = {
            "iteration": state.iteration,
            "phase": "eval",
            "split": split,
            **state.totals(),
            **summary,
        }
        origin = provenance(parts.env)
        if origin:
            row["provenance"] = origin
        self._log.evaluation(row, episodes)
        return row
