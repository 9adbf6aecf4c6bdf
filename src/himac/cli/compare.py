"""`himac compare`: run a plan or read runs, and set the methods side by side.

Carrying out and judging are two things; the second needs only the runs' folders, so it can be done again, later,
elsewhere, and while a plan is still at work.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from himac.cli.given import complete_runs, examples, room, tell_broken
from himac.errors import ConfigError, DataError, HimacError, MissingFileError, RunError
from himac.text import clean

if TYPE_CHECKING:
    from himac.compare.comparison import Comparison
    from himac.compare.criteria import Criteria
    from himac.compare.runner import Failure

TABLE, JSON, CURVES = "table.md", "table.json", "curves"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks of a comparison."""

    jobs: int
    read: bool  # run nothing
    target: float | None
    reference: str
    unseal: bool  # draw the sealed split
    only: tuple[str, ...]  # patterns of the names of runs to carry out; (): all
    keep: str  # file for what the finished runs are judged by; "": none
    tune: bool  # search, and stop there


@click.command(
    epilog=examples(
        "himac compare compare-sokoban --jobs 2",
        "himac compare compare-sokoban --dry-run",
        "himac compare compare-sokoban --unseal",
        "himac compare runs/run-a runs/run-b --reference flat",
        "himac compare compare-sokoban --keep sokoban.runs.gz",
    )
)
@click.argument("given", nargs=-1, required=True, metavar="PLAN|RUN|KEPT...", shell_complete=complete_runs)
@click.option("--jobs", type=int, metavar="N", default=1, show_default=True, help="Runs at a time.")
@click.option("--out", metavar="FOLDER", default="", help="Where runs and tables go; left out: runs/PLAN.")
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Carry out runs of this name: '*-grpo-3'; may be repeated.",
)
@click.option("--read", is_flag=True, help="Run nothing; judge what is there.")
@click.option("--target", type=float, metavar="RATE", help="Report the cost of this success rate, 0 to 1.")
@click.option(
    "--reference", metavar="METHOD", default="", help="Compare the others with this one (default himac)."
)
@click.option("--dry-run", is_flag=True, help="Print every run with its state and stop.")
@click.option("--tune", is_flag=True, help="Only carry out the plan's [tuning], which comes first anyway.")
@click.option(
    "--keep", metavar="FILE", default="", help="Write what finished runs are judged by, some kB each."
)
@click.option(
    "--unseal", is_flag=True, help="All runs are done: judge them on the sealed split, and record it."
)
def compare(given: tuple[str, ...], out: str, dry_run: bool, jobs: int, **judging: Any) -> None:
    """Run a plan (.toml) of methods, or set runs side by side.

    Runs are given as their folders, or as files that --keep wrote.
    """
    asked = Asked(jobs=jobs, **judging)
    paths = [_plan_or_folder(word) for word in given]
    if any(path.is_file() and path.suffix != ".toml" for path in paths):
        paths = [_laid(paths, out)]
    if paths[0].suffix != ".toml":
        if asked.unseal:
            raise ConfigError("--unseal needs a plan, whose runs are all done; got run folders")
        folders, criteria, beside = _gather(paths)
        _judge(asked, folders, criteria, Path(out) if out else beside)
        return
    if len(paths) > 1:
        raise ConfigError(
            f"one plan at a time, got {len(paths)}", hint="run folders are given without a plan"
        )
    if jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {jobs}")
    from himac.compare.comparison import read_comparison
    from himac.train.checks import check_trainable

    plan = read_comparison(paths[0], check=check_trainable)
    where = Path(out) if out else Path("runs") / plan.name
    if asked.tune and plan.tuning is None:
        raise ConfigError(f"--tune: plan {plan.name!r} has no [tuning]")
    plan = _tuned(asked, plan, where, searches=not (dry_run or asked.read or asked.unseal))
    if asked.tune and not dry_run:
        return
    if dry_run:
        _say_plan(plan, where)
    else:
        _run_and_judge(asked, plan, where)


