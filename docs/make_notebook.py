"""Make examples/minimal.ipynb out of examples/minimal.py, so that the two cannot differ.

    python docs/make_notebook.py            write the notebook, executed (needs nbclient and ipykernel)
    python docs/make_notebook.py --check    exit 1 when its cells are not what the script would give

Each definition is a cell, with the first paragraph of its docstring above it. What the script does when it is run becomes the last cells, with a curve.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPT, NOTEBOOK = EXAMPLES / "minimal.py", EXAMPLES / "minimal.ipynb"

Cell = dict[str, Any]

OPENING = """# HiMAC in one file

*Made by `docs/make_notebook.py` from `examples/minimal.py`; edit that one. It needs himac and matplotlib, and takes seconds.*
"""
CURVE = """import matplotlib.pyplot as plt

plt.figure(figsize=(6, 3))
plt.plot(curve, marker="o", color="black")
plt.xlabel("iterations")
plt.ylabel("success in houses never seen")
plt.ylim(0, 1.02)
plt.grid(alpha=0.3)
plt.show()"""


def cells() -> list[Cell]:
    """Return the notebook's cells, without outputs."""
    text = SCRIPT.read_text(encoding="utf-8")
    lines, tree = text.splitlines(), ast.parse(text)
    said = ast.get_docstring(tree) or ""
    found = [_words(OPENING + "\n" + said.partition("\n\n")[2])]
    plain: list[str] = []
    for node in tree.body[1:]:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        source = "\n".join(lines[first - 1 : node.end_lineno])
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found += [_code("\n".join(plain)), *_defined(node, source)] if plain else _defined(node, source)
            plain = []
        elif isinstance(node, ast.If):  # if __name__ == "__main__"
            found += _run()
        elif not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            plain.append(source)
    return found


def _defined(node: ast.FunctionDef | ast.ClassDef, source: str) -> list[Cell]:
    first = (ast.get_docstring(node) or "").split("\n\n")[0]
    return [_words(f"**{node.name}**: {first}"), _code(source)]


def _run() -> list[Cell]:
    """Return what stands for the script's last block."""
    return [
        _words("## Run it\n\nThe executor has seen a few demonstrations, the planner nothing."),
        _code("curve, planner, executor = train(seed=0)"),
        _words("Success of the greedy planner and executor in houses that were never trained on:"),
        _code(CURVE),
        _words("The policy is a table, so what was learned can be read. The words on the right describe a choice."),
        _code(
            'for name, policy in (("planner", planner), ("executor", executor)):\n'
            '    print(f"\\nwhat the {name} has come to prefer")\n'
            "    for words, worth in sorted(policy.table.items(), key=lambda item: -item[1]):\n"
            "        print(f\"  {worth:+6.2f}  {', '.join(words)}\")"
        ),
    ]  # fmt: skip


def notebook(made: list[Cell]) -> dict[str, Any]:
    """Return a notebook of format 4.5 with these cells."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    numbered = [cell | {"id": f"cell-{place}"} for place, cell in enumerate(made)]
    return {"cells": numbered, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def executed(made: dict[str, Any]) -> dict[str, Any]:
    """Return the notebook with outputs."""
    import nbclient
    import nbformat

    done = nbformat.from_dict(made)
    nbclient.NotebookClient(done, timeout=300, kernel_name="python3").execute()
    for cell in done.cells:
        cell.metadata.pop("execution", None)  # times of this one execution
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return dict(json.loads(nbformat.writes(done)))


def _joined(outputs: list[Any]) -> list[Any]:
    """Join what was printed piece by piece."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def sources(told: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (kind, text) of each cell of a notebook, which may hold a text in lines."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in told["cells"]]


def _words(text: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": text.strip()}


def _code(text: str) -> Cell:
    return {
        "cell_type": "code",
        "metadata": {},
        "source": text.strip(),
        "outputs": [],
        "execution_count": None,
    }


if __name__ == "__main__":
    fresh = notebook(cells())
    if "--check" in sys.argv[1:]:
        held = json.loads(NOTEBOOK.read_text(encoding="utf-8")) if NOTEBOOK.is_file() else notebook([])
        same = sources(held) == sources(fresh)
        print(f"{NOTEBOOK.name} is {'up to date' if same else 'stale: run docs/make_notebook.py'}")
        sys.exit(not same)
    NOTEBOOK.write_text(json.dumps(executed(fresh), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {NOTEBOOK}")
