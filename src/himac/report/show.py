"""`himac show`: an episode in the terminal, as the page tells it.

What the model wrote is printed as plain text (markup is off and control characters are shown), so it
cannot write to the terminal what the reader would take for ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from himac.images import Album, parts
from himac.report.boards import Replay
from himac.report.pictures import print_told, show_picture
from himac.report.query import subgoal_status
from himac.report.reading import mean_advantage
from himac.report.terminal import draw_board, legend_of, says_more
from himac.text import clean
from himac.types import Row

_STYLES = {
    "done": "green",
    "solved here": "bold green",
    "forced": "yellow",
    "ended here": "red",
    "never reached": "dim",
}
_SIGNS = {"done": "✓", "solved here": "★", "forced": "»", "ended here": "✗", "never reached": "·"}


def show_episode(
    row: Row,
    out: Console,
    album: Album | None = None,
    replay: Replay | None = None,
    *,
    boards: str = "subgoal",
) -> None:
    """Print one row of episodes.jsonl.

    Args:
        row: the episode.
        out: where to.
        album: the run's pictures.
        replay: its boards, or why there are none.
        boards: when they are drawn: at the "start", also after each "subgoal", or also after each "step"; "none" is never.
    """
    album = album or Album()
    task, verdict = row["task"], "success" if row["success"] else clean(row["stop"]).replace("_", " ")
    title = Text.assemble(
        (f"{'✓' if row['success'] else '✗'} {verdict}", "bold green" if row["success"] else "bold red"),
        clean(f"  {task['env']} {row.get('split', task['split'])} {task['index']}"),
        (
            f"  iteration {row['iteration']}, {clean(row['phase'])}, group {row['group']}, attempt {row['replica'] + 1}",
            "dim",
        ),
    )
    out.rule(title, align="left", style="dim")
    advantage = mean_advantage(row)
    facts = [f"return {row['env_return'] - row['penalty']:.2f}", f"steps {row['env_steps']}"]
    facts += [f"calls {row['calls']}", f"tokens {row['tokens']}"]
    facts += [f"advantage {advantage:+.3f}"] if advantage is not None else []
    out.print(Text(" · ".join([*facts, *(["z*"] if row["chosen"] else [])]), style="dim"))
    drawn = iter(replay.boards if replay and boards != "none" else ())
    start = next(drawn, "")
    if not start or says_more(row["instruction"], start):
        print_told(clean(row["instruction"]), album, out)
    if start:
        out.print()
        draw_board(start, out)
        if legend := legend_of(start):
            out.print(Text(legend, style="dim"))
    elif replay and replay.why:
        out.print(Text(f"no board: {clean(replay.why)}", style="dim"))
    _show_blueprint(row, out)
    for segment in row["segments"]:
        _show_segment(segment, out, album, drawn, boards)
    if row["error"]:
        out.print(Text(clean(row["error"]), style="red"))


def _show_blueprint(row: Row, out: Console) -> None:
    if not row["blueprint"]:
        return
    note = " (could not be read: the task itself)" if row["blueprint"]["malformed"] else ""
    out.print(Text(f"\nblueprint{note}", style="bold"))
    for number, (subgoal, status) in enumerate(subgoal_status(row), 1):
        head = (f"  {_SIGNS[status]} {status:<13} ", _STYLES[status])
        out.print(Text.assemble(head, f"{number}. {clean(subgoal)}"))


def _show_segment(segment: Row, out: Console, album: Album, drawn: Iterator[str], when: str) -> None:
    """Print one sub-goal's turns; `drawn` gives the board after each action, `when` says which are printed."""
    out.print(Text(f"\n{clean(segment['subgoal']) or 'the task'}", style="bold"))
    board = ""
    for turn in segment["turns"]:
        board = next(drawn, "") if turn["action"] is not None else board
        said = clean(turn["text"]).strip()
        flaws = [name for name in ("readable", "admissible") if not turn[name]]
        line = Text(said)
        if turn["action"] is not None:
            line.append(f"   {turn['reward']:+.2f}", style="dim")
        line.append("".join(f"  [not {name}]" for name in flaws), style="yellow")
        if turn.get("penalty"):
            line.append(f"  penalty {turn['penalty']:.2f}", style="yellow")
        _indented(line, out, mark="> ")
        if board and when == "step" and turn["action"] is not None:
            draw_board(board, out, indent=4)
        if turn["observation"] and says_more(turn["observation"], board if when == "step" else ""):
            for words, name in parts(clean(turn["observation"]).strip()):
                if words:
                    _indented(Text(words, style="dim"), out)
                if name:
                    show_picture(name, album, out, indent=4)
    if board and when == "subgoal":
        out.print()
        draw_board(board, out, indent=4)


def _indented(text: Text, out: Console, *, mark: str = "") -> None:
    """Print text whose every line, wrapped ones too, stands four columns in; a mark stands before the first."""
    for number, line in enumerate(text.wrap(out, max(out.width - 4, 20))):
        line.rstrip()
        out.print(Text.assemble((f"{mark if number == 0 else '':>4}", "dim"), line))