def _plan_or_folder(word: str) -> Path:
    """Return what a word names: a folder of the user's, else a plan, his own or one that comes with himac; else a run."""
    from himac.errors import closest
    from himac.recipes import find, names

    if Path(word).is_dir():
        return Path(word)
    is_plan = word.endswith(".toml") or word in (known := names(plan=True)) or closest(word, known)
    return find(word, plan=True) if is_plan and not (Path("runs") / word).is_dir() else Path(word)


def _laid(files: Sequence[Path], out: str) -> Path:
    """Lay kept runs in a folder and return it."""
    from himac.compare.kept import lay

    if others := [path for path in files if not path.is_file() or path.suffix == ".toml"]:
        raise ConfigError(
            f"files of kept runs and {str(others[0])!r} are given together",
            hint="first the files alone, with --out FOLDER; then what goes on there, with the same --out",
        )
    folder = Path(out) if out else Path("runs") / files[0].name.partition(".")[0]
    print(f"{len(lay(files, folder))} runs laid in {folder}\n")
    return folder


def _tuned(asked: Asked, plan: Comparison, out: Path, *, searches: bool) -> Comparison:
    """Return the plan with what its search found, which is carried out where it was not."""
    from himac.compare.comparison import planned_runs
    from himac.compare.runner import carry_out
    from himac.compare.tuning import FOLDER, choose, paragraphs_of, search_of, with_tuned, write_tuned

    found = with_tuned(plan, out)
    if plan.tuning is None or found.tuned or not searches:
        return found
    from himac.report.tables import narrow
    from himac.runs.console import Lasting

    search, folder = search_of(plan), out / FOLDER
    _raise_first(carry_out(search, folder, jobs=asked.jobs, console=Lasting()))
    told = choose(plan, planned_runs(search, folder)[1])
    write_tuned(told, out)
    print(clean(narrow("\n".join(paragraphs_of(told)), room())))
    return with_tuned(plan, out)


def _run_and_judge(asked: Asked, plan: Comparison, out: Path) -> None:
    if asked.unseal:
        _unseal(plan, out)
    failures = () if asked.unseal else _carry_out(asked, plan, out)
    try:
        folders, criteria, _ = _gather([out])
        _judge(asked, folders, criteria, out)
    except HimacError:
        if not failures:  # else their reason is the one to tell
            raise
    _raise_first(failures)


def _raise_first(failures: Sequence[Failure]) -> None:
    """Say that runs failed, and the first one's reason."""
    if failures:
        raise RunError(
            f"{len(failures)} of the plan's runs failed; first {failures[0].name}: {failures[0].reason}",
            hint=f"its log is {failures[0].log}; the same command tries them again",
        )


def _unseal(plan: Comparison, out: Path) -> None:
    """Draw the sealed split for a plan's finished runs."""
    from himac.cli.given import quiet_libraries
    from himac.evaluation.sealed import unseal
    from himac.runs.console import Terminal

    quiet_libraries()
    console = Terminal()
    try:
        unseal(plan, out, console)
    finally:
        console.close()


def _carry_out(asked: Asked, plan: Comparison, out: Path) -> Sequence[Failure]:
    from himac.compare.criteria import criteria_of, write_criteria
    from himac.compare.runner import carry_out
    from himac.files import make_folder
    from himac.runs.console import Lasting

    make_folder(out)
    write_criteria(criteria_of(plan), out)
    return () if asked.read else carry_out(plan, out, jobs=asked.jobs, console=Lasting(), only=asked.only)


def _say_plan(plan: Comparison, out: Path) -> None:
    """Print every run with its state and the command that it is: a line each, or, in a terminal, as it can be read."""
    from himac.compare.comparison import planned_runs
    from himac.compare.runner import state_of

    starts, runs = planned_runs(plan, out)
    told = [
        ("done" if start.model.is_dir() else "missing", start.folder, "sft", start.words) for start in starts
    ]
    told += [(state_of(run), run.folder, "train", run.words) for run in runs]
    width = room()
    for state, folder, verb, words in told:
        command = ["himac", verb, *map(_short, words)]
        if width is None:
            print(f"{state:7}  {shlex.join(command)}")
        else:
            print(f"{state:7}  {folder.name}\n{_laid_out(command, width)}")
    if width is not None:
        states = Counter(state for state, *_ in told)
        print(f"\n{', '.join(f'{count} {state}' for state, count in states.items())}; folder {out}")


