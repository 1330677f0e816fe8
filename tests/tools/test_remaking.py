"""Test that parts of documents equal what their commands make, and differences are reported."""

import os
import shutil
from pathlib import Path

import pytest

from tests.bench import made_windows
from tests.places import ROOT
from tools.remaking import Block, DocumentError, find_blocks, is_same_file, remake

REPORT = "python -m bench.report a.json --format markdown --brief"
PLOT = "python -m bench.plot a.json --output pictures/a.svg"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with results and a document whose parts are not made yet."""
    shutil.copy(ROOT / "docs/examples/quick.json", tmp_path / "a.json")
    (tmp_path / "a.md").write_text(
        f"# Ours\n\n<!-- made by: {REPORT} -->\nold\n<!-- end -->\n\nbetween\n\n"
        f"<!-- made by: {PLOT} -->\n![times](pictures/a.svg)\n<!-- end -->\nthe end\n"
    )
    return tmp_path


def test_remake_text_and_picture_twice_changes_nothing(project: Path) -> None:
    assert len(remake("a.md", project, write=True)) == 2
    text = (project / "a.md").read_text()
    assert "| `static_unroll` ☆ |" in text
    assert "old" not in text
    assert text.startswith("# Ours\n\n<!-- made by: ")
    assert "\n\n<!-- end -->\n\nbetween\n\n<!-- made by:" in text
    assert text.endswith("![times](pictures/a.svg)\n<!-- end -->\nthe end\n")
    assert b"<svg" in (project / "pictures/a.svg").read_bytes()
    assert remake("a.md", project, write=False) == []


def test_check_changed_number_is_found_and_not_written(project: Path) -> None:
    remake("a.md", project, write=True)
    path, picture = project / "a.md", project / "pictures/a.svg"
    path.write_text(path.read_text().replace("437 µs", "337 µs"))
    picture.write_bytes(picture.read_bytes().replace(b"11.4k", b"21.4k"))
    before = path.read_bytes(), picture.read_bytes()
    number, drawn = remake("a.md", project, write=False)
    assert "-| cpu, inference |" in number
    assert "337 µs" in number
    assert "437 µs" in number
    assert drawn == f"pictures/a.svg, in a.md: not as `{PLOT}` makes it"
    assert (path.read_bytes(), picture.read_bytes()) == before


def test_remake_terminal_text_is_a_block_of_fixed_width(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "b.md").write_text(
        "<!-- made by: python -m bench.report a.json --kind throughput -->\n<!-- end -->\n"
    )
    remake("b.md", project, write=True)
    lines = (project / "b.md").read_text().splitlines()
    assert lines[2] == "```text"
    assert lines[-3] == "```"
    assert any(line.startswith("CPU: ") for line in lines)
    assert not any(line != line.rstrip() for line in lines)
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("LSTM_RESULTS", "/elsewhere")
    assert remake("b.md", project, write=False) == []
    assert os.environ["COLUMNS"] == "50"


def test_remake_star_in_a_command_matches_files(project: Path) -> None:
    text = (project / "a.md").read_text()
    (project / "b.md").write_text(text.replace("bench.report a.json", "bench.report a*.json"))
    remake("a.md", project, write=True)
    remake("b.md", project, write=True)
    one, other = (project / "a.md").read_text(), (project / "b.md").read_text()
    assert other == one.replace("bench.report a.json", "bench.report a*.json")


def test_picture_that_a_command_writes_is_compared(project: Path) -> None:
    made_windows.write_windows(project / "windows", session="a", processes=1)
    (project / "b.md").write_text(
        "<!-- made by: python -m bench.plot windows --along window --output p/w.svg -->\n"
        "<!-- end -->\n"
    )
    assert len(remake("b.md", project, write=True)) == 1
    (project / "p/w.svg").write_bytes(b"other")
    (again,) = remake("b.md", project, write=False)
    assert again.startswith("p/w.svg, in b.md")


def test_check_picture_ignores_lines_but_not_texts() -> None:
    old = b"<svg>Matplotlib v3.9.0, <path d='1'/><text x='1'>5 ms</text></svg>"
    assert is_same_file(old, old.replace(b"3.9.0", b"3.10.8").replace(b"d='1'", b"d='2'"), ".svg")
    assert not is_same_file(old, old.replace(b"d='1'", b"d='2'"), ".svg")
    assert not is_same_file(old, old.replace(b"3.9.0", b"3.10.8").replace(b"5 ms", b"6 ms"), ".svg")
    assert not is_same_file(old, old.replace(b"3.9.0", b"3.10.8"), ".png")
    # Rich does not say which version drew it.
    terminal = old.replace(b"Matplotlib v3.9.0", b"Rich")
    assert is_same_file(terminal, terminal.replace(b"d='1'", b"d='2'"), ".svg")
    assert not is_same_file(terminal, terminal.replace(b"5 ms", b"6 ms"), ".svg")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- made by: python -m bench.report -->\n", "without `<!-- end -->`"),
        (
            "<!-- made by: python -m bench.report -->\n<!-- made by: x -->\n<!-- end -->\n",
            "without `<!-- end -->`",
        ),
        ("<!-- made by: rm -r / -->\n<!-- end -->\n", "expected `python -m bench.NAME ...`"),
        ("<!-- made by: python -m os -->\n<!-- end -->\n", "expected `python -m bench.NAME ...`"),
        ("<!-- made by: python -m -->\n<!-- end -->\n", "expected `python -m bench.NAME ...`"),
        ("<!-- made by: python -m bench.report 'a -->\n<!-- end -->\n", "No closing quotation"),
        (
            f"<!-- made by: {PLOT.rpartition(' ')[0]} -->\n<!-- end -->\n",
            "ends after --output; expected a file",
        ),
        ("<!-- made by: python -m bench.report no.json -->\n<!-- end -->\n", "no.json"),
        ("<!-- made by: python -m bench.report --format x -->\n<!-- end -->\n", "invalid choice"),
    ],
)
def test_remake_wrong_comment_is_named(text: str, message: str, project: Path) -> None:
    (project / "b.md").write_text(text)
    with pytest.raises(DocumentError, match=r"^b\.md: ") as error:
        remake("b.md", project, write=True)
    assert message in str(error.value)
    assert (project / "b.md").read_text() == text


def test_remake_document_without_parts_makes_nothing(project: Path) -> None:
    assert find_blocks("b.md", "made by: hand <!-- end -->") == []
    assert find_blocks("a.md", (project / "a.md").read_text())[1] == Block(
        "a.md", PLOT, "![times](pictures/a.svg)\n"
    )
