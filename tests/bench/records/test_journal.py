"""Test that each line of a journal is on disk before the call returns, and is read back."""

import errno
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import records
from bench.machine.fields import ResultError
from bench.machine.writing import ResultWriteError
from bench.records.journal import Journal
from bench.records.schema import Measurement
from bench.render.messages import reason_texts
from tests.bench.full_disk import full_disk
from tests.places import GOLDEN, ROOT

REPLICATE = GOLDEN / "replicate-1.json"

Json = dict[str, Any]


def test_journal_entries_are_read_back_from_both_files(tmp_path: Path, golden: Json) -> None:
    path = tmp_path / "new" / "a.journal.jsonl"
    with Journal(path) as journal:
        journal.start(records.read(REPLICATE).run)
        for entry in golden["benchmarks"]:
            journal.benchmark(entry)
        for outcome in golden["lstm"]["outcomes"]:
            journal.outcome(outcome)
        unfinished = records.read(path)
        journal.finish({"load": 2.5})
    from_journal = records.read(path)
    made = records.journal_to_json(path, {"node": "x"}, {"id": "y"})
    assert made == tmp_path / "new" / "a.json"
    from_json = records.read(made)
    expected = records.read(REPLICATE)
    for file in (unfinished, from_journal, from_json):
        assert list(map(comparable, file.measurements)) == list(
            map(comparable, expected.measurements)
        )
        assert [(o.case, o.outcome, reason_texts(o.reason)) for o in file.outcomes] == [
            (o.case, o.outcome, reason_texts(o.reason)) for o in expected.outcomes
        ]
    assert from_json.run == from_journal.run
    assert from_json.run.finished is not None
    assert from_json.run.environment["after"] == {"load": 2.5}
    document = json.loads(made.read_text())
    assert document["machine_info"] == {"node": "x"}
    assert document["commit_info"] == {"id": "y"}
    assert document["version"]
    assert path.exists()


def comparable(each: Measurement) -> tuple[object, ...]:
    return (
        each.case,
        each.samples.tolist(),
        each.rounds.tolist(),
        each.warmup,
        each.calls,
        each.setup,
        each.gate,
        each.evidence,
        each.reasons,
    )


