"""What a run starts from: a named model, or one that a warm start makes in the run's folder.

A warm start saves itself every so often under `.part-start`, so one that was killed goes on, to the weights that it
would have had: whatever is random is derived from the seed and the step.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from himac.config import Config, override, vision_settings
from himac.envs.base import make_expert
from himac.errors import ConfigError, DataError, HimacError, ModelError
from himac.files import read_json, sync, sync_tree, write_text, writing
from himac.learner import checkpoint as ckpt
from himac.learner.learner import Learner
from himac.learner.policy import Policy
from himac.models.load import holds_one_adapter
from himac.models.tiny import TinyShape, build_tiny
from himac.parallel import ALONE, Ranks
from himac.runs.console import Console, Silent
from himac.runs.folder import MACHINE, START, WARMING
from himac.seeds import derive
from himac.train.checks import check
from himac.train.components import Components, agent_class, build_env
from himac.train.describing import describe
from himac.train.warm_start import demo_samples, demo_texts, demonstrations, warm_start

ASKING, REPLAYING, DESCRIBING, IMITATING = (
    "demonstrations",
    "replaying demonstrations",
    "describing",
    "warm start",
)
"""What a console is told that a warm start is doing, in this order."""
_NAME, _WAY, _SECONDS = "model", "model_at", "warm_start_s"  # in machine.json
_SAVE_EVERY_S = 60.0  # of a warm start; and never more than a twentieth of its time goes into saving
_SAY_EVERY_S = 60.0  # a fifth of the steps may take hours


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
    check_begins(config)
    has_adapter = config.model.lora_rank and holds_one_adapter(config.model.name)
    if not config.sft.demonstrations and not has_adapter:
        return config.model.name
    work = folder / WARMING
    model = work / ckpt.MODEL
    if config.sft.demonstrations:
        with _timed(folder, ranks):
            build_start(config, model, console, ranks=ranks, work=work)
    elif ranks.is_first:
        _save_merged(Policy.load(config.model.name, config.model, device=torch.device("cpu")), model)
    if ranks.is_first:
        with writing(made):
            sync_tree(model)
            model.rename(made)
            sync(folder)
        shutil.rmtree(work, ignore_errors=True)
    ranks.wait()
    return made


@contextlib.contextmanager
def _timed(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Add the seconds that a warm start takes to what the run's folder remembers: it may take several processes.

    One that is killed outright (SIGKILL) tells nothing of its time.
    """
    began = time.monotonic()
    try:
        yield
    finally:
        path = folder / MACHINE
        if ranks.is_first and path.is_file():
            with contextlib.suppress(
                HimacError, TypeError, ValueError
            ):  # damaged: a time is not worth a warm start
                told = dict(read_json(path))
                seconds = float(told.get(_SECONDS, 0.0)) + time.monotonic() - began
                write_text(path, json.dumps(told | {_SECONDS: round(seconds, 1)}, indent=1) + "\n")


def check_begins(config: Config) -> None:
    """Refuse a tiny model without demonstrations to learn its language from.

    Raises:
        ConfigError: it is one.
    """
    if config.model.name == "tiny" and not config.sft.demonstrations:
        raise ConfigError('model.name = "tiny" needs a warm start', hint="set sft.demonstrations, say 2000")


def way_to_model(name: str, folder: Path) -> dict[str, str]:
    """Return what a run's folder remembers of a model that lies in a folder of its own: the way there, from here."""
    with contextlib.suppress(ValueError, OSError):  # on Windows there is none to another drive
        if Path(name).is_dir():
            return {
                _NAME: name,
                _WAY: Path(os.path.relpath(Path(name).resolve(), folder.resolve())).as_posix(),
            }
    return {}


def _moved_along(name: str, folder: Path) -> str:
    """Return a model's path, wherever the command runs; one that is not there any more is looked for beside the run.

    The way from the run's folder is what counts: another folder of the same name may lie where the command runs.

    A run that started from "runs/comparison/starts/a/start" and lies in /new/comparison/b now finds
    /new/comparison/starts/a/start: the two were moved together.
    """
    way = None
    with contextlib.suppress(DataError, KeyError, TypeError):  # no such file, a damaged one, or no such model
        told = read_json(folder / MACHINE)
        way = folder / str(told[_WAY]) if told[_NAME] == name else None
    if way is not None and (way / "config.json").is_file():
        return name if way.resolve() == Path(name).resolve() else str(way)
    path = Path(name)
    if path.is_dir():
        return name
    # "organisation/model" is a name on the hub
    for parent in folder.resolve().parents if len(path.parts) > 2 else ():
        for first in range(len(path.parts)):
            found = parent.joinpath(*path.parts[first:])
            if (found / "config.json").is_file():
                return str(found)
    if way is not None:
        raise ModelError(
            f"the run in {str(folder)!r} starts from the model in {str(way.resolve())!r}, and there is none",
            hint="move the two together",
        )
    return name


def build_start(
    config: Config,
    target: Path,
    console: Console | None = None,
    *,
    ranks: Ranks = ALONE,
    work: Path | None = None,
) -> None:
    """Make the warm-started model: demonstrations, a tiny model where asked for, imitation.

    Args:
        config: says of which world, in which format, for how long.
        target: the model's folder.
        console: told what happens; None: nobody is.
        ranks: the processes that do it together.
        work: where it saves itself, and goes on from; None: nowhere.
    """
    _save_start(imitated(config, target, console, ranks=ranks, work=work), target, ranks)


