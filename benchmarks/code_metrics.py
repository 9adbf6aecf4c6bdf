"""How long functions are, how many parameters they take, how often `Any` stands for a type: measured on src/himac.

    python benchmarks/code_metrics.py            print, and list what is over a limit; exit status 1 where anything is
    python benchmarks/code_metrics.py --save     also write results/code_metrics.json

Lines of a function are those from `def` to its end, docstring included. `self`, `cls`, *args and **kwargs are no
parameters. Blank lines count as lines of code nowhere.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from _machine import save

SOURCE = Path(__file__).resolve().parents[1] / "src" / "himac"
LIMITS = {
    "median_lines": 9,
    "p95_lines": 30,
    "longest": 60,
    "most_parameters": 8,
    "any_per_kloc": 5,
    "longest_file": 400,
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield every function and method."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def parameters(node: Function) -> int:
    """Return how many parameters a caller may give."""
    args = node.args
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return sum(arg.arg not in ("self", "cls") for arg in named)


def lines(node: Function) -> int:
    """Return a function's lines."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def count_any(tree: ast.AST) -> int:
    """Return how often the name `Any` is used, imports left out."""
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(tree))


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    found = [(path, node) for path, tree in trees.items() for node in functions(tree)]
    sizes = sorted(lines(node) for _, node in found)
    per_file = {path: text.count("\n") for path, text in texts.items()}
    anys = {path: count_any(tree) for path, tree in trees.items()}
    numbers = {
        "files": len(texts),
        "lines": sum(per_file.values()),
        "functions": len(found),
        "median_lines": statistics.median(sizes),
        "p95_lines": sizes[int(0.95 * (len(sizes) - 1))],
        "longest": sizes[-1],
        "most_parameters": max(parameters(node) for _, node in found),
        "any_per_kloc": round(1000 * sum(anys.values()) / sum(per_file.values()), 2),
        "longest_file": max(per_file.values()),
    }
    for name, value in numbers.items():
        limit = LIMITS.get(name)
        print(f"{name:16} {value:>8}" + (f"   at most {limit}" if limit is not None else ""))
    over = [
        f"{p.relative_to(SOURCE)}:{n.lineno} {n.name}: {lines(n)} lines"
        for p, n in found
        if lines(n) > LIMITS["longest"]
    ]
    over += [
        f"{p.relative_to(SOURCE)}:{n.lineno} {n.name}: {parameters(n)} parameters"
        for p, n in found
        if parameters(n) > LIMITS["most_parameters"]
    ]
    over += [
        f"{p.relative_to(SOURCE)}: {count} lines"
        for p, count in per_file.items()
        if count > LIMITS["longest_file"]
    ]
    if numbers["any_per_kloc"] > LIMITS["any_per_kloc"]:
        worst = sorted(anys, key=lambda path: -anys[path])[:12]
        over += [f"{path.relative_to(SOURCE)}: Any {anys[path]} times" for path in worst]
    print("\n".join(over))
    if args.save:
        save("code_metrics", numbers)
    sys.exit(any(numbers[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    main()
