"""Test what each entry of a file may hold."""

import hashlib
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import records
from bench.case.cases import Case
from bench.machine.fields import Field, ResultError
from bench.machine.reasons import Reason
from bench.records import schema
from bench.records.reasons import as_recorded, read_reason
from bench.render.messages import ASK_OPTIONS, reason_line, reason_texts
from tests.bench.mutations import DELETE, put, saved
from tests.places import GOLDEN

Json = dict[str, Any]

PATH = Path("a.json")


def parsed(document: Json) -> list[schema.Measurement | schema.Outcome]:
    """Parse the entries of a document of results."""
    root = Field(PATH, "", document)
    run = schema.parse_run(root["lstm"]["run"])
    return [
        *(schema.parse_benchmark(each, run) for each in root["benchmarks"].items()),
        *(schema.parse_outcome(each, run) for each in root["lstm"]["outcomes"].items()),
    ]


def measured(document: Json) -> list[schema.Measurement]:
    return [each for each in parsed(document) if isinstance(each, schema.Measurement)]


def refused(document: Json) -> str:
    """Return the error of a document: one line with the file's name and the place in it."""
    with pytest.raises(ResultError, match=r"^a\.json: ") as caught:
        parsed(document)
    assert str(caught.value).isprintable()
    return str(caught.value)


OURS = "benchmarks[3].extra_info.lstm"
WORK = f"{OURS}.case.workload"
SPEC = f"{OURS}.case.spec"
TIME = "expected a time in seconds between 1e-12 and 1e+09"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (f"{WORK}.batch", "many", f"{WORK}.batch is 'many'; expected a positive integer"),
        (f"{WORK}.batch", True, f"{WORK}.batch is True; expected a positive integer"),
        (f"{WORK}.batch", DELETE, f"{WORK}.batch is missing"),
        (f"{WORK}.batch", 10**400, "is a number of over 30 digits; expected at most 21"),
        (f"{WORK}.mode", "dreaming", f"{WORK}.mode is 'dreaming'; expected one of inference,"),
        (f"{WORK}.window", 11, f"{WORK}.window is 11; expected at most the 10 timesteps"),
        (f"{WORK}.optimizer", "lion", f"{WORK}.optimizer is 'lion'; expected one of sgd, adam"),
        (
            f"{WORK}.dropout",
            math.nan,
            f"{WORK}.dropout is nan; expected at least 0 and less than 1",
        ),
        (f"{OURS}.case.variant", "a:b", f"{OURS}.case.variant is 'a:b'; expected a name without"),
        (f"{WORK}.depth", 2, f"{WORK} has an unknown field 'depth'"),
        (f"{SPEC}.dtype", "int3", f"{SPEC}.dtype is 'int3'; expected one of float64,"),
        (f"{SPEC}.bidirectional", 1, f"{SPEC}.bidirectional is 1; expected True or False"),
        (f"{OURS}.case.backend", " ", f'{OURS}.case.backend is " "; expected a name'),
        (f"{OURS}.case_id", "x", f'{OURS}.case_id is "x"; expected "while_loop+xla/b2-t10-i3-h4/'),
        (f"{OURS}.case", DELETE, f"{OURS}.case is missing; expected an object"),
        (f"{OURS}.schema", 4, f"{OURS}.schema is 4; expected an integer from 1 to 3, the"),
        (f"{OURS}.gate.passed", "yes", f'{OURS}.gate.passed is "yes"; expected true or false'),
        (f"{OURS}.setup.trace_s", -1, f"{OURS}.setup.trace_s is -1; expected a number of at"),
        (f"{OURS}.blocks.round", [0, 1], f"{OURS}.blocks.round is a list; expected a round for"),
        (f"{OURS}.blocks.round[2]", -1, f"{OURS}.blocks.round[2] is -1; expected an integer of"),
        (f"{OURS}.blocks.warmup[0]", None, f"{OURS}.blocks.warmup[0] is null; {TIME}"),
        (f"{OURS}.memory", {"seconds": "soon"}, f'{OURS}.memory.seconds is "soon"; expected a num'),
        (f"{OURS}.memory", {"peak_bytes": "2 MB"}, f'{OURS}.memory.peak_bytes is "2 MB"; expected'),
        (
            f"{OURS}.memory",
            {"peak_bytes": 1.7e308},
            "peak_bytes is 1.7e+308; expected a number from",
        ),
        (
            f"{OURS}.case.workload.min_length",
            2**31,
            f"{OURS}.case.workload.min_length is 2147483648; expected at most",
        ),
        (f"{OURS}.steady", "no", f'{OURS}.steady is "no"; expected true or false'),
        (f"{OURS}.validity.valid", False, f"{OURS}.validity.reasons is empty; expected at least"),
        (f"{OURS}.validity.reasons", [{}], f"{OURS}.validity.reasons[0].code is missing;"),
        ("lstm.outcomes[0].values", [1], "lstm.outcomes[0].values is a list; expected an object"),
        ("lstm.outcomes[0].code", 1, "lstm.outcomes[0].code is 1; expected a name"),
        ("benchmarks[3].stats.data[1]", 0, f"benchmarks[3].stats.data[1] is 0; {TIME}"),
        ("benchmarks[3].stats.data[1]", math.nan, f"benchmarks[3].stats.data[1] is NaN; {TIME}"),
        ("benchmarks[3].stats.data[1]", 10**400, f"{'0' * 20}...; {TIME}"),
        ("benchmarks[3].stats.data", [], "benchmarks[3].stats.data is empty; expected at least"),
        ("benchmarks[3].extra_info", {}, f"{OURS} is missing; expected an object"),
        ("lstm.outcomes[0].outcome", "meh", 'lstm.outcomes[0].outcome is "meh"; expected one of'),
        ("lstm.outcomes[0].reason", 5, "lstm.outcomes[0].reason is 5; expected text"),
        ("lstm.run.id", "", 'lstm.run.id is ""; expected a name'),
        ("lstm.run.started", "today", 'lstm.run.started is "today"; expected a time with its zone'),
        ("lstm.run.started", "0001-01-01T00:00:00+23:59", "expected a time with its zone, like"),
        ("lstm.run.complete", 1, "lstm.run.complete is 1; expected true or false"),
        ("lstm.run.seed", 2**64, "lstm.run.seed is 18446744073709551616; expected an integer"),
    ],
)
def test_read_malformed_field_is_named_with_expected_value(
    golden: Json, field: str, value: object, message: str
) -> None:
    put(golden, field, value)
    assert message in refused(golden)


