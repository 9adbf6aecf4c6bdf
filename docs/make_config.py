"""Write docs/config.md from src/himac/config.py, so that the page cannot go stale.

    python docs/make_config.py            write the page
    python docs/make_config.py --check    exit 1 when the page on disk is not what would be written

The comment beside a field is its documentation; this reads it with the default, checks nothing else.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import himac.config as source
from himac.config import Config
from himac.toml import allowed, comments_of, write_value

PAGE = Path(__file__).with_name("config.md")

_PLAIN = {  # fields that need no comment in the code, but a meaning on the page
    "run.dir": "folder of all runs",
    "run.seed": "every other seed derives from it",
    "run.iterations": "published protocol",
    "model.gradient_checkpointing": "less memory, more time",
    "agent.max_subgoals": "longer blueprints are cut",
    "rollout.temperature": "of training; published protocol",
    "algo.entropy_coef": "bonus for entropy; the published protocol's is 0.001",
    "optimizer.weight_decay": "published protocol",
    "optimizer.grad_clip": "largest gradient norm; 0 does not clip; published protocol",
    "optimizer.betas": "AdamW's two",
    "sft.lr": "highest rate of a warm-up and cosine",
}

HEAD = """# Every setting

*Written by `docs/make_config.py` from `src/himac/config.py`; do not edit it here.*

A recipe is a sparse TOML laid over these defaults, and `section.key=value` words on the command line are laid
over the recipe:

```console
$ himac train sokoban optimizer.lr=5e-6 agent.context=full
$ himac config sokoban --diff
```

Values are TOML; what is not valid TOML is taken as a string. Some words are short for a dotted key: {short}.
Unknown keys, wrong types and values out of range are refused with one line that says what is allowed; a name of version 0.1.0 is refused with
today's. `himac config RECIPE` prints the resolved config. The same text is saved as `config.toml` in the run's folder and reads back to the
same settings. `himac config --schema` prints a JSON schema for editors.

Sources: *paper* is arXiv 2603.00977; *published protocol* is the setting of the agents it compares with
([design](design.md#the-published-protocol)); what names neither is our choice. [limits](limits.md) says what was not tested.
"""


ENV = """
Every other key of `[env]` goes to the environment, which refuses the ones it does not know: see
[environments](environments.md), [alfworld](alfworld.md), [webshop](webshop.md)."""
ENGINE = """
Every other key of `[engine]` goes to the engine, which refuses the ones it does not know. That of transformers takes
`max_kv_tokens`: most tokens whose keys and values are kept (0: what a quarter of the device's memory holds, at most 262,144)."""


def page() -> str:
    """Return the whole page."""
    short = ", ".join(f"`{word}` = `{key}`" for word, key in source.SHORT.items())
    parts = [HEAD.format(short=short)]
    for section in fields(Config):
        cls = getattr(source, str(section.type))
        parts.append(f"\n## [{section.name}]\n\n{cls.__doc__.strip()}\n")
        comments = comments_of(cls)
        hints = get_type_hints(cls, include_extras=True)
        parts.append("| key | default | allowed | meaning |\n|---|---|---|---|")
        default = cls()
        for f in fields(cls):
            if f.name == "settings":
                continue
            takes = _allowed(hints[f.name])
            given = getattr(default, f.name)
            value = "left out" if given is None else f"`{write_value(given)}`"
            meaning = comments.get(f.name, "").replace("|", "\\|") or _PLAIN[f"{section.name}.{f.name}"]
            parts.append(f"| `{f.name}` | {value} | {takes} | {meaning} |")
    for below, words in (("agent", ENV), ("algo", ENGINE)):
        at = next(i for i, part in enumerate(parts) if part.startswith(f"\n## [{below}]"))
        parts.insert(at, words)
    return "\n".join(parts) + "\n"


def _allowed(hint: Any) -> str:
    """Return what a key takes, in words."""
    if get_origin(hint) in (Union, UnionType):  # may be left out
        return " or ".join(_allowed(part) for part in get_args(hint) if part is not type(None))
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(kind) is Literal:
        return ", ".join(f'`"{word}"`' for word in get_args(kind))
    plain = {str: "text", int: "whole number", float: "number", bool: "true, false"}
    inside = [_allowed(part) for part in get_args(kind) if part is not Ellipsis]
    if get_origin(kind) is tuple:
        return f"list of {inside[0]}" if Ellipsis in get_args(kind) else f"list of {len(inside)}: {inside[0]}"
    words = plain.get(kind, "table")
    limits = allowed(hint)
    return f"{words}, {limits}" if limits else words


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        print("docs/config.md is up to date" if fresh else "docs/config.md is stale: run docs/make_config.py")
        sys.exit(not fresh)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
