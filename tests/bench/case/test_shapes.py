"""Grids of shapes, and their specs and workloads."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.loading import Grid
from bench.case.suite_file import SuiteShape
from bench.machine.fields import Field, InputError
from bench.schema.decoding import decode
from lstm_impl import LSTMSpec, Workload

SIZES = {"batch": 2, "timesteps": 6, "input_size": 1, "hidden_size": 4}
WIDTHS = {"batch": 1, "input_size": 3, "hidden_size": 4}
FEW = st.lists(st.integers(1, 9), min_size=1, max_size=3)


def shapes(
    table: object,
    window: int | None = None,
    mode: str = "inference",
    gradients: str = "all",
    period: float | None = None,
) -> list[tuple[LSTMSpec, Workload]]:
    entry = Field(Path("my.toml"), "groups[0].shapes[0]", table)
    grid = Grid(entry, decode(entry, SuiteShape))
    return [grid.shape(each, window, "float32", mode, gradients, period) for each in grid]


@given(st.tuples(FEW, FEW, FEW, FEW))
def test_grid_lists_of_sizes_give_every_combination_once(lists: tuple[list[int], ...]) -> None:
    found = shapes(dict(zip(SIZES, lists, strict=True)))
    sizes = [
        (work.batch, work.timesteps, spec.input_size, spec.hidden_size) for spec, work in found
    ]
    assert sizes == list(itertools.product(*map(dict.fromkeys, lists)))


def test_grid_input_of_hidden_size_is_square() -> None:
    found = shapes({**SIZES, "input_size": "hidden_size", "hidden_size": [4, 6]})
    assert [spec for spec, _ in found] == [LSTMSpec(4, 4), LSTMSpec(6, 6)]


def test_grid_all_fields_reach_spec_and_workload() -> None:
    more = {"num_layers": 2, "bidirectional": True, "min_length": 3, "dropout": 0.5}
    ((spec, work),) = shapes({**SIZES, **more, "batch_major": True})
    assert spec == LSTMSpec(1, 4, num_layers=2, bidirectional=True)
    assert work == Workload(2, 6, min_length=3, dropout=0.5, batch_major=True)


def test_grid_stream_without_timesteps_has_one() -> None:
    ((_, work),) = shapes(WIDTHS, mode="streaming", period=0.01)
    assert work == Workload(1, 1, "streaming", period=0.01)
    ((_, work),) = shapes({**WIDTHS, "timesteps": 5}, mode="streaming")
    assert work == Workload(1, 5, "streaming")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**SIZES, "bacth": 1}, ".bacth is not known (did you mean batch?); expected one of"),
        (WIDTHS, ".timesteps is missing"),
        ({key: 1 for key in SIZES if key != "batch"}, ".batch is missing"),
        ({**SIZES, "batch": [2, 0]}, ".batch[1] is 0; expected a positive integer"),
        ({**SIZES, "batch": True}, ".batch is true; expected a positive integer or a list of them"),
        ({**SIZES, "batch": 2.0}, ".batch is 2.0; expected a positive integer or a list of them"),
        ({**SIZES, "batch": []}, ".batch is a list; expected a positive integer or a list of them"),
        ({**SIZES, "batch": 10**18}, f".batch is {10**18}; expected a positive integer and"),
        ({**SIZES, "dropout": True}, ".dropout is true; expected a number from 0 to 1"),
        ({**SIZES, "dropout": float("nan")}, ".dropout is NaN; expected a number from 0 to 1"),
        (
            {**SIZES, "input_size": "hidden"},
            '.input_size is "hidden"; expected a positive integer, a list of them, or "hidden_s',
        ),
        (
            {**SIZES, "num_layers": 10**9},
            ".num_layers is 1000000000; expected a positive integer and at most 1000",
        ),
        ({**SIZES, "dropout": 1.0}, ": dropout is 1.0; expected at least 0 and less than"),
        ({**SIZES, "bidirectional": 1}, ".bidirectional is 1; expected true or false"),
        (
            {**SIZES, "optimizer": "adam"},
            ": optimizer is 'adam', but mode is 'inference'; expected None: only training",
        ),
        (
            {**SIZES, "timesteps": [9, 6], "min_length": 7},
            ": min_length is 7; expected at most the 6 timesteps",
        ),
    ],
)
def test_grid_wrong_value_names_its_place(table: object, message: str) -> None:
    with pytest.raises(InputError) as raised:
        shapes(table)
    assert str(raised.value).startswith(f"my.toml: groups[0].shapes[0]{message}")


def test_grid_window_longer_than_the_sequence_raises() -> None:
    assert shapes(SIZES, 6)[0][1].window == shapes({**SIZES, "min_length": 6})[0][1].min_length == 6
    with pytest.raises(InputError, match="window is 7; expected at most the 6 timesteps"):
        shapes(SIZES, 7)
    with pytest.raises(InputError, match="has no padding"):
        shapes({**SIZES, "min_length": 2}, 3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"dropout": 0.1}, ": dropout is 0.1, but mode is 'streaming'; expected 0.0"),
        ({"min_length": 1}, ": min_length is 1, but mode is 'streaming'; expected None"),
        ({"optimizer": "sgd"}, ": optimizer is 'sgd', but mode is 'streaming'"),
        ({"bidirectional": True}, ".bidirectional is true; expected false"),
    ],
)
def test_grid_stream_with_fields_of_sequences_raises(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        shapes({**WIDTHS, **more}, mode="streaming")
    assert f"shapes[0]{message}" in str(raised.value)


def test_grid_stream_with_windows_raises() -> None:
    assert shapes({**WIDTHS, "bidirectional": False}, mode="streaming")
    with pytest.raises(InputError, match="window is 1, but mode is 'streaming'"):
        shapes(WIDTHS, 1, "streaming")