def test_journal_numpy_values_and_nan_become_plain_data(
    tmp_path: Path, run: Json, entry: Json
) -> None:
    ours = entry["extra_info"]["lstm"]
    entry["stats"]["data"] = np.array(entry["stats"]["data"])
    ours["evidence"] = {"nan": math.nan, "inf": -math.inf, "path": Path("a"), "n": np.int32(3)}
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        journal.start(run)
        journal.benchmark(entry)
    for line in (tmp_path / "a.journal.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    read = records.read(tmp_path / "a.journal.jsonl").measurements[0]
    assert read.samples.tolist() == [0.010, 0.011, 0.012, 0.010, 0.011]
    assert read.evidence == {"nan": None, "inf": None, "path": "a", "n": 3}


def test_journal_unreadable_entry_is_refused_before_writing(
    tmp_path: Path, run: Json, entry: Json
) -> None:
    path = tmp_path / "a.journal.jsonl"
    with Journal(path) as journal:
        journal.start(run)
        journal.benchmark(entry)
        before = path.read_bytes()
        with pytest.raises(ResultError, match="each case once in a run"):
            journal.benchmark(entry)
        entry["extra_info"]["lstm"]["evidence"] = {"op": object()}
        with pytest.raises(ResultError, match=r"evidence.op is a object; expected plain data"):
            journal.benchmark(entry)
        entry["stats"]["data"] = [-1.0]
        entry["extra_info"]["lstm"]["evidence"] = {}
        with pytest.raises(ResultError, match=r"benchmark.stats.data\[0\] is -1.0"):
            journal.benchmark(entry)
        with pytest.raises(ResultError, match=r"outcome.case is 1; expected an object"):
            journal.outcome({"case": 1})
    assert path.read_bytes() == before


def test_journal_without_start_or_suffix_is_refused(tmp_path: Path, run: Json, entry: Json) -> None:
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        with pytest.raises(RuntimeError):
            journal.benchmark(entry)
        # Without a run there is no journal.
        (error,) = records.collect([tmp_path]).errors
        assert str(error) == f"{tmp_path} holds no result files"
        with pytest.raises(ResultError):
            journal.start({**run, "suite": 1})
        with pytest.raises(RuntimeError):
            journal.benchmark(entry)
    assert list(tmp_path.iterdir()) == []
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        journal.start(run)
        assert [path.name for path in tmp_path.iterdir()] == ["a.journal.jsonl"]
    with pytest.raises(ResultWriteError, match=r"a\.journal\.jsonl cannot be written: File exists"):
        Journal(tmp_path / "a.journal.jsonl")
    with pytest.raises(ValueError, match=r"expected a name ending in \.journal\.jsonl"):
        Journal(tmp_path / "a.json")


def test_append_line_is_synced_before_return(
    tmp_path: Path, run: Json, entry: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    path = tmp_path / "a.journal.jsonl"
    real = os.fsync

    def sync(file: int) -> None:
        real(file)
        synced.append(os.fstat(file).st_size)

    with Journal(path) as journal:
        monkeypatch.setattr(os, "fsync", sync)
        journal.start(run)
        assert synced[0] == path.stat().st_size > 0
        assert len(synced) == 2  # of the file and of its folder
        journal.benchmark(entry)
        assert len(synced) == 3
        assert synced[-1] == path.stat().st_size


@pytest.mark.parametrize("space", [0, 1, 700])
def test_append_full_disk_keeps_earlier_lines_only(
    tmp_path: Path, run: Json, golden: Json, monkeypatch: pytest.MonkeyPatch, space: int
) -> None:
    path = tmp_path / "a.journal.jsonl"
    with Journal(path) as journal:
        journal.start(run)
        journal.benchmark(golden["benchmarks"][0])
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full_disk(space))
            with pytest.raises(ResultWriteError) as caught:
                journal.benchmark(golden["benchmarks"][1])
        assert str(caught.value) == f"{path} cannot be written: No space left on device"
        assert path.read_bytes() == before
        journal.benchmark(golden["benchmarks"][1])  # after space was freed
    assert len(records.read(path).measurements) == 2


def test_journal_existing_name_is_refused(
    tmp_path: Path, run: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.journal.jsonl"
    for links in (True, False):
        with Journal(path) as first, Journal(path) as second:
            if not links:
                monkeypatch.setattr(os, "link", no_links)
            first.start(run)
            before = path.read_bytes()
            with pytest.raises(ResultWriteError, match="cannot be written: File exists"):
                second.start(run)
            assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
        path.unlink()


def no_links(*paths: Path) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


KILLED = """
import json, sys
from bench.records.journal import Journal
golden = json.load(open(sys.argv[2]))
with Journal(sys.argv[1]) as journal:
    journal.start(golden["lstm"]["run"])
    entry = golden["benchmarks"][0]
    ours = entry["extra_info"]["lstm"]
    for number in range(1, 100_000):
        ours["case"]["backend"] = f"backend-{number}"
        ours["case_id"] = f"backend-{number}/" + ours["case_id"].partition("/")[2]
        journal.benchmark(entry)
        print(ours["case_id"], flush=True)
"""


def test_journal_killed_process_keeps_acknowledged_lines(tmp_path: Path) -> None:
    source = random.Random(11)
    for attempt in range(3):
        path = tmp_path / f"{attempt}.journal.jsonl"
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(REPLICATE)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as process:
            assert process.stdout is not None
            # It goes on meanwhile, so that the kill strikes anywhere.
            read = source.randrange(1, 200)
            acknowledged = [process.stdout.readline().strip() for _ in range(read)]
            process.kill()
            acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
        file = records.read(path)
        found = [each.case.id for each in file.measurements]
        assert found[: len(acknowledged)] == acknowledged
        assert len(found) <= len(acknowledged) + 1
        assert not file.run.complete
        # The JSON made from the rest has the same cases.
        made = records.read(records.journal_to_json(path))
        assert [each.case.id for each in made.measurements] == found
