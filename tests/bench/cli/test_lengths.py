"""Lengths of sequences, from files and distributions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.cli import lengths
from bench.cli.lengths import LengthsError, source


def test_a_file_has_a_length_a_line_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "lengths.txt"
    path.write_text("# mine\n3\n\n 10 \n7\r\n")
    found = source(str(path))
    assert found.known is not None
    assert found.draw(5, seed=1).tolist() == [3, 10, 7, 3, 10]


def test_uniform_lengths_are_within_their_bounds_and_drawn_again_by_the_seed() -> None:
    drawn = source("uniform:10-20").draw(2000, 3)
    assert (drawn.min(), drawn.max()) == (10, 20)
    assert np.array_equal(drawn, source("uniform:10-20").draw(2000, 3))
    assert not np.array_equal(drawn, source("uniform:10-20").draw(2000, 4))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("uniform:20-10", "the lower first"),
        ("uniform:0-10", "from 1 to"),
        ("uniform:ten", "is no distribution"),
        ("lognormal:80", "is no distribution"),
        ("lognormal:80,0", "sigma"),
        ("lognormal:80,0.5,20", "median"),
    ],
)
def test_a_distribution_that_is_none_is_reported(text: str, words: str) -> None:
    with pytest.raises(LengthsError, match=words):
        source(text)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no lengths"),
        (b"5\n-3\n", "line 2 is '-3'"),
        (b"5\n0\n", "line 2 is '0'"),
        (b"5.5\n", "line 1 is '5.5'"),
        (b"9" * 400, "line 1 is"),
        ("٣\n".encode(), "line 1 is"),
        (b"\xff\xfe\x00", "no text of whole numbers"),
    ],
)
def test_a_file_that_holds_something_else_is_reported_with_its_line(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "lengths.txt"
    path.write_bytes(content)
    with pytest.raises(LengthsError, match=words):
        source(str(path))


def test_a_file_of_too_many_lengths_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "MOST_LENGTHS", 3)
    path = tmp_path / "lengths.txt"
    path.write_text("1\n2\n3\n")
    assert source(str(path)).draw(3, 0).tolist() == [1, 2, 3]
    path.write_text("1\n2\n3\n4\n")
    with pytest.raises(LengthsError, match="has more than 3 lengths"):
        source(str(path))
