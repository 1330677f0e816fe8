"""Test which files the site of the documents has; ``tox -e docs`` builds it."""

from pathlib import Path

import pytest

from tools.site_files import list_documents, list_linked_files, replace_sources


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with a README and two pages."""
    (tmp_path / "docs/deep").mkdir(parents=True)
    (tmp_path / "bench").mkdir()
    for name in ("README.md", "docs/a.md", "docs/deep/b.md", "docs/a.svg", "bench/a.toml", "a.py"):
        (tmp_path / name).touch()
    return tmp_path


def test_documents_are_listed_once_with_the_readme_first(project: Path) -> None:
    assert list_documents(project) == ["README.md", "docs/a.md", "docs/deep/b.md"]


def test_linked_files_are_found_from_the_place_of_their_document(project: Path) -> None:
    text = "![a](../a.svg) [b](../../bench/a.toml) [c](../a.md#part)"
    (project / "docs/deep/b.md").write_text(text)
    found = list_linked_files("docs/deep/b.md", project)
    assert found == ["docs/a.svg", "bench/a.toml", "docs/a.md"]


@pytest.mark.parametrize(
    "text",
    [
        "[a](https://example.org/a.py)",
        "[a](#part)",
        "`[a](a.py)`",
        "```text\n[a](a.py)\n```",
        "[a](docs)",
    ],
)
def test_links_elsewhere_to_folders_and_in_code_are_no_linked_files(
    text: str, project: Path
) -> None:
    (project / "README.md").write_text(text)
    assert list_linked_files("README.md", project) == []


PICTURE = """<picture>
<source media="(prefers-color-scheme: dark)" srcset="pictures/a-dark.svg">
<img alt="a" src="pictures/a.svg">
</picture>"""


def test_pictures_for_light_and_dark_pages_are_linked_files(project: Path) -> None:
    (project / "docs/pictures").mkdir()
    for name in ("a.svg", "a-dark.svg"):
        (project / "docs/pictures" / name).touch()
    (project / "docs/a.md").write_text(PICTURE)
    found = list_linked_files("docs/a.md", project)
    assert sorted(found) == ["docs/pictures/a-dark.svg", "docs/pictures/a.svg"]


def test_addresses_of_pictures_are_replaced_outside_code() -> None:
    text = f'{PICTURE}\n\n`<img src="b.svg">`\n<img src="https://example.org/c.svg">'
    found = replace_sources(text, lambda path: f"../{path}")
    assert found == text.replace('"pictures/', '"../pictures/')
