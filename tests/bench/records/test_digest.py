"""Test that any change of a result file is detected."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import compare, plot, records, report
from bench.case.cases import Case
from bench.records import maps
from bench.records.digest import CHANGED, digest, is_as_written, is_changed, with_digest
from bench.records.files import journal_to_json
from bench.session import workers
from tests.bench.mutations import saved
from tests.places import GOLDEN

Json = dict[str, Any]

GOLDEN_DIGEST = "sha256:742b2ea60a4d0b9884fd6ed7ddf756ff65a88c56974be1314bd02c47675c1135"
"""The digest in the golden file: with another algorithm, old files would count as changed."""
WITH_DIGEST = GOLDEN / "digest-1.json"


@pytest.fixture
def document() -> Json:
    found: Json = json.loads(WITH_DIGEST.read_text())
    return found


def notes(path: Path) -> list[str]:
    return [note for note in records.read(path).notes if note.endswith(CHANGED)]


def test_digest_golden_file_is_unchanged(document: Json) -> None:
    assert digest(document) == document["digest"] == GOLDEN_DIGEST
    assert notes(WITH_DIGEST) == []


def marked(document: Json) -> None:
    document["lstm"]["digested"] = True


def mark_submitted(document: Json) -> None:
    document["lstm"]["submitted"] = {"digest": None}


@pytest.mark.parametrize("mark", [marked, mark_submitted])
@pytest.mark.parametrize("without", [lambda d: d.pop("digest"), lambda d: d.update(digest=None)])
def test_read_removed_digest_warns(
    tmp_path: Path, document: Json, mark: Callable[[Json], None], without: Callable[[Json], None]
) -> None:
    mark(document)
    document = with_digest(document)
    path = saved(tmp_path / "a.json", document)
    assert notes(path) == []
    without(document)
    assert notes(saved(path, document)) == [f"{path} {CHANGED}"]


def turned(value: Any) -> Any:
    """Return the value with the fields of each object in another order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


def faster(document: Json) -> None:
    document["benchmarks"][0]["stats"]["data"][0] *= 1 - 1e-15


def moved(document: Json) -> None:
    document["lstm"]["run"]["host"] = "another"


def shorten(document: Json) -> None:
    document["benchmarks"].pop()


def forge(document: Json) -> None:
    document["digest"] = "sha256:" + 64 * "0"


CHANGES = (faster, moved, shorten, forge)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_read_any_changed_value_warns_with_file_name(
    tmp_path: Path, document: Json, change: Callable[[Json], None]
) -> None:
    change(document)
    path = saved(tmp_path / "a.json", document)
    assert notes(path) == [f"{path} {CHANGED}"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_changed_other_order_of_keys_is_false(contents: Json, draw: random.Random) -> None:
    written = with_digest(contents)
    keys = list(written)
    draw.shuffle(keys)
    read = json.loads(json.dumps({key: turned(written[key]) for key in keys}, indent=1))
    assert not is_changed(read)
    ordered = {key: written[key] for key in sorted(written) if key != "digest"}
    data = json.dumps({**ordered, "digest": written["digest"]}, separators=(",", ":")).encode()
    assert is_as_written(data) or not ordered
    assert not is_as_written(data.replace(b"sha256:", b"sha256:0", 1))
    assert not is_as_written(data.replace(b"{", b'{"":0,', 1))
    read["one more"] = 1
    assert is_changed(read) or contents.get("one more") == 1


def test_journal_to_json_file_has_digest(tmp_path: Path) -> None:
    journal = tmp_path / "cut.journal.jsonl"
    journal.write_bytes((GOLDEN / "cut.journal.jsonl").read_bytes())
    made = journal_to_json(journal)
    document = json.loads(made.read_text())
    assert digest(document) == document["digest"]
    assert document["lstm"]["digested"] is True
    assert is_as_written(made.read_bytes())
    outcome = copy.deepcopy(document["lstm"]["outcomes"][0])
    outcome["case"]["spec"]["hidden_size"] += 1
    file = workers.settle(made, [{**outcome, "case_id": Case.from_dict(outcome["case"]).id}])
    assert file is not None
    assert len(file.outcomes) == len(document["lstm"]["outcomes"]) + 1
    assert notes(made) == []
    assert is_as_written(made.read_bytes())


def test_read_changed_map_warns(tmp_path: Path) -> None:
    document = json.loads((GOLDEN / "learning-1.json").read_text())
    document["learning"]["digested"] = True
    document = with_digest(document)
    path = saved(tmp_path / "learning-1.json", document)
    assert maps.read(path).notes == ()
    document["learning"]["cells"][0]["seed"] += 1000  # type: ignore[index]
    assert maps.read(saved(path, document)).notes == (f"{path} {CHANGED}",)
    del document["digest"]
    assert maps.read(saved(path, document)).notes == (f"{path} {CHANGED}",)


@pytest.mark.parametrize(
    "command",
    [
        lambda path: report.main([path]),
        lambda path: compare.main(["runs", path, str(WITH_DIGEST)]),
        lambda path: plot.main([path, "--output", f"{path}.svg"]),
    ],
)
def test_commands_changed_file_is_named_in_warning(
    tmp_path: Path,
    document: Json,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[str], int],
) -> None:
    moved(document)
    path = saved(tmp_path / "a.json", document)
    command(str(path))
    assert f"warning: {path} {CHANGED}\n" in capsys.readouterr().err