def test_read_cached_case_keeps_place_of_errors(golden: Json) -> None:
    first, again = measured(golden), measured(golden)
    assert again[0].case is first[0].case
    batch = first[-1].case.workload.batch
    for equal in (float(batch), True):  # equal in Python, but no integers
        put(golden, f"{WORK}.batch", equal)
        assert f"{WORK}.batch is" in refused(golden)


def test_read_hostile_value_gives_short_safe_error(golden: Json) -> None:
    put(golden, "lstm.run.started", "\x1b[31m\n\u202e\ud800" + "x" * 1_000_000)
    assert len(refused(golden)) < 300
    put(golden, "lstm.run.started", "2025-01-31T12:00:00+00:00")
    put(golden, f"{WORK}.mode", "\x1b[31m\n" + "y" * 1_000_000)
    assert len(refused(golden)) < 500


def test_read_deeply_nested_field_is_refused(golden: Json) -> None:
    nested: object = 1
    for _ in range(200):
        nested = [nested]
    put(golden, f"{OURS}.evidence", {"deep": nested})
    assert f"{OURS}.evidence is nested too deeply" in refused(golden)


@pytest.mark.parametrize("errors", [{"y": None}, {}, DELETE])
def test_read_failed_gate_gives_no_time(golden: Json, errors: object) -> None:
    entry = golden["benchmarks"][3]
    ours = entry["extra_info"]["lstm"]
    ours["gate"] = {"passed": False} | ({} if errors is DELETE else {"errors": errors})
    entry["stats"]["data"] = "none"
    ours["blocks"] = None
    (failed,) = [each for each in parsed(golden) if isinstance(each, schema.Outcome)][:1]
    assert (failed.case.backend, failed.outcome) == ("while_loop+xla", "failed")
    assert "its results differ from the reference" in reason_line(failed.reason)


# Figures and times


