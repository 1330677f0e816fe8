"""Some of the results: by device, backend, shape, mode and dtype."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.records.only import FILTERS, NothingThereError, only
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured, run, unmeasured

CASES = [
    Case(backend, LSTMSpec(8, 16, dtype=dtype), Workload(batch, 20, mode), device)
    for backend in ("keras", "while_loop")
    for dtype in ("float32", "float64")
    for batch in (4, 5)
    for mode in ("training", "inference")
    for device in ("cpu", "gpu:0")
]
RESULTS = gather(*(measured(case, 1.0, run("a")) for case in CASES))


def test_nothing_asked_for_is_all() -> None:
    assert only(RESULTS, {}) is RESULTS
    assert only(RESULTS, dict.fromkeys(FILTERS)) is RESULTS


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "device": st.sampled_from([("cpu",), ("gpu:*",), ("cpu", "gpu:0")]),
            "backend": st.sampled_from([("keras",), ("while*",)]),
            "shape": st.sampled_from([("b4-*",), ("b5-t20-i8-h16", "b5-*")]),
            "mode": st.sampled_from([("training",), ("inference",)]),
            "dtype": st.sampled_from([("float64",)]),
        },
    )
)
def test_a_filter_never_adds_and_what_is_left_fits_each(wanted: dict[str, tuple[str, ...]]) -> None:
    left = only(RESULTS, wanted).measurements
    assert left
    assert set(map(id, left)) <= set(map(id, RESULTS.measurements))
    for name, names in wanted.items():
        alone = {id(each) for each in only(RESULTS, {name: names}).measurements}
        assert {id(each) for each in left} <= alone


def test_a_name_that_nobody_has_is_told_with_those_there_are() -> None:
    with pytest.raises(NothingThereError, match=r"--device tpu: .* there are of: cpu, gpu:0"):
        only(RESULTS, {"device": ("tpu",)})


def test_names_that_are_there_but_never_together_are_told() -> None:
    lone = replace(CASES[0], device="gpu:7")
    results = gather(measured(lone, 1.0, run("a")), measured(CASES[-1], 1.0, run("a")))
    with pytest.raises(NothingThereError, match="no case is all of that"):
        only(results, {"device": ("gpu:7",), "backend": ("while_loop",)})


def test_what_has_no_time_is_filtered_too() -> None:
    found = gather(
        measured(CASES[0], 1.0, run("a")), unmeasured(CASES[1], run("a"), "failed", "it broke")
    )
    left = only(found, {"device": ("gpu:*",)})
    assert (left.measurements, [each.case for each in left.outcomes]) == ([], [CASES[1]])
