"""What windows cost, shown: tables in a terminal and in Markdown, and data for other programs."""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.cli.output import WIDTH, plain_text
from bench.render.along import (
    as_brief,
    as_csv,
    as_json,
    as_markdown,
    as_terminal,
    backend_sheet,
    records,
    summary_sheet,
)
from bench.render.table import Sheet
from bench.stats.along import Stream
from tests.bench import made_windows as made

COST = made.Cost(1e-3, 1e-4)


def as_text(found: Sequence[Stream], width: int = WIDTH) -> str:
    return plain_text(lambda console: as_terminal(found, console), width)


def headings(sheet: Sheet) -> tuple[str, ...]:
    return tuple(column.heading for column in sheet.columns)


def test_a_window_that_was_not_reached_is_there_with_its_reason(stream: Stream) -> None:
    text = " ".join(as_text([stream]).split())
    assert "k = 120, 240, 480 and 960 timed out: its time limit of 120 s was passed" in text
    assert "give it longer with --case-limit" in text
    row = next(
        row
        for row in records([stream])
        if row["backend"] == "static_unroll+xla" and row["window"] == 960
    )
    assert row["outcome"] == "timed_out"
    assert row["time_per_step_s"] is None
    assert row["valid"] is None
    assert row["fit_fixed_s"] == pytest.approx(4e-4, rel=0.05)


def test_a_backend_that_reaches_no_window_has_an_entry_with_its_reason(tmp_path: Path) -> None:
    costs = {"while_loop": COST, **made.refused("cudnn", "torch")}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs))
    reached = {line[0].text: line[0].bounds for line in summary_sheet(found).lines}
    assert reached == {"while_loop": "", "cudnn": "refused", "torch": "refused"}
    for text in (as_text([found]), as_markdown([found]), as_json([found])):
        assert "cudnn and torch reach no window" in " ".join(text.split())
    ours = [row for row in records([found]) if row["backend"] == "cudnn"]
    assert {(row["outcome"], row["reason"]) for row in ours} == {
        ("refused", "it runs on GPUs only")
    }
    assert len(ours) == len(made.WINDOWS)


def test_the_summary_has_the_numbers_of_a_backend_with_their_bounds(tmp_path: Path) -> None:
    costs = {"while_loop": made.Cost(2.1e-4, 1.1e-4)}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs, noise=0.0, processes=1))
    ((*cells, worst),) = summary_sheet(found).lines
    assert [(cell.text, cell.bounds) for cell in cells] == [
        ("while_loop", ""),
        ("60", "5–≥ 960"),
        ("210 µs", "−60.4 to 480"),
        ("110 µs", "47.5–173"),
        ("195 KiB", "195–195"),
    ]
    assert worst.bounds.startswith("at k = ")
    (row, *_) = records([found])
    assert (row["fit_processes"], row["fit_allowance"]) == (1, 0.29)
    for name, truth in (("fit_fixed", 2.1e-4), ("fit_per_timestep", 1.1e-4)):
        low, mid, high = (row[f"{name}{part}_s"] for part in ("_low", "", "_high"))
        assert isinstance(low, float)
        assert isinstance(high, float)
        assert low < truth < high
        assert mid == pytest.approx(truth)


def test_windows_of_inference_have_no_gradients(tmp_path: Path) -> None:
    paths = made.write_windows(
        tmp_path, {"keras": COST}, (30,), mode="inference", optimizer=None, processes=1
    )
    (row,) = records(made.read_streams(paths))
    assert (row["mode"], row["gradients"], row["optimizer"]) == ("inference", None, None)
    # One window is nothing to compare.
    assert (row["cheapest_window"], row["over_cheapest"]) == (None, None)
    assert summary_sheet(*made.read_streams(paths)).lines[0][1].text == "too few windows"


def test_how_far_a_backend_reaches_stands_in_the_summary(stream: Stream) -> None:
    reached = {line[0].text: line[0].bounds for line in summary_sheet(stream).lines}
    assert reached["static_unroll+xla"] == "up to k = 60"
    assert reached["while_loop"] == ""
    assert "up to k = 60" in as_text([stream])
    assert "| `static_unroll+xla` (up to k = 60) |" in as_markdown([stream])