@pytest.mark.parametrize("kind", ["memory", "roofs", "energy"])
@pytest.mark.parametrize("value", [0, 0.0, 5, 1e-30, 1e30, 1.5, None, "not known"])
def test_figures_other_types_are_refused(golden: Json, kind: str, value: object) -> None:
    put(golden, f"{OURS}.{kind}", {"of_matmul": value})
    found = getattr(measured(golden)[3], kind)
    assert found == {"of_matmul": value}
    put(golden, f"{OURS}.{kind}", None)
    assert getattr(measured(golden)[3], kind) is None


@pytest.mark.parametrize("value", [-1, -1e-300, 1e-31, 1.1e30, math.nan, math.inf, True, []])
def test_figures_extreme_numbers_are_refused(golden: Json, value: object) -> None:
    put(golden, f"{OURS}.roofs", {"of_matmul": value})
    assert f"{OURS}.roofs.of_matmul is" in refused(golden)


def test_timed_s_covers_blocks_or_stream(golden: Json) -> None:
    first = measured(golden)[0]
    assert first.calls == 4
    assert first.timed_s == pytest.approx(4 * 0.054)
    paced = replace(first.case.workload, mode="streaming", timesteps=1, period=0.5)
    assert replace(first, case=replace(first.case, workload=paced)).timed_s == 0.5 * 5 * 4


# Runs


def test_run_round_trip_is_equal(golden: Json) -> None:
    run = schema.parse_run(Field(PATH, "run", golden["lstm"]["run"]))
    for each in (run, replace(run, finished=None, complete=False, options={"session": "s"})):
        assert schema.parse_run(Field(PATH, "run", json.loads(json.dumps(each.to_dict())))) == each
        assert each.managed is ("session" in each.options)


@pytest.mark.parametrize(
    ("line", "complete", "after"),
    [
        ({}, True, {"load": 0.5}),
        ({"complete": False}, False, {"load": 0.5}),
        ({"complete": True, "environment_after": {"load": 9}}, True, {"load": 9}),
    ],
)
def test_parse_finish_gives_end_and_completeness(
    golden: Json, line: Json, complete: bool, after: Json
) -> None:
    run = schema.parse_run(Field(PATH, "run", golden["lstm"]["run"]))
    begun = replace(run, finished=None, complete=False)
    ended = schema.parse_finish(
        begun, Field(PATH, "", {"finished": "2026-01-01T00:00:00Z", **line})
    )
    assert ended.finished == datetime(2026, 1, 1, tzinfo=UTC)
    assert ended.complete is complete
    assert ended.environment["after"] == after
    assert ended.environment["before"] == run.environment["before"]
    assert (begun.complete, begun.finished) == (False, None)


def test_read_schema_2_with_variant_equals_schema_1(golden: Json) -> None:
    old = measured(golden)
    assert {each.case.variant for each in old} == {""}
    put(golden, f"{OURS}.schema", 2)
    put(golden, f"{OURS}.case.variant", "int8")
    case = Case.from_dict(golden["benchmarks"][3]["extra_info"]["lstm"]["case"])
    put(golden, f"{OURS}.case_id", case.id)
    new = measured(golden)
    assert [each.case.variant for each in new].count("int8") == 1
    assert len(new) == len(old)


@pytest.mark.parametrize(
    ("processor", "machine_id", "name"),
    [
        ("Intel(R) Xeon(R) Processor", "3192a4f07d46", "Intel Xeon 3192a4"),
        ("Intel(R) Core(TM) i7-9700 CPU @ 3.00GHz", "0a1b2c3d4e5f", "Intel Core i7-9700 0a1b2c"),
        ("AMD EPYC", "e08d2021fbdd", "AMD EPYC e08d20"),
        ("AMD EPYC", "id of mine", f"AMD EPYC {hashlib.sha256(b'id of mine').hexdigest()[:6]}"),
        (None, "e08d2021fbdd", "vm"),
        (["AMD"], "e08d2021fbdd", "vm"),
    ],
)
def test_machine_name_has_processor_and_digits_of_id(
    golden: Json, tmp_path: Path, processor: object, machine_id: str, name: str
) -> None:
    golden["lstm"]["run"] |= {"host": "vm", "machine_id": machine_id}
    golden["lstm"]["run"]["environment"]["before"]["cpu"] = {"name": processor}
    assert records.read(saved(tmp_path / "a.json", golden)).run.machine == name


