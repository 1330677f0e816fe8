import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import case as suites
from bench import records
from bench.machine import reading
from bench.machine.fields import (
    LARGEST_INTEGER,
    Field,
    ResultError,
    format_value,
    is_number,
    printable,
)
from bench.records import maps

READERS: dict[str, Callable[[Path], object]] = {
    "bytes": reading.regular_bytes,
    "result": records.read,
    "map": maps.read,
    "cases": lambda path: suites.load_cases(path, suites.load("smoke")),
}


@pytest.mark.parametrize("name", sorted(READERS))
def test_regular_bytes_pipe_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match=r"pipe\.json is not a regular file"):
        READERS[name](tmp_path / "pipe.json")


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize("place", ["/dev/zero", "/dev/null"])
def test_regular_bytes_device_is_refused(place: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"{place} is not a regular file"):
        READERS[name](Path(place))


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "does not exist"), ("", "is a folder"), ("x" * 5000, "name too long")],
)
def test_regular_bytes_unreadable_path_raises_with_reason(
    tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(ResultError, match=message):
        reading.regular_bytes(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"b": [{"a": 1, "c:": ":", "a": ":"}]}',
        r'{"a": 1, "a": 2, "b": "\u003a"}',
        r'{"a": 1, "\u0061": 2}',
    ],
)
def test_parse_json_key_twice_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(ResultError, match='has the key "a" twice in one object'):
        reading.parse_json(Path("a.json"), text.encode())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=JSON, ascii_only=st.booleans())
def test_parse_json_gives_what_the_standard_library_gives(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    found = reading.parse_json(Path("a.json"), text.encode("utf-8", "surrogatepass"))
    assert found == json.loads(text)
    assert repr(found) == repr(json.loads(text))


def test_journal_lines_cut_last_line_is_dropped_with_note() -> None:
    data = b'{"run": 1}\n\n{"a": {"b": 2}}\n{"cut'
    lines, notes = reading.journal_lines(Path("a.jsonl"), data)
    assert [line.value for line in lines] == [{"run": 1}, {"a": {"b": 2}}]
    assert lines[1]["a"]["b"].name == "line 3: a.b"
    assert notes == ["a.jsonl: the last line is cut off and was ignored"]
    assert reading.journal_lines(Path("a.jsonl"), data[: data.rindex(b"{")])[1] == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.jsonl has no complete line"),
        (b'{"run": 1}', "a.jsonl has no complete line"),
        (b"\n \n", "a.jsonl has no complete line"),
        (b"[1]\n", "a.jsonl is not a journal of this suite: its first line has no run"),
        (b'{"walk": 1}\n{"run": 1}\n', "is not a journal of this suite: its first line"),
        (b'{"run": 1}\n{"cut\n', "a.jsonl: line 2: is cut off or not JSON"),
    ],
)
def test_journal_lines_other_content_raises(data: bytes, message: str) -> None:
    with pytest.raises(ResultError) as error:
        reading.journal_lines(Path("a.jsonl"), data)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        *(("s3://team/lstm", True), ("https://a.b/c.json", True), ("memory://x", True)),
        *(("results", False), ("a:b", False), ("/s3://x", False), ("C:\\results", False)),
    ],
)
def test_is_url_path_is_not(text: str, wanted: bool) -> None:
    assert reading.is_url(text) is wanted
    assert reading.is_url(Path(text)) is False


def test_expanded_url_is_refused_and_creates_nothing() -> None:
    with pytest.raises(
        reading.FolderError, match="s3://team/lstm: expected a folder of this machine"
    ):
        reading.expand_path("s3://team/lstm")
    assert reading.expand_path("results") == Path("results")


