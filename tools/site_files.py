"""Give MkDocs the project's documents in their places, as a hook that ``mkdocs.yml`` names.

MkDocs reads one folder, but the documents of this project are in several, and link to each other
and to source files. This hook replaces MkDocs's files by the documents of the project and by every
file that one of them links to, each under its path in the repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_ELSEWHERE = re.compile(r"[a-z]+:|#")
_FOLDER_LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s:]+)\)")


def list_documents(root: Path = ROOT) -> list[str]:
    """Return the Markdown documents that the site shows, as paths in the repository."""
    found = [
        root / "README.md",
        *sorted(root.glob("[A-Z]*.md")),
        *sorted(root.glob("docs/**/*.md")),
    ]
    found += [*sorted(root.glob("results/*.md")), *sorted(root.glob("research/*.md"))]
    return list(dict.fromkeys(str(PurePosixPath(each.relative_to(root))) for each in found))


def list_linked_files(document: str, root: Path = ROOT) -> list[str]:
    """Return the files of the repository that a document links to, as paths in the repository."""
    found = []
    text = _CODE.sub("", (root / document).read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if _ELSEWHERE.match(link):
            continue
        path = os.path.normpath(PurePosixPath(document).parent / unquote(link.partition("#")[0]))
        if (root / path).is_file():
            found.append(path)
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the documents, the files that they link to, and the theme's and the plugins' files."""
    from mkdocs.structure.files import File, Files

    documents = list_documents()
    paths = dict.fromkeys(
        [*documents, *(each for one in documents for each in list_linked_files(one))]
    )
    folder = Path(config.docs_dir).resolve()
    kept = [each for each in files if not _is_below(each.abs_src_path, folder)]
    made = [File.generated(config, path, abs_src_path=str(ROOT / path)) for path in sorted(paths)]
    return Files([*kept, *made])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page in which each link to a folder is replaced by its text.

    A repository shows a folder as a page, and a site does not.
    """
    document = PurePosixPath(page.file.src_uri)

    def unlink(match: re.Match[str]) -> str:
        target = ROOT / os.path.normpath(document.parent / match[2])
        return match[1] if target.is_dir() else match[0]

    return _FOLDER_LINK.sub(unlink, markdown)


def _is_below(path: str | None, folder: Path) -> bool:
    return path is not None and Path(path).resolve().is_relative_to(folder)
