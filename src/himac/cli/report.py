"""The verbs that read runs: report, show, watch, plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from himac.cli.given import complete_runs, examples, tell_broken
from himac.errors import ConfigError, closest

PHASES = ["planner", "executor", "joint", "flat", "eval"]

_run_argument = click.argument("name", metavar="RUN", shell_complete=complete_runs)
_runs_argument = click.argument(
    "runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_runs
)
_import_option = click.option(
    "--import-world",
    is_flag=True,
    help="Import the run's own world (env.name is a module's) to draw its boards: for runs you trust.",
)


@click.command(
    epilog=examples(
        "himac report demo-20260301-101500",
        "himac report run-a run-b --out ab.html",
        "himac report runs/compare-sokoban",
        "himac report demo-20260301-101500 --serve",
    )
)
@_runs_argument
@click.option(
    "--out", metavar="FILE", default="", help="HTML file; left out: report.html in the first folder."
)
@click.option("--episodes", type=int, default=5000, show_default=True, help="Episodes to show at most.")
@click.option(
    "--megabytes", type=float, default=8, show_default=True, help="How large they may make the file."
)
@click.option("--serve", is_flag=True, help="Write nothing; follow the runs in a browser of this machine.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Of --serve; left out: 8765, and 0 takes a free one."
)
@_import_option
def report(
    runs: tuple[str, ...],
    out: str,
    episodes: int,
    megabytes: float,
    serve: bool,
    port: int | None,
    import_world: bool,
) -> None:
    """Write one HTML file about one run, several, or a folder of them."""
    from himac.report.page import build_report
    from himac.runs.rows import Broken

    if episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, got {episodes}")
    if megabytes <= 0:
        raise ConfigError(f"--megabytes must be above 0, got {megabytes:g}")
    if serve and out:
        raise ConfigError("--serve writes no file: leave --out away")
    if port is not None and not serve:
        raise ConfigError("--port is of --serve", hint="himac report RUN --serve --port N")
    folders, most_bytes, broken = _folders(runs), int(megabytes * 1e6), Broken()
    if serve:
        _serve(folders, most=episodes, most_bytes=most_bytes, port=port, imports=import_world)
        return
    target = Path(out) if out else (_holder(runs, folders) or folders[0]) / "report.html"
    build_report(folders, target, most=episodes, most_bytes=most_bytes, broken=broken, imports=import_world)
    tell_broken(broken)
    print(f"{target}  ({target.stat().st_size / 1e6:.1f} MB; open it in a browser)")


def _serve(folders: list[Path], *, most: int, most_bytes: int, port: int | None, imports: bool) -> None:
    from himac.report.serve import PORT, LiveReport, serve
    from himac.runs.rows import Broken

    broken = Broken()
    live = LiveReport(folders, most=most, most_bytes=most_bytes, broken=broken, imports=imports)
    tell_broken(broken)
    say = lambda address: print(f"{address}  (for this machine alone; Ctrl-C ends it)", flush=True)  # noqa: E731
    serve(live, port=PORT if port is None else port, say=say)


def _folders(names: tuple[str, ...]) -> list[Path]:
    """Return the runs that are meant: a folder that is none but holds some, as `himac compare` makes it, is all of them."""
    from himac.compare.reading import find_folders
    from himac.runs.folder import CONFIG, find_run

    folders: list[Path] = []
    for name in names:
        path = Path(name)
        inside = [] if (path / CONFIG).is_file() or not path.is_dir() else find_folders([path])
        folders += inside or [find_run(name)]
    return list(dict.fromkeys(folders))


def _holder(names: tuple[str, ...], folders: list[Path]) -> Path | None:
    """Return the folder of runs that was named first; None where that was a run."""
    first = Path(names[0])
    return first if first.is_dir() and folders[0] != first else None


@click.command(
    epilog=examples(
        "himac show demo-20260301-101500 --phase planner --no-success",
        "himac show demo-20260301-101500 --iteration 10 --count 3",
        "himac show demo-20260301-101500 --boards step",
    )
)
@_run_argument
@click.option("--iteration", type=int, help="Only of this iteration.")
@click.option("--phase", type=click.Choice(PHASES), help="Only of this phase.")
@click.option("--kind", help="Only of this task type.")
@click.option("--index", type=int, help="Only of this task.")
@click.option("--success/--no-success", default=None, help="Only solved ones, or only the others.")
@click.option("--stop", help="Only those that ended so: success, max_steps, ...")
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Pass over so many.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="Show so many.")
@click.option(
    "--boards",
    type=click.Choice(["start", "subgoal", "step", "none"]),
    default="subgoal",
    show_default=True,
    help="Draw the world at the start, also after each sub-goal, or after each step.",
)
@_import_option
def show(name: str, skip: int, count: int, boards: str, import_world: bool, **filters: Any) -> None:
    """Print episodes of a run, readably."""
    from himac.cli.streams import screen
    from himac.report.boards import Boards
    from himac.report.query import EpisodeFilter, find_episodes
    from himac.report.show import show_episode
    from himac.runs.folder import find_run, read_images
    from himac.runs.rows import Broken
    from himac.types import StopReason

    stops, stop = [reason.value for reason in StopReason], filters["stop"]
    if stop is not None and stop not in stops:
        raise ConfigError(f"--stop must be one of {', '.join(stops)}, got {stop!r}{closest(stop, stops)}")
    wanted = EpisodeFilter(**filters)
    out, shown, folder = screen(), 0, find_run(name)
    album = read_images(folder)
    broken, worlds = Broken(), Boards(folder, imports=import_world)
    for row in find_episodes(folder, wanted, skip=skip, count=count, broken=broken):
        show_episode(row, out, album, worlds.of(row) if boards != "none" else None, boards=boards)
        shown += 1
    worlds.close()
    tell_broken(broken)
    if not shown:
        out.print("no episode matches", markup=False)


@click.command(epilog=examples("himac watch demo-20260301-101500"))
@_run_argument
@click.option("--once", is_flag=True, help="Draw once and stop.")
def watch(name: str, once: bool) -> None:
    """Follow a live run."""
    from himac.cli.streams import screen
    from himac.report.watch import watch_run
    from himac.runs.folder import find_run

    watch_run(find_run(name), screen(), once=once)


@click.command(epilog=examples("himac plot run-a run-b --out curves.png"))
@_runs_argument
@click.option(
    "--out", metavar="FILE", default="", help="Name without ending; left out: curves in the first run."
)
def plot(runs: tuple[str, ...], out: str) -> None:
    """Draw learning curves as PNG and SVG.

    Of one run, of several, or of all in a folder, as himac compare makes it.
    """
    from himac.report.curves import plot_runs
    from himac.runs.rows import Broken

    folders = _folders(runs)
    holder = _holder(runs, folders)  # where `himac compare` has curves of its own
    standard = holder / "seeds" if holder else folders[0] / "curves"
    stem = Path(out).with_suffix("") if out else standard
    broken = Broken()
    for path in plot_runs(folders, stem, broken):
        print(path)
    tell_broken(broken)