def test_a_stream_without_any_time_is_told_beside_those_that_have_one(tmp_path: Path) -> None:
    made.write_windows(tmp_path, {"while_loop": COST}, session="a")
    nowhere = made.refused("while_loop", "keras")
    made.write_windows(tmp_path, nowhere, session="a", device="gpu:0", processes=1)
    found = made.read_streams([tmp_path])
    assert len(found) == 2
    for text in (as_text(found), as_markdown(found)):
        words = " ".join(text.split())
        assert "gpu:0, training in windows" in words
        assert "keras and while_loop reach no window: refused: it runs on GPUs only" in words
    assert {row["outcome"] for row in records(found)} == {"measured", "refused"}


def test_two_windows_have_no_line_and_say_so(tmp_path: Path) -> None:
    (found,) = made.read_streams(made.write_windows(tmp_path, windows=(30, 60)))
    sheet = summary_sheet(found)
    assert headings(sheet) == ("backend", "within 5% from k", "fixed per step", "memory a timestep")
    assert {line[2].text for line in sheet.lines} == {"too few windows"}
    # Two windows fix a slope of memory, and nothing says how sure it is.
    assert {line[3].bounds for line in sheet.lines} == {""}
    (row, *_) = records([found])
    assert (row["fit_fixed_s"], row["fit_is_bent"], row["near_cheapest_from"]) == (None, None, 60)


def test_where_there_is_no_line_none_is_told(tmp_path: Path) -> None:
    costs = {"while_loop": made.Cost(1e-3, 1e-4, slower={30: 10})}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs, processes=2))
    sheet = summary_sheet(found)
    assert [cell.text for cell in sheet.lines[0]][::2][:2] == ["while_loop", "no line"]
    assert "a timestep" not in headings(sheet)
    own = backend_sheet(found, found.backends[0])
    assert "over least" in headings(own)
    assert len(own.lines) == len(made.WINDOWS)


def test_how_much_more_a_window_costs_than_the_cheapest_stands_beside_it(tmp_path: Path) -> None:
    costs = {"while_loop": made.Cost(1e-3, 1e-4, slower={480: 1.1, 960: 1.2})}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs, noise=0.0))
    over = {row["window"]: row["over_cheapest"] for row in records([found])}
    assert over[960] == pytest.approx(1.2 * (1e-4 + 1e-3 / 960) / (1e-4 + 1e-3 / 240))
    assert {row["near_cheapest_from"] for row in records([found])} == {120}
    assert {row["near_cheapest_to"] for row in records([found])} == {240}
    assert {row["fit_is_bent"] for row in records([found])} == {True}
    sheet = backend_sheet(found, found.backends[0])
    told = [line[headings(sheet).index("over least")].text for line in sheet.lines]
    assert told[-3:] == ["0%", "+8%", "+16%"]
    assert told[0] == "+316%"


def test_windows_that_cannot_be_trusted_are_counted_and_marked(tmp_path: Path) -> None:
    (found,) = made.read_streams([made.write_first_two_invalid(tmp_path, {"while_loop": COST})])
    assert [line[0].bounds for line in summary_sheet(found).lines] == ["2 INVALID"]
    sheet = backend_sheet(found, found.backends[0])
    trust = [line[headings(sheet).index("trust")].text for line in sheet.lines]
    assert trust == ["INVALID"] * 2 + [""] * 8
    rows = records([found])
    assert [row["valid"] for row in rows] == [False] * 2 + [True] * 8
    assert rows[0]["invalid_reasons"] == "the machine was busy (close other programs)"
    assert rows[2]["invalid_reasons"] == ""


