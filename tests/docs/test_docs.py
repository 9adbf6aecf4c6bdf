"""The documents tell the truth: their Python runs, their commands parse, their links and recipes exist."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

from himac.algo.base import Estimator
from himac.cli.given import split_recipe
from himac.cli.main import app, main
from himac.compare.comparison import read_comparison
from himac.config import load_config
from himac.errors import HimacError
from himac.plugins import KNOWN
from himac.recipes import names
from himac.train.checks import check, check_trainable

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "src" / "himac" / "recipes"
CONFIGS = sorted(RECIPES.glob("*.toml"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NEED_DATA = {
    "alfworld.md",
    "webshop.md",
    "adapters.md",
}  # their examples need official files, or libraries: compiled, not run
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PLACEHOLDERS = {"RUN", "RECIPE"}  # words that stand for what a reader has


def _is_plan(path: Path) -> bool:
    return path.name.startswith("compare-")


def _blocks(page: Path, *languages: str) -> list[str]:
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [body for language, body in found if language in languages]


def _commands(page: Path) -> list[str]:
    """Return every `himac ...` line of the page's shell blocks, continued lines joined."""
    lines: list[str] = []
    for block in _blocks(page, "console", "bash", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.strip().removeprefix("$ ").split(" | ")[-1].removeprefix(".venv/bin/")
            if words.startswith("himac "):
                lines.append(re.split(r"  #| > ", words)[0])
    return lines


def _ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if _blocks(p, "python")], ids=_ids)
def test_python_of_a_page_runs_from_top_to_bottom(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {"__name__": "a_page"}
    for number, block in enumerate(_blocks(page, "python"), 1):
        code = compile(block, f"{page.name}, block {number}", "exec")
        if page.name not in NEED_DATA:
            exec(code, names)


def test_the_pages_hold_commands_at_all() -> None:
    assert sum(len(_commands(page)) for page in PAGES) >= 15


@pytest.mark.parametrize("page", [p for p in PAGES if _commands(p)], ids=_ids)
def test_commands_of_a_page_parse_and_their_recipes_resolve(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for command in _commands(page):
        argv = shlex.split(command)[1:]
        if argv in (["--help"], ["--version"]):
            continue
        given = _parsed(argv)
        recipe, settings = split_recipe([word for word in given if "://" not in word])
        if argv[0] == "eval" or recipe in _PLACEHOLDERS:
            recipe = None
        if (
            recipe and not Path(recipe).is_file() and recipe not in names()
        ):  # said to be run from the folder of examples
            recipe = str(Path("examples", recipe))
        load_config(recipe, settings)  # unknown keys and absent recipes raise


def _parsed(argv: list[str]) -> list[str]:
    """Return a command's recipe and settings; UsageError where the verb does not take what it was given."""
    params = app.commands[argv[0]].make_context(argv[0], argv[1:]).params
    return list(params.get("words") or (params.get("given") if argv[0] == "eval" else None) or [])


def test_a_wrong_command_would_be_noticed() -> None:
    with pytest.raises(HimacError):
        load_config("no_such_recipe", [])
    with pytest.raises(HimacError):
        load_config(None, ["optimizer.learning_rate=1"])


@pytest.mark.parametrize("page", [ROOT / "docs" / "environments.md", ROOT / "docs" / "adapters.md"], ids=_ids)
def test_whole_recipes_of_a_page_parse(page: Path, tmp_path: Path) -> None:
    recipes = [block for block in _blocks(page, "toml") if "rules = " in block or "[sft]" in block]
    assert recipes
    for recipe in recipes:
        path = tmp_path / "recipe.toml"
        path.write_text(recipe, encoding="utf-8")
        assert load_config(path).env.name in (*KNOWN["envs"], "count_env:CountEnv")


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_recipes_and_links_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    recipes = set(re.findall(r"recipes/([\w./-]+\.toml)", text))
    missing = [name for name in recipes if not (RECIPES / name).is_file()]
    for link in _LINK.findall(_FENCE.sub("", text)):
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        path = (page.parent / target) if target else page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize("recipe", [p for p in CONFIGS if not _is_plan(p)], ids=_ids)
def test_every_shipped_recipe_parses(recipe: Path) -> None:
    check(load_config(recipe))


@pytest.mark.parametrize("plan", [p for p in CONFIGS if _is_plan(p)], ids=_ids)
def test_every_shipped_plan_holds_and_compares_with_himac(plan: Path) -> None:
    assert read_comparison(plan, check=check_trainable).reference == "himac"


def test_the_page_of_settings_is_up_to_date_and_tells_every_setting() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_config.py"), run_name="docs")
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == script["page"]()
    assert not re.search(r"\| *\|$", script["page"](), re.MULTILINE), "a setting without a meaning"


def test_the_page_of_results_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_results.py"), run_name="docs")
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert page == script["page"](), "run docs/make_results.py"
    assert page.index("None of these numbers was measured here") < page.index("92.1")


def _anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    heads = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "reference").glob("*.md")), ids=_ids)
def test_what_the_reference_documents_exists(page: Path) -> None:
    for name in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            path = ROOT / "src" / Path(*parts[:length])
            if (path / "__init__.py").is_file() or path.with_suffix(".py").is_file():
                break
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for leaf in parts[length:]:
            assert re.search(rf"\b{leaf}\b", source.read_text(encoding="utf-8")), (
                f"{name}: no {leaf} in {source}"
            )


def test_the_settings_that_a_recipe_changes_stand_in_the_page_as_they_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["config", "sokoban", "--diff"]) == 0
    assert f"```toml\n{capsys.readouterr().out}```" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_the_lock_holds_the_versions_that_are_tested() -> None:
    pins, locked = (
        dict(re.findall(r"^([\w.-]+)==([\w.+]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("constraints-cpu.txt", "requirements-lock.txt")
    )
    assert "torch" not in locked and {"transformers", "peft", "pytest", "setuptools"} <= locked.keys()
    assert {name: locked[name] for name in pins.keys() & locked.keys()} == {
        name: pins[name] for name in pins.keys() & locked.keys()
    }, "make lock"


def test_what_an_estimator_may_need_is_told_to_who_writes_one() -> None:
    needs = re.findall(r"^ +(needs_\w+) = ", Estimator.__doc__ or "", re.MULTILINE)
    page = (ROOT / "docs" / "custom.md").read_text(encoding="utf-8")
    assert len(needs) == 4 and [need for need in needs if f"- `{need}`: " not in page] == []
