"""Test that each kind of attack can fail, by giving it something broken."""

import fnmatch
import signal
import tomllib
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import records
from tests.attack import attack_kills, attack_mutations
from tests.attack.attack_mutations import Source, wrong_with
from tests.attack.commands import Ended, wrong_end
from tests.attack.outputs import JUDGES
from tests.places import ROOT

GOLDEN = attack_mutations.GOLDEN


# Trials


def test_attack_is_collected_only_by_its_tox_environment() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    files = [path.name for path in Path(__file__).parent.glob("attack_*.py")]
    assert len(files) == 6
    for pattern in settings["python_files"]:
        assert not fnmatch.filter(files, pattern)


# Kills


def test_attack_lost_finished_case_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes((GOLDEN / "replicate-1.json").read_bytes())
    (case, *_) = (each.case.id for each in records.collect([tmp_path]).measurements)
    assert list(attack_kills.lost(Counter({case: 1}), tmp_path)) == []
    assert list(attack_kills.lost(Counter({case: 2}), tmp_path)) == [f"lost 1 of 2 times {case}"]
    (tmp_path / "b.json").write_text("{")
    assert "unreadable" in next(attack_kills.lost(Counter(), tmp_path))


def test_attack_missing_or_left_over_file_is_reported(tmp_path: Path) -> None:
    folder, temporary = tmp_path / "results", tmp_path / "tmp"
    (temporary / "lstm-judged-x").mkdir(parents=True)
    (folder / ".sessions").mkdir(parents=True)
    (folder / ".sessions" / ".x.tmp").touch()
    (folder / "a.journal.jsonl").touch()
    assert len(list(attack_kills.left_over(folder, temporary))) == 3
    assert len(list(attack_kills.unfinished(folder))) == 1


# Mutations


def _raises(folder: Path, path: Path) -> list[str]:
    raise KeyError("schema")


def _warns(folder: Path, path: Path) -> list[str]:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    return []


def _never_ends(folder: Path, path: Path) -> list[str]:
    signal.raise_signal(signal.SIGALRM)  # like a timeout
    return []


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (_raises, "KeyError"),
        (_warns, "RuntimeWarning"),
        (_never_ends, "did not end"),
        (lambda folder, path: ["it is wrong"], "does not name the file"),
        (lambda folder, path: [f"{path} is\nwrong"], "no plain line"),
        (lambda folder, path: [f"{path} is \x1b[31mwrong"], "no plain line"),
    ],
)
def test_attack_broken_reader_is_reported(
    tmp_path: Path, read: Callable[[Path, Path], list[str]], message: str
) -> None:
    (wrong,) = wrong_with(Source("results", "a.json", b"", read), tmp_path, b"{}")
    assert message in wrong


def test_attack_unchanged_files_are_read(tmp_path: Path) -> None:
    for source in attack_mutations.sources(tmp_path / "made"):
        assert list(wrong_with(source, tmp_path, source.data)) == [], source.name


# Commands


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        (Ended(1, b"", b"error: a\n"), "exit code 1"),
        (Ended(-11, b"", b""), "exit code -11"),
        (Ended(2, b"", b"Traceback (most recent call last)\n"), "a traceback"),
        (Ended(0, b"x", b"Exception ignored in: <stdout>"), "a traceback"),
        (Ended(0, b"x", b"a.py:1: RuntimeWarning: overflow"), "a warning"),
        (Ended(2, b"", b""), "without a word"),
    ],
)
def test_attack_undocumented_ending_is_reported(ended: Ended, message: str) -> None:
    assert message in next(wrong_end("bench.report", ended))


# Payloads


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("terminal", b"a\x1b[31mb", "it holds"),
        ("terminal", "a\u202eb".encode(), "it holds"),
        ("terminal", b"a\xffb", "no UTF-8"),
        ("markdown", b"[x](https://pwned.example)", "a link to"),
        ("markdown", b"| a |\n|---|\n| <img src=//pwned.example> |", "a live html_inline"),
        ("markdown", b"![](x)", "a live image"),
        ("markdown", b"| a | b |\n|---|---|\n| 1 | 2 | 3 |\n", "a table's row"),
        ("csv", b"a,b\r\n1\r\n", "rows of [1, 2] cells"),
        ("csv", b"a\r\n =1+1\r\n", "a formula"),
        ("csv", "a\r\n＝1+1\r\n".encode(), "a formula"),
        ("json", b"[NaN]", "no JSON"),
        ("json", b'["\x80"]', "no UTF-8"),
        ("svg", b"<svg><text>a</svg>", "no XML"),
        ("svg", b"<svg><script>1</script></svg>", "a live <script>"),
        ("svg", b"<svg onload='1'/>", "a live onload"),
        ("svg", b"<svg><style>a{b:url(https://c)}</style></svg>", "a style that asks"),
        ("svg", b"<svg xmlns:l='l'><use l:href='https://c'/></svg>", "a live href"),
        ("html", b"<p onclick='1'>", "a live onclick"),
        ("html", b"<img src='//pwned.example'>", "a live src"),
        ("html", b"<p>a\x1bb</p>", "it holds"),
        ("html", b"<script>'<!-- pwned'</script>", "an end in a <script>"),
        ("pdf", b"%PDF-1.4 /URI %%EOF", "a live /URI"),
        ("pdf", b"%PDF-1.4", "no whole PDF"),
        ("png", b"\x89PNG", "no whole PNG"),
        ("parquet", b"PAR1", "no Parquet"),
    ],
)
def test_attack_active_output_is_reported(kind: str, data: bytes, message: str) -> None:
    found = list(JUDGES[kind](data))
    assert any(message in wrong for wrong in found), found


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("terminal", "a ★ 漢\n".encode()),
        ("markdown", b"[a](https://github.com) | `b|c` \n\n| a \\| b |\n|---|\n| `x` |\n"),
        ("csv", b"a,b\r\n-1.5,'=1\r\n"),
        ("json", b'{"a": [1.5, null]}'),
        ("svg", b"<svg xmlns='s' xmlns:l='l'><use l:href='#a'/><text>&lt;script></text></svg>"),
        ("html", b"<p title='&lt;a href=x'>pwned <a href='#a'>b</a></p><script>'<b>'</script>"),
    ],
)
def test_attack_inert_output_is_not_reported(kind: str, data: bytes) -> None:
    assert list(JUDGES[kind](data)) == []
