"""Damaged and hostile inputs: settings, recipes, models, worlds, run files, servers, consoles; one line for each."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from campaign.kills import says, server
from campaign.sections import Section, call, fault_of, inside
from himac.config import Config, load_config
from himac.toml import flat

HOSTILE = (
    "nan", "inf", "-inf", "-1", "0", "1e308", "9" * 5000, "[]", "[[[[1]]]]", "{a=1}", '""', '"\\u0000"', "true", "x" * 5000,
    "[nan]", "[inf, 1]", "[-1, -1]", "1979-05-27", "[1,2,3,4,5,6,7]", '"../../etc/passwd"', '"\\u001b[2J"', "'é😀'", "[" * 3000,
    "99999999999999", "=",
)  # fmt: skip
GREEDY = (
    "{{ 'a' * 10**10 }}", "{% set x = 'a' * 10000000000 %}", "{% set x = [0] * 9999999999 %}{{ x|length }}", "{{ 10 ** (10 ** 9) }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "{{ '%9999999999d' % 1 }}", "{{ 'a'.center(9999999999) }}",
    "{% set ns = namespace(x=99) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}", "{{ '{:>9999999999}'.format(1) }}", "{{ 'a'|center(9999999999) }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "{{ ('a' * 99999)|replace('a', 'a' * 99999) }}",
)  # fmt: skip
"""Chat templates that ask for more memory or time than a machine has."""


def settings(folder: Path, *, every: int) -> Section:
    """Every setting with every hostile value, as `himac config` and `himac train --dry-run` take them."""
    section = Section("settings with hostile values: a config or one line")
    keys = [
        *flat(asdict(Config())),
        "env.size",
        "env.levels",
        "env.train",
        "engine.max_kv_tokens",
        "nosuch.key",
        "run",
        "",
    ]
    words = [f"{key}={value}" for key in keys for value in HOSTILE][::every]
    for word in words:
        section.add(fault_of(["config", word]))
    return section


def recipes(folder: Path) -> Section:
    """Recipes that are none, and configs that must read back to themselves."""
    section = Section("damaged recipes: one line; odd ones read back")
    texts: dict[str, bytes] = {
        "empty": b"", "mark": b"\xef\xbb\xbf[run]\nseed = 3\n", "latin": b"[run]\nname = \"\xe9\"\n", "nul": b"\x00\x00",
        "cut": b"[run]\nname = \"a", "deep": b"[env]\na = " + b"[" * 5000, "tables": b"[" + b"a." * 3000 + b"a]\n",
        "number": b"[run]\nseed = " + b"9" * 6000, "settings": b"[env]\nsettings = 3\n", "list": b"run = [1]\n", "twice": b"[run]\n[run]\n",
        "nan": b"[optimizer]\nlr = nan\n", "far": b"[env]\nname = \"toy\"\ndoors = [inf]\n", "crlf": b"[run]\r\nseed = 1\r\n",
        "unknown": b"[rnu]\nseed = 1\n", "binary": bytes(range(256)), "escape": b"[run]\nname = \"\\u001b[2J\"\n",
    }  # fmt: skip
    for name, text in texts.items():
        path = folder / f"{name}.toml"
        path.write_bytes(text)
        for verb in (["config"], ["train", "--dry-run"], ["compare", "--dry-run"]):
            section.add(fault_of([*verb, str(path)]))
    section.add(fault_of(["config", str(folder)]))
    for word in (
        "env.d=1979-05-27",
        "env.a={b=1}",
        "env.x y=1",
        'env.s="a\\nb"',
        "env.l=[[1],[2]]",
        "env.f=1e300",
    ):
        status, out, _, _ = call(["config", "env=toy", word])
        path = folder / "again.toml"
        path.write_text(out or "x", encoding="utf-8")
        try:
            same = status == 2 or load_config(path) == load_config(None, ["env=toy", word])
        except ValueError as error:
            same = False
            print(error, file=sys.stderr)
        section.add("" if same else f"{word} does not read back")
    return section


def models(folder: Path) -> Section:
    """Model folders that are cut, empty, of other shapes, pickles, pointers, with templates that are none."""
    from himac.models.tiny import TinyShape, build_tiny

    section = Section("damaged model folders: one line, nothing executed")
    good, pwned = folder / "good", folder / "pwned"
    build_tiny(good, ["go east"], TinyShape(hidden=32, layers=1, heads=1, kv_heads=1), vocab=400)
    evil = (
        f'class E:\n def __reduce__(self): import os; return os.system, ("touch {pwned}",)\nimport pickle\n'
    )

    def change(name: str, text: bytes) -> Callable[[Path], object]:
        return lambda home: (home / name).write_bytes(text)

    def settings_of(**given: object) -> Callable[[Path], object]:
        def edit(home: Path) -> None:
            held = json.loads((home / "config.json").read_text())
            (home / "config.json").write_text(json.dumps(held | given))

        return edit

    def pickled(home: Path) -> None:
        space: dict[str, object] = {}
        exec(evil, space)
        (home / "pytorch_model.bin").write_bytes(space["pickle"].dumps(space["E"]()))  # type: ignore[attr-defined]
        (home / "model.safetensors").unlink()

    weights = (good / "model.safetensors").read_bytes()
    damages: dict[str, Callable[[Path], object]] = {
        "no weights": lambda home: (home / "model.safetensors").unlink(), "weights cut": change("model.safetensors", weights[:5000]),
        "weights empty": change("model.safetensors", b""), "weights garbage": change("model.safetensors", b"\xff" * 4000),
        "weights header huge": change("model.safetensors", b"\xff" * 7 + b"\x00" + weights), "pickle": pickled,
        "lfs": change("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "config empty": change("config.json", b""), "config list": change("config.json", b"[]"), "config deep": change("config.json", b"[" * 100_000),
        "config binary": change("config.json", bytes(range(256))), "hidden": settings_of(hidden_size=64), "layers": settings_of(num_hidden_layers=3),
        "no heads": settings_of(num_attention_heads=0), "words": settings_of(hidden_size="x"), "type": settings_of(model_type="nosuch"),
        "vocabulary": settings_of(vocab_size=3), "remote code": settings_of(auto_map={"AutoConfig": "evil.E", "AutoModelForCausalLM": "evil.E"}, model_type="evil"),
        "no tokenizer": lambda home: (home / "tokenizer.json").unlink(), "tokenizer cut": change("tokenizer.json", b'{"version": "1.0", "mod'),
        "tokenizer list": change("tokenizer.json", b"[]"), "adapter damaged": change("adapter_config.json", b"{"),
        "adapter without base": change("adapter_config.json", b'{"peft_type": "LORA"}'),
        "adapter of nothing": change("adapter_config.json", b'{"peft_type": "LORA", "base_model_name_or_path": "./nosuch"}'),
        "template broken": change("chat_template.jinja", b"{% for m in messages %}"), "template empty": change("chat_template.jinja", b""),
        "template undefined": change("chat_template.jinja", b"{{ nosuch.field.deeper }}"), "template raises": change("chat_template.jinja", b"{{ raise_exception('no') }}"),
        "template breaks out": change("chat_template.jinja", b"{{ cycler.__init__.__globals__.os.system('touch " + str(pwned).encode() + b"') }}"),
        "template without system": change("chat_template.jinja", b"{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"),
        "template recursion": change("chat_template.jinja", b"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
        **{f"template grows {n}": change("chat_template.jinja", text.encode()) for n, text in enumerate(GREEDY)},
    }  # fmt: skip
    for name, damage in damages.items():
        home = folder / name.replace(" ", "-")
        shutil.copytree(good, home)
        damage(home)
        if name == "remote code":
            (home / "evil.py").write_text(f"open({str(pwned)!r}, 'w')\n")
        words = [
            "env=toy",
            "eval.tasks=1",
            "agent.max_steps=1",
            "agent.think=false",
            f"run.dir={folder / 'runs'}",
        ]
        for verb in (["eval", str(home), *words], ["model", "check", str(home)]):
            section.add(fault_of(verb))
        section.add("something was executed" if pwned.exists() else "")
    return section


def worlds(folder: Path) -> Section:
    """Levels, games and catalogues as they come."""
    section = Section("damaged levels, games and catalogues: one line or a world")
    board = "#####\n#@$.#\n#####\n"
    levels: dict[str, bytes] = {
        "mark.txt": b"\xef\xbb\xbf" + board.encode(), "title.xsb": f"Level #1\n\n{board}Title: one\nAuthor: me\n\n{board}".encode(), "crlf.TXT": board.replace("\n", "\r\n").encode(),
        "empty.txt": b"", "nothing.txt": b"hello\nworld\n", "latin.txt": b"\xff\xfe#####", "two.txt": b"######\n#@@$.#\n######\n", "open.txt": b"#####\n#@$.\n#####\n",
        "wide.txt": b"#" * 5000 + b"\n" + b"#@$." + b" " * 4995 + b"#\n" + b"#" * 5000, "tall.txt": b"#\n" * 100_000, "line.txt": b"#" * 1_000_000, "symbol.txt": b"#####\n#@$Z#\n#####\n",
    }  # fmt: skip
    for name, data in levels.items():
        (folder / name).write_bytes(data)
        section.add(fault_of(["check", "env=sokoban", f"env.levels={folder / name}"]))
    section.add(fault_of(["check", "env=sokoban", f"env.levels={folder / 'nosuch'}"], allowed=(2,)))
    for word in (
        "env.size=[5000,5000]",
        "env.train=99999999999999",
        "env.levels=5",
        "env.boxes=40",
        "env.size=[6]",
    ):
        section.add(fault_of(["check", "env=sokoban", word], allowed=(2,)))
    games: dict[str, bytes] = {
        "deep": b"[" * 100_000, "cut": b'{"pddl_domain": "x', "list": b"[]", "types": b'{"pddl_domain": 1, "grammar": [], "pddl_problem": null}', "empty": b"", "binary": bytes(range(256)),
        "pddl": json.dumps({"pddl_domain": "(" * 50_000, "grammar": "x", "pddl_problem": ")"}).encode(),
    }  # fmt: skip
    for name, data in games.items():
        home = folder / "games" / name / "train" / "pick_and_place_simple-x" / "trial"
        home.mkdir(parents=True)
        (home / "game.tw-pddl").write_bytes(data)
        section.add(fault_of(["check", "env=alfworld", f"env.path={folder / 'games' / name}"], allowed=(2,)))
    product = {
        "asin": "B000000001", "name": "Red shoe", "category": "fashion", "query": "shoes", "product_category": "A", "pricing": "$10.00",
        "small_description": ["x"], "full_description": "d", "customization_options": {},
    }  # fmt: skip
    goals = {
        "B000000001": {
            "attributes": ["red"],
            "instruction": "Find me a red shoe",
            "instruction_attributes": ["red"],
        }
    }
    shops: dict[str, tuple[bytes, bytes]] = {
        "good": (json.dumps([product]).encode(), json.dumps(goals).encode()), "empty": (b"", b""), "lists": (b"[]", b"{}"), "no goals": (json.dumps([product]).encode(), b"{}"),
        "cut": (json.dumps([product]).encode()[:80], json.dumps(goals).encode()[:40]), "types": (b'[{"asin": 5, "name": [1]}]', b'{"a": 1}'), "deep": (b"[" * 50_000, b"{}"),
        "number": (b'[{"asin": ' + b"9" * 6000 + b"}]", b"{}"), "binary": (bytes(range(256)), bytes(range(256))),
        "options": (json.dumps([product | {"customization_options": {f"o{i}": [{"value": "a"}, {"value": "b"}] for i in range(3000)}}]).encode(), json.dumps(goals).encode()),
        "odd options": (json.dumps([product | {"customization_options": {"c": [{"value": v} for v in ("[x] y", "a\nb", "", "\x1b[2J")]}}]).encode(), json.dumps(goals).encode()),
    }  # fmt: skip
    os.environ["HIMAC_CACHE"] = str(folder / "cache")
    for name, (items, instructions) in shops.items():
        home = folder / "shops" / name.replace(" ", "-")
        home.mkdir(parents=True)
        (home / "i.json").write_bytes(items)
        (home / "n.json").write_bytes(instructions)
        section.add(
            fault_of(
                [
                    "check",
                    "env=webshop",
                    f"env.items={home / 'i.json'}",
                    f"env.instructions={home / 'n.json'}",
                ]
            )
        )
    return section


def readers(folder: Path, *, every: int) -> Section:
    """Every verb that reads runs, on runs whose files are damaged in every way."""
    from himac.rollout.evaluate import evaluate  # noqa: F401 - torch is loaded once, before the clock

    section = Section("damaged run files: the good rows are shown, the others counted")
    good = folder / "good"
    words = [
        "env=toy", "env.doors=1", "env.val=20", "model=tiny", "model.tiny=[32,1,400]", "agent.think=false", "sft.demonstrations=8", "sft.batch=8", "run.iterations=2", "rollout.tasks=2",
        "rollout.group_size=2", "rollout.executor_group_size=2", "agent.max_steps=3", "agent.planner_tokens=24", "agent.executor_tokens=8", "eval.every=1", "eval.tasks=2",
        "eval.final=val", f"run.dir={folder}", "run.name=good",
    ]  # fmt: skip
    if fault := fault_of(["train", *words], allowed=(0,)):
        section.add(fault)
        return section
    first = (good / "episodes.jsonl").read_bytes().splitlines()[0]
    row = json.loads(first)
    lines: dict[str, bytes] = {
        "cut": first[:200], "not UTF-8": b"\xff\xfe\xff", "deep": b"[" * 100_000, "number": b'{"iteration": ' + b"9" * 6000 + b"}", "list": b"[1]", "empty": b"{}",
        "nul": b"\x00" * 300, **{f"{key} is {bad}": json.dumps(row | {key: bad}).encode() for key in ("segments", "contexts", "task", "advantages", "blueprint", "success", "iteration", "stop") for bad in (None, "x", [1], -1) if not (key in ("advantages", "blueprint") and bad is None)},
        "half a pair": json.dumps(row | {"instruction": "\ud800"}).encode(), "escape": json.dumps(row | {"instruction": "\x1b]0;PWN\x07\x1b[2J<b>"}).encode(),
    }  # fmt: skip
    told = json.loads((good / "metrics.jsonl").read_bytes().splitlines()[-1])
    metrics: dict[str, bytes] = {
        "cut": b'{"iteration": 1, "ph', "deep": b"[" * 100_000, **{f"{key} is {bad}": json.dumps(told | {key: bad}).encode() for key in ("phase", "success", "iteration", "split", "episodes") for bad in (None, "\x1b[2J", [1], -1)},
        "no phase": b'{"iteration": 1}',
    }  # fmt: skip
    damages: list[tuple[str, str, bytes, bool]] = [
        *(("episodes.jsonl", name, line, True) for name, line in lines.items()), *(("metrics.jsonl", name, line, True) for name, line in metrics.items()),
        *((name, "binary", bytes(range(256)), False) for name in ("config.toml", "machine.json", "start/tokenizer.json", "metrics.jsonl", "episodes.jsonl")),
        *((name, "empty", b"", False) for name in ("config.toml", "machine.json", "start/tokenizer.json", "metrics.jsonl", "episodes.jsonl")),
        *((name, "deep", b"[" * 100_000, False) for name in ("config.toml", "machine.json", "start/tokenizer.json")),
    ]  # fmt: skip
    for name, what, data, in_the_middle in damages[::every]:
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(good, run)
        path = run / name
        held = path.read_bytes().splitlines(keepends=True) if in_the_middle else []
        path.write_bytes(b"".join([*held[:2], data, b"\n", *held[2:]]) if in_the_middle else data)
        for verb in (
            ["report", "--out", str(folder / "page.html")],
            ["show"],
            ["plot", "--out", str(folder / "curves")],
            ["watch", "--once"],
        ):
            fault = fault_of([verb[0], str(run), *verb[1:]])
            section.add(f"{name}, {what}: {fault}" if fault else "")
        fault = fault_of(["compare", str(run), str(good), "--out", str(folder / "compared")])
        section.add(f"{name}, {what}: {fault}" if fault else "")
    return section


def endpoints(folder: Path) -> Section:
    """Servers that fail in every known way: one line, or an episode's own error; never the key."""
    section = Section("broken servers: one line, no key told")
    key = "sk-Zq7Xw0123456789"
    os.environ["OPENAI_API_KEY"] = key
    jsonish = {"content-type": "application/json"}

    def error(status: int, message: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return status, {**jsonish, **headers}, json.dumps({"error": {"message": message}}).encode()

    answers: dict[str, tuple[int, dict[str, str], bytes]] = {
        **{f"status {n}": error(n, f"no {key} \x1b]0;PWN\x07") for n in (400, 401, 403, 404, 409, 413, 418, 422, 429, 500, 502, 503, 504, 529)},
        **{f"redirect {n}": (n, {"location": "http://elsewhere.invalid/v1"}, b"") for n in (301, 302, 307, 308)},
        "wait long": error(429, "slow", **{"retry-after": "9999"}), "no body": (200, jsonish, b""), "html": (200, {"content-type": "text/html"}, b"<html>hi</html>"),
        "list": (200, jsonish, b"[]"), "null": (200, jsonish, b"null"), "deep": (200, jsonish, b"[" * 200_000), "binary": (200, jsonish, bytes(range(256))),
        "no choices": (200, jsonish, b'{"choices": []}'), "choices null": (200, jsonish, b'{"choices": null}'), "message null": (200, jsonish, b'{"choices": [{"message": null}]}'),
        "content number": says(5), "content list": says([1, {"type": "text"}, {"text": 5}]), "content null": says(None), "thought": says(None, reasoning_content="hm"), "refusal": says(None, refusal="no"),
        "echo": says(f"<action>{key}</action>"), "half a pair": says("\ud800<action>go\ud800</action>"), "escape": says("<action>\x1b[2J</action>"), "large": says("x" * 3_000_000),
        "usage null": (200, jsonish, says("x")[2].replace(b'"usage": {', b'"usage": null, "u": {')), "usage negative": (200, jsonish, says("x")[2].replace(b'"prompt_tokens": 10', b'"prompt_tokens": -5')),
        "usage words": (200, jsonish, says("x")[2].replace(b'"prompt_tokens": 10', b'"prompt_tokens": "x"')),
    }  # fmt: skip
    for number, (name, answer) in enumerate(answers.items()):
        with server(lambda body, answer=answer: answer) as url:  # type: ignore[misc]
            words = [
                "eval",
                f"{url}#m",
                "env=toy",
                "split=val",
                "eval.tasks=2",
                "agent.max_steps=2",
                "endpoint.retries=1",
                "endpoint.timeout_s=5",
            ]
            fault = fault_of([*words, f"run.dir={folder}", f"run.name=e{number}"])
            said = "".join(call([*words, f"run.dir={folder}", f"run.name=e{number}"])[1:3])
        kept = "".join(
            p.read_text(errors="replace") for p in (folder / f"e{number}").rglob("*") if p.is_file()
        )
        fault = fault or (
            "the key is told" if any(key[i : i + 8] in said + kept for i in range(len(key) - 7)) else ""
        )
        section.add(f"{name}: {fault}" if fault else "")
    for address in (
        "http://[::1/v1#m",
        "http://127.0.0.1:abc/v1#m",
        "http://127.0.0.1:9/v1#m",
        "http://user:pw@h/v1#m",
        "localhost:8000/v1#m",
        "http://#m",
    ):
        section.add(
            fault_of(
                ["eval", address, "env=toy", "eval.tasks=1", "endpoint.retries=0", f"run.dir={folder}"],
                allowed=(2,),
            )
        )
    return section


def streams(folder: Path, *, every: int) -> Section:
    """Consoles of other encodings, closed and full outputs, readers that leave early: no traceback."""
    section = Section("odd consoles: no traceback")
    words = ["env=toy", "env.doors=1", "model=tiny", "model.tiny=[32,1,400]", "agent.think=false", "sft.demonstrations=8", "sft.batch=8", "run.iterations=1", "rollout.tasks=1",
             "rollout.group_size=2", "rollout.executor_group_size=2", "agent.max_steps=2", "eval.every=0", "run.name=r"]  # fmt: skip
    with inside(folder):
        if fault := fault_of(["train", *words], allowed=(0,)):
            section.add(fault)
            return section
        himac = f"{sys.executable} -m himac"
        odds = (
            "LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii", "PYTHONIOENCODING=latin-1", "PYTHONIOENCODING=cp1252", "NO_COLOR=1", "TERM=dumb", "COLUMNS=1", "",
        )  # fmt: skip
        verbs = (
            "show r", "watch r --once", "compare r r", "play env=sokoban </dev/null", "play env=sokoban <&-", "show r | head -1", "show r >/dev/full", "--help | head -1",
            "config >/dev/full", "show r >&-", "show r 2>&-", "nosuch 2>/dev/full", "watch r --once >&- 2>&-",
        )  # fmt: skip
        for odd, verb in list(itertools.product(odds, verbs))[::every]:
            command = f"set -o pipefail; {odd} {himac} {verb}"
            done = subprocess.run(
                ["bash", "-c", command], capture_output=True, text=True, errors="replace", check=False
            )
            told = done.stdout + done.stderr
            bad = "Traceback" in told or "Exception ignored" in told or done.returncode not in (0, 2)
            section.add(f"{odd} {verb}: status {done.returncode}: {told.strip()[-200:]}" if bad else "")
    return section
