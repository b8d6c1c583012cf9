"""A hook of MkDocs for ``make docs``: the pages that do not lie in docs/.

README.md, CONTRIBUTING.md and CHANGELOG.md lie at the top of the repository, where people and
hosting sites look for them; their links are made to fit. The API reference has a page for each
package, written from its docstrings: a new module is there without being listed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "plugins" / "sendit"
#: Pages by the file at the top of the repository that they show.
TOP: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
#: Packages with a page of their own; ``sendit`` is for the single modules beside them.
PUBLIC: Final = (
    "sendit",
    "pipeline",
    "deidentify",
    "recipe",
    "dicom",
    "pixels",
    "vendors",
    "gate",
    "identifiers",
    "ledger",
    "delivery",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    for source, page in TOP.items():
        content = links_from_docs((ROOT / source).read_text())
        files.append(File.generated(config, page, content=content))
    for name in PUBLIC:
        files.append(File.generated(config, f"api/{name}.md", content=api_page(name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links out of docs/ lead to the pages that are made."""
    return markdown if page.file.src_uri in TOP.values() else links_out_of_docs(markdown)


def links_out_of_docs(markdown: str) -> str:
    """Return a page whose links to the repository's top lead to the pages that are made; other
    links out of docs/, such as to code, become text."""
    for source, target in TOP.items():
        markdown = markdown.replace(f"](../{source}", f"]({target}")
    return re.sub(
        r"(?<!!)\[([^\]]+)\]\(\.\./(?:plugins|tools|dags|deploy|tests)/[^)]+\)", r"\1", markdown
    )


def links_from_docs(markdown: str) -> str:
    """Return a file of the repository's top as a page in docs/: links that stay in the pages fit,
    and what is no page (a folder, a licence) is text."""
    for source, target in TOP.items():
        markdown = markdown.replace(f"]({source}", f"]({target}")
    markdown = markdown.replace("](docs/", "](")
    return re.sub(
        r"(?<!!)\[([^\]]+)\]\((?!https?:|#|[\w/-]+\.md)[^)]+\)",
        r"\1",
        markdown,
    )


def api_page(name: str) -> str:
    """Return a page that shows every module of a package."""
    folder, prefix = (PACKAGE, "sendit") if name == "sendit" else (PACKAGE / name, f"sendit.{name}")
    modules = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    return "\n".join([f"# {prefix}\n", *(f"::: {prefix}.{module}\n" for module in modules)])
