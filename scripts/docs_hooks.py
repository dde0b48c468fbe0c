"""Hooks of mkdocs: pages of notebooks and of files outside docs, links to them, and the help of the commands."""

import pathlib
import posixpath
import re
import shutil
import subprocess
import sys
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "build" / "docs" / "tfx_pruning"
COMMANDS = ("init", "run", "sweep", "prune", "strip", "inspect", "report", "metadata")
# A link to a file: [text](path#heading).
_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def on_startup(command: str, dirty: bool) -> None:
    """Lays out the package under the name by which it is imported, before mkdocstrings looks for it."""
    del command, dirty
    shutil.rmtree(PACKAGE, ignore_errors=True)
    for folder, place in (("components", PACKAGE), ("pipelines", PACKAGE / "pipelines")):
        shutil.copytree(ROOT / folder, place, ignore=shutil.ignore_patterns("__pycache__"))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the notebooks of docs, and the files that pages link to, from page to page."""
    for notebook in sorted((ROOT / "docs").glob("*.ipynb")):
        files.append(File.generated(config, f"{notebook.stem}.md", content=_markdown(notebook)))
    coming = {f"docs/{file.src_uri}" for file in files.documentation_pages() if not file.generated_by}
    seen = set(coming)
    while coming:
        place = coming.pop()
        text = _CODE.sub("", (ROOT / place).read_text(encoding="utf-8"))
        for _, link, _ in _LINK.findall(text):
            target = _target(place, link)
            if target.startswith("docs/") or target in seen or not (ROOT / target).is_file():
                continue
            seen.add(target)
            if target.endswith(".md"):
                coming.add(target)
            files.append(File.generated(config, _page(target), content=_content(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to files into links to their pages, and puts in the help of the commands."""
    del config, files
    uri = page.file.src_uri
    in_docs = not page.file.generated_by or (ROOT / "docs" / uri).with_suffix(".ipynb").is_file()
    place = f"docs/{uri}" if in_docs else uri

    def follow(match: re.Match[str]) -> str:
        target = _target(place, match[2])
        if not (ROOT / target).is_file():
            return match[0]
        return match[1] + posixpath.relpath(_page(target), posixpath.dirname(uri) or ".") + match[3]

    parts, end = [], 0
    for code in _CODE.finditer(markdown):
        parts += [_LINK.sub(follow, markdown[end : code.start()]), code[0]]
        end = code.end()
    markdown = "".join([*parts, _LINK.sub(follow, markdown[end:])])
    return markdown.replace("<!-- help -->", _help()) if "<!-- help -->" in markdown else markdown


def _target(place: str, link: str) -> str:
    """The file that a link leads to, from the repository's root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), link))


def _page(target: str) -> str:
    """Where the page of a file is, from the root of the site."""
    target = target.removeprefix("docs/")
    if target.endswith(".ipynb"):
        return f"{target.removesuffix('.ipynb')}.md"
    return target if pathlib.PurePosixPath(target).suffix in (".md", ".png") else f"{target}.md"


def _content(target: str) -> str:
    text = (ROOT / target).read_text(encoding="utf-8")
    if target.endswith(".md"):
        return text
    language = {".py": "python", ".sh": "bash", ".txt": "text"}.get(pathlib.PurePosixPath(target).suffix, "text")
    return f"# {target}\n\n````{language}\n{text}\n````\n"


def _markdown(notebook: pathlib.Path) -> str:
    """A notebook as a page: text, code, and what the code printed and drew."""
    parts = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        parts += filter(None, map(_shown, cell.outputs))
    return "\n\n".join(parts) + "\n"


def _shown(output: Any) -> str:
    """One output of a cell; empty if there is nothing to show."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    image = output.get("data", {}).get("image/png")
    return f'<img alt="" src="data:image/png;base64,{"".join(image.split())}">' if image else ""


def _help() -> str:
    texts = [f"## tfx-pruning\n\n```text\n{_output('tfx-pruning', '--help')}```\n"]
    texts += [f"## tfx-pruning {name}\n\n```text\n{_output('tfx-pruning', name, '--help')}```\n" for name in COMMANDS]
    texts.append(f"## strip_pruning_vars\n\n```text\n{_output('strip_pruning_vars', '--help')}```\n")
    return "\n".join(texts)


def _output(command: str, *arguments: str) -> str:
    path = pathlib.Path(sys.executable).with_name(command)
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=True).stdout
