"""Test work orders, and the errors that workers report."""

import json
from pathlib import Path

import pytest

from bench.case.cases import Case
from bench.cli.options import MeasurementOptions
from bench.machine.fields import ResultError
from bench.worker.order import (
    CANNOT_MEASURE,
    CANNOT_WRITE,
    SuitePart,
    WorkOrder,
    report_error,
    reported_error,
)
from lstm_impl import LSTMSpec, Workload
from tests.loaded import list_loaded

CASE = Case("numpy", LSTMSpec(1, 4), Workload(2, 5, "training"))
ORDER = WorkOrder(
    MeasurementOptions(suite="/a/mine.toml", seed=3),
    {"SIDE": "east"},
    SuitePart("mine", [CASE.to_dict()], {CASE.group: 2.5}),
)


def written(folder: Path, order: WorkOrder, **changes: object) -> Path:
    path = folder / "order.json"
    path.write_text(json.dumps(json.loads(order.to_json()) | changes))
    return path


def test_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = written(tmp_path, ORDER)
    found = WorkOrder.read(path)
    assert found == ORDER
    suite = found.load_suite(path)
    assert (suite.name, suite.cases, suite.seconds) == ("mine", (CASE,), {CASE.group: 2.5})


def test_order_without_a_part_names_a_suite(tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    path.write_text('{"schema": 1, "options": {"suite": "smoke", "backends": ["numpy"]}}')
    order = WorkOrder.read(path)
    assert (order.environment, order.part) == ({}, None)
    suite = order.load_suite(path)
    assert suite.name == "smoke"
    assert {case.backend for case in suite.cases} == {"numpy"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema is 2; expected at most 1"),
        ({"schema": "one"}, "schema is "),
        ({"options": 3}, "options is 3; expected an object"),
        ({"environment": {"A": 1}}, "environment.A is 1; expected text"),
        ({"suite": {"name": "", "cases": [], "seconds": {}}}, "suite.name is "),
        ({"suite": {"name": "a", "cases": [3], "seconds": {}}}, r"suite.cases\[0\] is 3"),
        ({"suite": {"name": "a", "cases": [], "seconds": {"g": -1}}}, "suite.seconds.g is -1"),
    ],
)
def test_order_with_a_wrong_field_names_it(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ResultError, match=rf"order\.json: {message}"):
        WorkOrder.read(written(tmp_path, ORDER, **changes))


def test_order_with_a_wrong_case_names_it(tmp_path: Path) -> None:
    part = {"name": "mine", "cases": [CASE.to_dict(), {"backend": 3}], "seconds": {}}
    path = written(tmp_path, ORDER, suite=part)
    with pytest.raises(ResultError, match=r"order\.json: suite\.cases\[1\] case\.backend is 3"):
        WorkOrder.read(path).load_suite(path)


def test_reported_error_is_found_among_other_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert reported_error("a framework starts\n{}\n") is None
    print("a framework starts")
    report_error(CANNOT_MEASURE, "the first")
    report_error(CANNOT_WRITE, "/a b/c cannot be written:\nno space")
    print('{"worker_error": "cut off')
    output = capsys.readouterr().out
    assert reported_error(output) == (CANNOT_WRITE, "/a b/c cannot be written:\nno space")


def test_reading_an_order_imports_no_numpy() -> None:
    """The order sets the number of threads, which NumPy's libraries read on import."""
    assert not list_loaded("import bench.worker.__main__") & {"numpy", "lstm_impl", "pytest"}