def imitated(
    config: Config,
    target: Path,
    console: Console | None = None,
    *,
    ranks: Ranks = ALONE,
    work: Path | None = None,
) -> Components:
    """Return what `build_start` saves: a model that has imitated the demonstrations, and what it was put together with.

    Args:
        config: says of which world, in which format, for how long.
        target: where a tiny model begins.
        console: told what happens; None: nobody is.
        ranks: the processes that do it together.
        work: where it saves itself, and goes on from; None: nowhere.
    """
    console, sft, seed = console or Silent(), check(config).sft, config.run.seed
    env = build_env(config)
    demos = demonstrations(
        env,
        make_expert(config.env.name, env),
        sft,
        split=env.spec.train_split,
        seed=seed,
        progress=console.collecting(ASKING, sft.demonstrations),
    )
    method = agent_class(config)
    plans = getattr(method, "plans", False)
    if sft.style == "method" and hasattr(method, "style"):
        sft = replace(sft, style=method.style)
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
    tick = console.collecting(REPLAYING, sft.demonstrations)
    samples = demo_samples(
        demos, env, parts.chat, sft=sft, agent=config.agent, plans=plans, progress=tick, album=parts.album
    )
    learner = parts.learner()
    kept = _Kept(work, learner, console, ranks)
    if sft.describe:
        report = kept.steps_of(DESCRIBING)
        first = kept.done.get(DESCRIBING, 0)
        describe(learner, demos, env, parts.chat, parts.album, sft, seed=seed, report=report, first=first)
    report, first = kept.steps_of(IMITATING), kept.done.get(IMITATING, 0)
    warm_start(learner, samples, sft, seed=seed, report=report, first=first)
    return parts


class _Kept:
    """A warm start's steps, told and saved every so often.

    Args:
        work: folder that they are saved under; what an earlier process saved there is loaded. None: nowhere.
        learner: takes the steps.
        console: told of them.
        ranks: the first one saves, all load.
    """

    def __init__(self, work: Path | None, learner: Learner, console: Console, ranks: Ranks) -> None:
        self._root = None if work is None else work / "steps"
        self._learner, self._console, self._ranks = learner, console, ranks
        self._spoke_s, self._saved_s, self._pause_s = 0.0, time.monotonic(), _SAVE_EVERY_S
        self.done: dict[str, int] = {}  # steps of each stage that lie behind
        saved = ranks.first(self._newest() if ranks.is_first else None)
        if saved is not None:
            self._learner.load(saved)
            self.done = {str(stage): int(step) for stage, step in ckpt.read_told(saved).items()}
            console.say(
                f"going on after {' and '.join(f'{n} steps of {stage}' for stage, n in self.done.items())}"
            )

    def steps_of(self, stage: str) -> Callable[[int, int, dict[str, float]], None]:
        """Return what is to be called after each step of a stage with (step, steps, metrics)."""
        tick: Callable[[int], None] | None = (
            None  # opened by the first step: how many there are is told with it
        )

        def report(step: int, steps: int, metrics: dict[str, float]) -> None:
            nonlocal tick
            if tick is None:
                tick = self._console.collecting(stage, steps - self.done.get(stage, 0))
            tick(1)
            self.done[stage] = step
            now_s = time.monotonic()
            if now_s - self._spoke_s > _SAY_EVERY_S or step in (1, steps) or step % max(1, steps // 5) == 0:
                self._spoke_s = now_s
                self._console.say(
                    f"{stage} {step}/{steps} | loss {metrics['loss']:.4f} | grad {metrics['grad']:.2f}"
                )
            if self._root is not None and self._ranks.first(now_s - self._saved_s > self._pause_s):
                self._save(self._root)

        return report

    def _save(self, root: Path) -> None:
        began_s = time.monotonic()
        final = root / f"step-{sum(self.done.values()):08d}"
        ckpt.seal(final, self._learner.save, self.done, ranks=self._ranks)
        for path in root.iterdir() if self._ranks.is_first else ():
            if path != final:
                shutil.rmtree(path, ignore_errors=True)
        self._saved_s = time.monotonic()
        self._pause_s = max(_SAVE_EVERY_S, 20 * (self._saved_s - began_s))

    def _newest(self) -> Path | None:
        """Return what was saved last and is whole."""
        found = [] if self._root is None else sorted(self._root.glob("step-*"), reverse=True)
        return next((path for path in found if not ckpt.damage(path)), None)


def _save_start(parts: Components, target: Path, ranks: Ranks) -> None:
    """Save what a warm start made as an ordinary model; all ranks call this."""
    policy, cfg = parts.policy, parts.config.model
    if not cfg.lora_rank:
        policy.save(target, ranks)
    elif ranks.mesh is None:
        if ranks.is_first:
            _save_merged(policy, target)
    else:  # nobody has the whole model that the adapter would be merged into: the first rank reads both again
        lying = target.with_name(f"adapter-of-{target.name}")
        dtype = str(next(policy.model.parameters()).dtype).removeprefix("torch.")
        policy.save(lying, ranks)
        if ranks.is_first:
            cfg = replace(cfg, dtype=dtype)
            _save_merged(Policy.load(lying, cfg, device=torch.device("cpu")), target)
            shutil.rmtree(lying)


def _save_merged(policy: Policy, target: Path) -> None:
    """Save a model as an ordinary one."""
    policy.merge()
    policy.save(target)