def _short(word: str) -> str:
    """Return a word of a command as a person would type it: a recipe by its name, text without needless quotes."""
    from himac.recipes import HOME
    from himac.toml import read_value

    key, is_set, value = word.partition("=")
    if is_set:
        text = read_value(value)
        is_plain = isinstance(text, str) and text.isprintable() and read_value(text) == text
        return f"{key}={text}" if is_plain else word
    path = Path(word)
    is_own = Path(path.name).exists() or Path(path.stem).exists()  # a file of the user's comes first
    return path.stem if path.parent == HOME and not is_own else word


def _laid_out(words: Sequence[str], width: int) -> str:
    """Return a command over several lines that a shell takes as one."""
    lines = [" " * 8]
    for word in map(shlex.quote, words):
        if len(lines[-1]) + len(word) + 3 > width and lines[-1].strip():
            lines[-1] += " \\"
            lines.append(" " * 12)
        lines[-1] += f" {word}"
    return "\n".join(lines)


def _gather(given: Sequence[Path]) -> tuple[list[Path], Criteria, Path]:
    """Return (run folders, what is asked of them, where the comparison goes by itself).

    A single folder that holds runs is a comparison of its own; several runs are written beside the first.
    """
    from himac.compare.criteria import Criteria, read_criteria
    from himac.compare.reading import find_folders
    from himac.runs.folder import CONFIG, find_run

    paths = [path if path.is_dir() else find_run(path) for path in given]
    folders = find_folders(paths)
    if not folders:
        raise MissingFileError(
            f"no run in {', '.join(repr(str(path)) for path in paths)}",
            hint="a run's folder has metrics.jsonl",
        )
    if len(paths) == 1 and not (paths[0] / CONFIG).is_file():
        return folders, read_criteria(paths[0]), paths[0]
    return folders, Criteria(name="comparison"), paths[0].parent / "comparison"


def _judge(asked: Asked, folders: Sequence[Path], criteria: Criteria, out: Path) -> None:
    """Read, judge, write and print."""
    from himac.compare.curves import plot_comparison
    from himac.compare.naming import name_planned, name_runs
    from himac.compare.seal import read_record, told_of, unsealed
    from himac.compare.summary import summarise
    from himac.compare.tables import markdown_of
    from himac.compare.tuning import FILE as TUNED
    from himac.files import make_folder, read_json, write_text
    from himac.report.tables import narrow

    if asked.reference:
        criteria = replace(criteria, reference=asked.reference)
    if asked.target is not None:
        if not 0 < asked.target <= 1:
            raise ConfigError(f"--target must be a success rate above 0 and at most 1, got {asked.target}")
        criteria = replace(criteria, target=asked.target, targets={})
    record = read_record(out)
    runs = unsealed(_read(folders), record)
    named = name_planned(criteria.names, runs) if criteria.names else name_runs(runs)
    told = summarise(named, criteria) | ({"sealed": told_of(record)} if record.draws else {})
    told |= {"tuned": read_json(out / TUNED)} if (out / TUNED).is_file() else {}
    page = markdown_of(told)
    make_folder(out)
    write_text(out / JSON, json.dumps(told, indent=1) + "\n")
    write_text(out / TABLE, page)
    print(clean(narrow(page, room())))
    try:
        drawn = plot_comparison(told, out / CURVES)
    except DataError as error:  # the table stands without
        drawn = []
        print(narrow(f"{error}: {error.hint}\n", room()))
    print("\n".join(str(path) for path in (out / TABLE, out / JSON, *drawn)))
    if asked.keep:
        from himac.compare.kept import keep

        count = keep(out, folders, Path(asked.keep))
        print(f"{count} finished runs are kept in {asked.keep}")


def _read(folders: Sequence[Path]) -> list[Any]:
    """Read the runs; say which have nothing to compare yet."""
    from himac.compare.reading import read_run
    from himac.runs.rows import Broken

    runs, broken = [], Broken()
    for folder in folders:
        try:
            runs.append(read_run(folder, broken))
        except (DataError, ConfigError) as error:  # a config may be damaged too
            print(f"left out: {clean(str(error))}", file=sys.stderr)
    tell_broken(broken)
    return runs
