"""Give MkDocs the project's documents at their paths, as a hook that ``mkdocs.yml`` names.

MkDocs reads one folder, but the documents of this project are in several folders and link to each
other and to source files. This hook replaces MkDocs's files by the documents of the project and by
every file that a document links to, each under its path in the repository.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
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
_SOURCE = re.compile(r'(?P<before>\b(?:src|srcset)=")(?P<path>[^"\s]+)(?=")')
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
    """Return the files that a document links to or shows, as paths in the repository."""
    found = []
    text = _CODE.sub("", (root / document).read_text(encoding="utf-8"))
    for link in (*_LINK.findall(text), *(match["path"] for match in _SOURCE.finditer(text))):
        if _ELSEWHERE.match(link):
            continue
        path = os.path.normpath(PurePosixPath(document).parent / unquote(link.partition("#")[0]))
        if (root / path).is_file():
            found.append(path)
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the documents, the files that they link to, and those of the theme and the plugins."""
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
    """Return a page for the site.

    Each link to a folder is replaced by its text, because a repository shows a folder as a page,
    whereas a site does not. MkDocs does not change the addresses of ``<picture>``, so they are
    changed here.
    """
    document = PurePosixPath(page.file.src_uri)

    def find_address(path: str) -> str:
        file = files.get_file_from_path(os.path.normpath(document.parent / path))
        return path if file is None else file.url_relative_to(page.file)

    markdown = replace_sources(markdown, find_address)

    def unlink(match: re.Match[str]) -> str:
        target = ROOT / os.path.normpath(document.parent / match[2])
        return match[1] if target.is_dir() else match[0]

    return _FOLDER_LINK.sub(unlink, markdown)


def replace_sources(markdown: str, find_address: Callable[[str], str]) -> str:
    """Replace each ``src`` and ``srcset`` outside code by what ``find_address`` returns for it."""
    parts = []
    end = 0
    for code in _CODE.finditer(markdown):
        parts += [_replace_in_text(markdown[end : code.start()], find_address), code[0]]
        end = code.end()
    return "".join((*parts, _replace_in_text(markdown[end:], find_address)))


def _replace_in_text(text: str, find_address: Callable[[str], str]) -> str:
    return _SOURCE.sub(
        lambda match: (
            match["before"]
            + (match["path"] if _ELSEWHERE.match(match["path"]) else find_address(match["path"]))
        ),
        text,
    )


def _is_below(path: str | None, folder: Path) -> bool:
    return path is not None and Path(path).resolve().is_relative_to(folder)
