"""Test the types of values of command lines."""

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import arguments


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("45", 45), ("0.5m", 30), ("1h1m1s", 3661)],
)
def test_seconds_all_forms_are_parsed(text: str, seconds: float) -> None:
    assert arguments.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["a,b", "a b", " a, b ", "a,,b", "a\tb,"])
def test_names_commas_and_blanks_separate(text: str) -> None:
    assert arguments.parse_names(text) == ("a", "b")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (arguments.parse_names, " , ", "expected at least one name"),
        (arguments.parse_seconds, "soon", "is not a time; write 90s, 10m or 1h30m"),
        (arguments.parse_seconds, "0", "is not a time"),
        (arguments.parse_seconds, "-5s", "is not a time"),
        (arguments.parse_seconds, "9" * 400, "is not a time"),
        (arguments.parse_percentage, "0", "is not a percentage from 0 to 100"),
        (arguments.parse_percentage, "100.1%", "is not a percentage"),
        (arguments.parse_percentage, "-1", "is not a percentage"),
        (arguments.parse_percentage, "nan", "is not a percentage"),
        (arguments.parse_share, "1.1", "is not a number from 0 to 1"),
        (arguments.parse_share, "0", "is not a number from 0 to 1"),
        (arguments.parse_share, "half", "is not a number from 0 to 1"),
        (arguments.parse_short_time, "back-to-back", "is not a time; write 500us, 10ms or 1.5s"),
        (arguments.parse_short_time, "soon", "soon"),
        (arguments.parse_seconds, "100000000", "is not a time"),  # of more than three years
        (arguments.make_integer_parser(1), "0", "is not a whole number of at least 1"),
        (arguments.make_integer_parser(1, 9), "10", "is not a whole number from 1 to 9"),
        (arguments.make_integer_parser(0), "-1", "is not a whole number"),
        (
            arguments.make_integer_parser(0),
            "\u0663",
            "is not a whole number",
        ),  # a digit, but no ASCII one
        (arguments.parse_integers, "1,x", "is not a list of integers; write 3,5,10"),
    ],
)
def test_types_invalid_text_is_refused_in_one_line(
    kind: Callable[[str], object], text: str, message: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        kind(text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (arguments.parse_seconds, "99999999", 99_999_999),
        (arguments.parse_percentage, "2%", 0.02),
        (arguments.parse_percentage, " 100 ", 1.0),
        (arguments.parse_share, "1", 1.0),
        (arguments.parse_share, "0.25", 0.25),
        (arguments.parse_short_time, "500us", 5e-4),
        (arguments.parse_short_time, "1.5s", 1.5),
        (arguments.parse_periods, "10ms, back-to-back,10ms", (0.01, None)),
        (arguments.make_integer_parser(0), "0", 0),
        (arguments.make_integer_parser(1, 9), "9", 9),
        (arguments.SIZE, "999999999", 999_999_999),
        (arguments.parse_integers, "3, 5", (3, 5)),
    ],
)
def test_types_values_at_bounds_are_accepted(
    kind: Callable[[str], object], text: str, value: object
) -> None:
    assert kind(text) == pytest.approx(value) if isinstance(value, float) else kind(text) == value


@given(st.text(max_size=30))
def test_types_any_text_is_parsed_or_refused(text: str) -> None:
    for kind in (
        arguments.parse_names,
        arguments.parse_seconds,
        arguments.parse_percentage,
        arguments.parse_share,
        arguments.make_integer_parser(0),
        arguments.parse_integers,
    ):
        with contextlib.suppress(argparse.ArgumentTypeError):
            kind(text)


def test_parser_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = arguments.Parser(prog="python -m bench.x")
    parser.add_argument("--n", type=arguments.make_integer_parser(1))
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--n", "\x1b[31m0"])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: argument --n: ")
    assert message.endswith("; see --help\n")
    assert message.count("\n") == 1
    assert "\x1b" not in message


def test_output_to_a_url_is_refused_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    parser = arguments.Parser()
    arguments.add_output(parser, ("terminal", "html"))
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--output", "s3://me:secret@bucket/page.html"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "is a URL" in error
    assert "secret" not in error
    assert not list(tmp_path.iterdir())
