"""The command line: `himac VERB ... key=value ...`.

A verb is a function in a module of its own that imports what it needs when it runs, so `himac --help` loads no torch.
Results go to stdout, logs to stderr; a user's mistake is one line and a hint, exit status 2.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence

import click

from himac import __version__
from himac.cli import (
    browse,
    check,
    compare,
    config,
    data,
    doctor,
    evaluate,
    init,
    model,
    panel,
    play,
    report,
    streams,
    train,
)  # fmt: skip
from himac.errors import HimacError
from himac.files import drop, reason
from himac.text import clean

_GO_ON = {
    "train": "himac train --resume RUN goes on from the last checkpoint",
    "sft": "himac sft --resume RUN goes on",
    "eval": "the same command goes on where this one stopped",
    "compare": "the same command goes on where this one stopped",
}
_CALM = {
    "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads sleep: spinning ones starve a shared core
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class _InOrder(click.Group):
    """Lists the verbs in the order in which a user needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise BrokenPipeError from None  # click would end one that has a number with status 1


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nStart with:\n  himac train demo\n\n"
    'Tab completion: eval "$(_HIMAC_COMPLETE=bash_source himac)" (or zsh_source, fish_source).',
)
@click.version_option(__version__, message="himac %(version)s")
def app() -> None:
    """Train LLM agents that plan, then act."""


for _verb in (
    train.train, evaluate.evaluate, play.play, report.report, report.show, report.watch, report.plot, browse.runs,
    compare.compare, train.sft, model.model, browse.recipes, init.init, config.show_config, check.check, data.data,
    panel.panel, doctor.doctor,
):  # fmt: skip
    app.add_command(_verb)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    for key, value in _CALM.items():
        os.environ.setdefault(key, value)
    streams.make_fit()
    with streams.interruptible(to_the_end=argv is None):
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(words: list[str]) -> int:
    try:
        status = app.main(words, prog_name="himac", standalone_mode=False)
        sys.stdout.flush()  # a full disk behind a pipe says so here, not after the last word
        return status if isinstance(status, int) else 0
    except HimacError as error:
        return _refuse(str(error), error.hint)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "himac"
        return _refuse(error.format_message(), f"{path} --help shows what it takes")
    except (KeyboardInterrupt, click.Abort) as error:
        verb = words[0] if words else ""
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"himac: interrupted; {_GO_ON.get(verb, 'no partial files were left')}", file=sys.stderr)
        cause = error.__cause__ or error  # click has its own word for it
        return cause.status if isinstance(cause, streams.Ended) else 130
    except BrokenPipeError:  # whoever reads has seen enough
        drop("stdout")
        return 0
    except OSError as error:  # what no part of himac foresaw: still a fault of the system, not of the program
        drop("stdout")
        path = f"{error.filename!r}: " if error.filename else ""
        return _refuse(f"{path}{reason(error)}", "")
    except MemoryError:
        return _refuse("not enough memory", "himac train RECIPE --check says what a run needs")


def _refuse(message: str, hint: str) -> int:
    if os.environ.get("RANK", "0").strip("0"):
        # what all ranks refuse the first one says, and its end is theirs; what only this one met is said a moment later
        time.sleep(3)
    try:
        print(f"himac: {clean(message)}", file=sys.stderr)
        if hint:
            print(f"hint: {clean(hint)}", file=sys.stderr)
    except OSError:  # stderr is full or gone as well: the status says it
        drop("stderr")
    return 2


if __name__ == "__main__":
    sys.exit(main())