@pytest.mark.parametrize("width", [80, 100])
def test_no_column_is_lost_in_a_narrow_terminal(width: int, tmp_path: Path) -> None:
    costs = dict(made.COSTS)
    costs["while_loop+hoisted+xla"] = costs["while_loop"]
    (found,) = made.read_streams(
        made.write_windows(tmp_path, costs, valid=False), made.learned_through({30: 20})
    )
    text = as_text([found], width)
    assert max(map(len, text.splitlines())) <= width
    lines = text.splitlines()
    assert [line.endswith(" by") for line in lines if line.startswith("backend ")] == [True]
    columns = [line for line in lines if line.startswith("  k  steps ")]
    assert [line.endswith("trust") for line in columns] == [True] * len(costs)
    assert "10 INVALID" in text
    assert "up to k = 60, 6" in text
    for backend in costs:
        assert sum(line.startswith(f"{backend} ") for line in text.splitlines()) == 1


def test_the_terminal_has_the_summary_and_a_table_for_each_backend(stream: Stream) -> None:
    text = as_text([stream])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert headings(summary_sheet(stream)) == (
        *("backend", "within 5% from k", "fixed per step", "a timestep"),
        *("memory a timestep", "line misses by"),
    )
    assert "a timestep" in text
    for backend in made.COSTS:
        assert sum(line.strip() == backend for line in lines) == 1
    assert text.count("samples/s") >= len(made.COSTS)
    assert "learns" not in text


def test_what_was_learned_stands_beside_the_costs(learning: Callable[..., Stream]) -> None:
    found = learning((30, 20), (60, 50))
    text = as_text([found])
    assert "d ≤ 20" in text
    assert "every seed" in text
    by_window = {row["window"]: row["learnable_distance"] for row in records([found])}
    assert (by_window[15], by_window[30], by_window[60]) == (None, 20, 50)


def test_a_window_that_learned_less_than_a_shorter_one_ran_out_of_updates(
    learning: Callable[..., Stream],
) -> None:
    found = learning((15, 8), (30, 20), (60, 8), (120, 1))
    text = as_text([found])
    assert set(re.findall(r"d ≤ \S+", text)) == {"d ≤ 8", "d ≤ 20", "d ≤ 8*", "d ≤ 1*"}
    assert "* A shorter window learned a longer distance" in text
    rising = learning((30, 20), (60, 20))
    assert "A shorter window learned" not in as_text([rising])


def test_a_first_call_that_took_no_longer_than_the_others_compiled_nothing(tmp_path: Path) -> None:
    costs = {"while_loop": made.Cost(1e-3, 1e-4, compile_s=0.0)}
    (found,) = made.read_streams(made.write_windows(tmp_path, costs, processes=1))
    sheet = backend_sheet(found, found.backends[0])
    assert {line[headings(sheet).index("compile")].text for line in sheet.lines} == {"none"}


def test_markdown_has_the_same_tables(stream: Stream) -> None:
    text = as_markdown([stream])
    assert "| backend | within 5% from k | fixed per step |" in text
    assert "#### `while_loop`" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count(" | ") for line in table[: len(made.COSTS) + 2]}) == 1


def test_in_brief_markdown_has_a_line_a_backend_and_no_headings_of_its_own(stream: Stream) -> None:
    text = as_brief([stream])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == len(made.COSTS) + 2
    assert table == [line for line in as_markdown([stream]).splitlines() if line in table]
    assert "#" not in text
    assert text.startswith("**cpu, training")
    assert "CPU of made-up" in text.splitlines()[-1]


def test_csv_and_json_have_every_window_unscaled(stream: Stream) -> None:
    rows = list(csv.DictReader(io.StringIO("".join(as_csv([stream])))))
    document = json.loads(as_json([stream]))
    assert len(rows) == len(document["windows"]) == len(made.COSTS) * len(made.WINDOWS)
    for text, data in zip(rows, document["windows"], strict=True):
        assert text["case_id"] == data["case_id"]
        if data["time_per_timestep_s"] is not None:
            assert float(text["time_per_timestep_s"]) == data["time_per_timestep_s"]
            assert data["time_per_timestep_low_s"] <= data["time_per_timestep_s"]
    assert document["streams"][0]["findings"]