# Reasons


MORE_TIME = "give it more time: --lstm-budget SECONDS"
"""Advice of files of schemas 1 and 2."""


@pytest.mark.parametrize(
    ("advice", "for_pytest", "for_run"),
    [
        (MORE_TIME, MORE_TIME, "give it more time: --seconds TIME"),
        (
            "give it more time: --seconds TIME; if it stays, wait",
            f"{MORE_TIME}; if it stays, wait",
            "give it more time: --seconds TIME; if it stays, wait",
        ),
        (
            "measure with --lstm-threads 2",
            "measure with --lstm-threads 2",
            "measure with --threads 2",
        ),
        ("close what else runs", "close what else runs", "close what else runs"),
        ("", "", ""),
    ],
)
def test_advice_of_an_older_file_names_the_options_of_the_reader(
    advice: str, for_pytest: str, for_run: str
) -> None:
    for managed, shown in ((False, for_pytest), (True, for_run)):
        reason = read_reason("of_an_older_version", None, "why", advice, managed)
        assert reason_texts(reason) == ("why", shown)
    asked = reason_texts(reason, ASK_OPTIONS)[1]
    assert asked == for_run.replace("--seconds TIME", "--budget TIME --again").replace(
        "--threads", "bench.run with --threads"
    )


def test_reasons_are_read_back_from_their_codes_and_values(golden: Json) -> None:
    found = Reason("busy", {"others": 1.25, "processors": 2, "busiest": "mail 90%"})
    ours = golden["benchmarks"][0]["extra_info"]["lstm"]
    ours["validity"] = {"valid": False, "reasons": [as_recorded(found)]}
    outcome = golden["lstm"]["outcomes"][0]
    kept = {key: outcome[key] for key in ("case", "case_id")}
    golden["lstm"]["outcomes"][0] = kept | {"outcome": "crashed", **as_recorded(found)}
    (item, *_), (*_, crashed) = measured(golden), parsed(golden)[: len(golden["benchmarks"]) + 1]
    assert isinstance(crashed, schema.Outcome)
    for reason in (item.reasons[0], crashed.reason):
        assert (reason.code, reason.values) == (found.code, found.values)
        assert reason_texts(reason) == reason_texts(found)


@pytest.mark.parametrize(("code", "values"), [("later", {"n": 1}), ("busy", {"others": "many"})])
def test_reason_that_this_version_cannot_word_is_named_by_its_code(
    code: str, values: dict[str, object]
) -> None:
    reason = read_reason(code, values, None, None, managed=False)
    assert reason_texts(reason)[0] == f"{code}: this version of the suite has no sentence for it"


def test_reason_without_code_and_sentence_raises(golden: Json) -> None:
    golden["lstm"]["outcomes"][0] = {
        key: golden["lstm"]["outcomes"][0][key] for key in ("case", "case_id", "outcome")
    }
    with pytest.raises(ResultError, match=r"outcomes\[0\].code is missing"):
        parsed(golden)


@pytest.mark.parametrize("managed", [False, True])
def test_read_advice_names_options_of_its_command(tmp_path: Path, managed: bool) -> None:
    document = json.loads((GOLDEN / "replicate-1.json").read_text())
    options = document["lstm"]["run"]["options"]
    if managed:
        options["session"] = "20250131T120000Z-abcdef"
    ours = document["benchmarks"][0]["extra_info"]["lstm"]
    reason = {"code": "not_steady", "text": "it drifts", "advice": MORE_TIME}
    ours["validity"] = {"valid": False, "reasons": [reason]}
    document["lstm"]["outcomes"][0]["advice"] = "measure with --lstm-threads 2"
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    file = records.read(path)
    assert file.run.managed == managed
    message = [
        reason_texts(file.measurements[0].reasons[0])[1],
        reason_texts(file.outcomes[0].reason)[1],
    ]
    assert message == (
        ["give it more time: --seconds TIME", "measure with --threads 2"]
        if managed
        else [MORE_TIME, "measure with --lstm-threads 2"]
    )
