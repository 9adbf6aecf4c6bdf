"""What the site needs beyond mkdocs: files outside docs/ that pages link to, and formulas without a script.

A page links to `../src/himac/types.py` because that is right on a code host. Here each such file becomes a page of its own (code
with line numbers, Markdown as it is) or, if it is a picture or data, a copy. Formulas become MathML when the site is built,
so a page fetches nothing to show them.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
_OUTSIDE = re.compile(r"\]\(((?:\.\./)+)([\w./-]+)(#[\w-]+)?\)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
_TEST = re.compile(r"<code>test_\w+</code>")
_LANGUAGES = {".py": "python", ".toml": "toml", ".js": "javascript", ".md": ""}
_HIDE = {  # what a page does without: the first one navigates itself, wide tables want the room
    "index.md": ["navigation", "toc"],
    "others.md": ["toc"],
    "paper.md": ["toc"],
    "config.md": ["toc"],
}
_AS_THEY_ARE = {".png", ".svg", ".json", ".txt"}


def on_files(files: Files, *, config: Any) -> Files:
    """Add every file outside docs/ that a page links to."""
    wanted: set[str] = set()
    waiting = [f.content_string for f in files.documentation_pages()]
    for text in waiting:
        for up, path, _ in _OUTSIDE.findall(text):
            if up == "../" and (ROOT / path).is_file() and not path.startswith("docs/"):
                wanted.add(path)
    for path in sorted(wanted):
        files.append(_added(path, config))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Point links out of docs/ at the pages and copies that `on_files` added."""
    if page.file.src_uri in _HIDE:
        page.meta["hide"] = _HIDE[page.file.src_uri]
    if page.file.src_uri.startswith("files/"):
        return markdown
    here = page.file.src_uri.count("/")

    def target(link: re.Match[str]) -> str:
        up, path, anchor = link.groups()
        if len(up) != 3 * (here + 1):
            return link[0]
        if path.startswith("docs/"):
            return f"]({'../' * here}{path.removeprefix('docs/')}{anchor or ''})"
        return f"]({'../' * here}{_uri(path)}{anchor or ''})"

    return _OUTSIDE.sub(target, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML, and let the long names of tests break."""

    def formula(found: re.Match[str]) -> str:
        display = "inline" if found[2] == "(" else "block"
        drawn = convert(html.unescape(found[3]), display=display)
        return drawn if display == "inline" else f'<span class="formula">{drawn}</span>'

    breakable = _TEST.sub(lambda found: found[0].replace("_", "_<wbr>"), content)
    return _FORMULA.sub(formula, breakable)


def _uri(path: str) -> str:
    """Return where a file from outside docs/ stands in the site.

    >>> _uri("src/himac/types.py"), _uri("benchmarks/results/a.png")
    ('files/src/himac/types.py.md', 'files/benchmarks/results/a.png')
    """
    return f"files/{path}" if Path(path).suffix in _AS_THEY_ARE else f"files/{path}.md"


def _added(path: str, config: Any) -> File:
    """Return the site's file of a file of the repository."""
    source = ROOT / path
    if source.suffix in _AS_THEY_ARE:
        return File.generated(config, _uri(path), abs_src_path=str(source))
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".ipynb":
        text = _notebook(json.loads(text))
    elif source.suffix == ".md":
        text = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", text)  # its links are right where it stands
    else:
        fence = "`" * 4
        language = _LANGUAGES.get(source.suffix, "text")
        text = f'# {path}\n\n{fence} {{.{language} linenums="1"}}\n{text}{fence}\n'
    head = "---\nsearch:\n  exclude: true\nhide: [toc]\n---\n"
    return File.generated(config, _uri(path), content=head + text, inclusion=InclusionLevel.NOT_IN_NAV)


def _notebook(told: dict[str, Any]) -> str:
    """Return a notebook as Markdown, with what its cells printed and drew."""
    parts = []
    for cell in told["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream":
                parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
            elif "image/png" in output.get("data", {}):
                drawn = "".join(output["data"]["image/png"]).replace("\n", "")
                parts.append(f"![what the cell above draws](data:image/png;base64,{drawn})")
    return "\n\n".join(parts) + "\n"
