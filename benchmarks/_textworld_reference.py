"""Play commands in the real TextWorld and report what it said. Runs in a Python that has `alfworld`.

TextWorld pins old packages, so it lives in an environment of its own; this file is one end of
the conversation, `Reference` the other. A line of JSON asks, {"file": game file, "plays": [[command, ...],
...]}, a line answers: {"plays": [[[observation, admissible, won], ...], ...], "load_s": ..., "reset_s": ...,
"step_s": ...} with CPU seconds summed over the plays, or {"error": text}.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Reference:
    """The real TextWorld in a process of its own.

    Args:
        python: a Python in which `import alfworld` works.
        memoised: remember TextWorld's translations, parsed rules and command texts instead of making them anew
            each time, which is several times faster and changes no result: they depend on nothing that changes.
    """

    def __init__(self, python: str, *, memoised: bool = False) -> None:
        self._process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), *(["memoised"] if memoised else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def play(self, file: Path, plays: list[list[str]]) -> dict[str, Any]:
        """Play some episodes of one game; the answer has "plays" or "error"."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"file": str(file), "plays": plays}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "the reference process ended; does it have alfworld?"}

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()  # unloading hundreds of planner libraries takes it minutes
        self._process.wait()


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the planner prints on stdout, which is for answers
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler

    remembered = _memoise() if "memoised" in sys.argv[1:] else {}
    infos = textworld.EnvInfos(admissible_commands=True, won=True)
    for line in sys.stdin:
        asked = json.loads(line)
        remembered.clear()
        try:
            begin = time.process_time()
            env = textworld.start(asked["file"], infos, wrappers=[AlfredDemangler()])
            answer = {"load_s": time.process_time() - begin} | _play(env, asked["plays"])
            env.close()
        except Exception as error:  # the other side decides what it means
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _memoise() -> dict[Any, Any]:
    """Wrap the functions that take most of TextWorld's time; returns their memory, to clear per game."""
    import fast_downward
    from textworld.envs.pddl import textgen
    from textworld.envs.pddl.textgen import ContextSensitiveGrammar
    from textworld.logic import Rule

    memory: dict[Any, Any] = {}
    translate, derive = fast_downward.pddl2sas, ContextSensitiveGrammar.derive

    def translated(domain: str, problem: str, verbose: bool = False, optimize: bool = False) -> Any:
        if "translation" not in memory:  # the optimised one serves planning alone, which nobody asks for here
            memory["translation"] = translate(domain, problem, verbose=verbose, optimize=False)
        return memory["translation"]

    def derived(self: Any, start: str, context: Any) -> str:
        if start.startswith("#") or "{" not in start:
            return derive(self, start, context)
        key = (start, *sorted((ph.name, var.name) for ph, var in context["mapping"].items()))
        if key not in memory:
            memory[key] = derive(self, start, context)
        return memory[key]

    parse, parse_query = textgen._parse_and_convert, functools.cache(Rule.parse_conjunctive_query)
    parsed = functools.cache(lambda text: parse(text, rule_name="symbols"))
    textgen._parse_and_convert = lambda text, rule_name, trace=False: copy.deepcopy(parsed(text))
    Rule.parse_conjunctive_query = classmethod(lambda _, text: parse_query(text))
    fast_downward.pddl2sas = translated
    ContextSensitiveGrammar.derive = derived
    return memory


def _play(env: Any, plays: list[list[str]]) -> dict[str, Any]:
    reset_s = step_s = 0.0
    told = []
    for commands in plays:
        begin = time.process_time()
        state = env.reset()
        reset_s += time.process_time() - begin
        turns = [[state.feedback, state.admissible_commands, state.won]]
        for command in commands:
            begin = time.process_time()
            state, _, _ = env.step(command)
            step_s += time.process_time() - begin
            turns.append([state.feedback, state.admissible_commands, state.won])
        told.append(turns)
    return {"plays": told, "reset_s": reset_s, "step_s": step_s}


if __name__ == "__main__":
    _serve()