@pytest.mark.parametrize(
    ("name", "data", "study", "learning"),
    [
        ("a.json", b'{"study": {}}', True, False),
        ("a.json", b'\xef\xbb\xbf\n{ "study" : {}}', True, False),
        ("a.json", b'{"learning": {}}', False, True),
        ("learning-a.json", b'{"study": {}}', True, False),
        # A suite may have such a name, which decides only about unreadable files.
        ("learning-a.json", b'{"machine_info": {}}', False, False),
        ("learning-a.json", b"{", False, True),
        ("a.json", b'{"machine_info": {"study": {}}}', False, False),
        ("a.json", b'["study"]', False, False),
        ("a.json", b"", False, False),
    ],
)
def test_kind_of_file_follows_first_key(
    tmp_path: Path, name: str, data: bytes, study: bool, learning: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert reading.is_study(path) is study
    assert reading.is_learning_map(path) is learning
    assert reading.has_no_cases(path) is (study or (learning and data != b"{"))


def test_kind_of_file_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "learning-a.json")
    for path in (tmp_path / "learning-a.json", tmp_path / "nothing.json", Path("a\0b")):
        assert not reading.has_no_cases(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def field(value: object, name: str = "a") -> Field:
    return Field(Path("f.json"), name, value)


ASKED: dict[str, tuple[Callable[[Field], object], list[object], list[object]]] = {
    # The method, valid values at the bounds, and invalid ones.
    "an object": (Field.mapping, [{}, {"a": None}], [[], None, "x"]),
    "a list": (Field.items, [[]], [{}, "ab", None]),
    "text": (Field.text, ["", " ", "é"], [1, None, ["a"]]),
    "a name": (Field.label, ["a", " a"], ["", " \t\n", 1, None]),
    "one of x, y": (lambda it: it.choice(("x", "y")), ["x", "y"], ["", "z", ["x"], None]),
    "a positive integer": (
        lambda it: it.integer(1),
        [1, LARGEST_INTEGER],
        [0, -1, 1.0, True, "1", None, math.nan],
    ),
    "an integer of at least 0": (lambda it: it.integer(0), [0], [-1, False]),
    "a positive integer and at most 8": (lambda it: it.integer(1, 8), [1, 8], [9, 10**400]),
    "a finite number": (
        Field.number,
        [0, -1.5, LARGEST_INTEGER, -LARGEST_INTEGER, 1.7e308],
        [math.nan, math.inf, -math.inf, LARGEST_INTEGER + 1, 10**400, True, "1", None],
    ),
    "a number of at least 0": (lambda it: it.number(0.0), [0, 1e9], [-1e-300, -1]),
    "a number from 0 to 1": (lambda it: it.number(0.0, 1.0), [0, 1, 0.5], [1.1, -0.1, 2]),
}


@pytest.mark.parametrize("expected", ASKED)
def test_field_wrong_value_raises_with_expected_kind(expected: str) -> None:
    ask, right, wrong = ASKED[expected]
    for value in right:
        answer = ask(field(value))
        assert answer == value
    for value in wrong:
        with pytest.raises(ResultError) as message:
            ask(field(value))
        assert str(message.value) == f"f.json: a is {format_value(value)}; expected {expected}"


def test_field_one_of_with_a_near_name_says_which() -> None:
    with pytest.raises(ResultError, match=r"expected one of cpu, gpu \(did you mean gpu"):
        field("gpuu").choice(("cpu", "gpu"))


@pytest.mark.parametrize("expected", [each for each in ASKED if each != "a list"])
@given(value=JSON)
def test_field_any_value_is_returned_or_refused_in_one_line(expected: str, value: object) -> None:
    message = ""
    try:
        assert ASKED[expected][0](field(value)) == value
    except ResultError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 400


def test_error_nested_field_has_its_path() -> None:
    document = field({"runs": [{"host": 3}]}, "")
    host = document["runs"].items()[0]["host"]
    assert host.name == "runs[0].host"
    assert field({"a": {"b": 1}}, "line 3:")["a"]["b"].name == "line 3: a.b"
    with pytest.raises(ResultError, match=r"^f\.json: runs\[0\]\.host is 3; expected text$"):
        host.text()


def test_field_absent_key_is_missing_not_null() -> None:
    document = field({"a": None, "b": 0}, "")
    assert [document[key].given for key in ("a", "b", "c")] == [False, True, False]
    with pytest.raises(ResultError, match=r"f\.json: c is missing; expected text"):
        document["c"].text()
    with pytest.raises(ResultError, match="a is null; expected text"):
        document["a"].text()
    with pytest.raises(ResultError, match="c is missing; expected an object"):
        document["c"]["d"]


@given(
    value=st.integers(-(2**54), 2**54) | st.floats(),
    low=st.floats(-1e6, 1e6),
    high=st.floats(-1e6, 1e6),
)
def test_is_number_any_value_respects_bounds(value: float, low: float, high: float) -> None:
    assert is_number(value, low, high) == (low <= value <= high)
    document = isinstance(value, int)
    assert is_number(value) == (abs(value) <= 2**53 if document else math.isfinite(value))


@given(text=st.text(), limit=st.integers(1, 20))
def test_printable_any_text_gives_one_safe_line(text: str, limit: int) -> None:
    message = printable(text, limit)
    assert message.isprintable()
    assert len(message) <= limit + 3
    assert message.removesuffix("..." if len(text) > limit else "") == "".join(
        letter if letter.isprintable() else "?" for letter in text[:limit]
    )
