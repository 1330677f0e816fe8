"""What windows cost, from result files to tables and pictures, and what the command promises."""

import csv
import functools
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from bench import truncation
from bench.judging.intervals import Interval
from bench.judging.ranking import build
from bench.judging.rows import Section
from bench.results.files import collect
from bench.results.maps import LearningMap
from bench.telling import drawing
from bench.telling.deliver import WIDTH, plain_text
from bench.telling.quantities import percent, size
from bench.telling.sheet import Sheet
from bench.windows.cost import Stream, streams
from bench.windows.sheets import (
    as_brief,
    as_csv,
    as_json,
    as_markdown,
    as_terminal,
    backend_sheet,
    records,
    summary_sheet,
)
from bench.windows.words import near_from, sentence, signed, signed_range, without_time
from lstm_impl.spec import LSTMSpec
from tests.bench import made_windows as made


def sections(paths: Sequence[Path]) -> tuple[Section, ...]:
    return build(collect(paths), kind="truncation").sections


def read(paths: Sequence[Path], learned: LearningMap | None = None) -> tuple[Stream, ...]:
    return streams(sections(paths), learned)


def as_text(found: Sequence[Stream], width: int = WIDTH) -> str:
    return plain_text(lambda console: as_terminal(found, console), width)


def headings(sheet: Sheet) -> tuple[str, ...]:
    return tuple(column.heading for column in sheet.columns)


@pytest.fixture(scope="module")
def learning(usual_windows: Path) -> Callable[..., Stream]:
    """The usual stream with what was learned of it."""
    found = sections([usual_windows])

    @functools.cache
    def learn(*distances: tuple[int, int]) -> Stream:
        furthest = {k: dict(distances).get(k, 0) for k in made.WINDOWS}
        (stream,) = streams(found, made.learned_through(furthest) if distances else None)
        return stream

    return learn


@pytest.fixture(scope="module")
def stream(learning: Callable[..., Stream]) -> Stream:
    return learning()


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The usual windows of one process."""
    path = tmp_path_factory.mktemp("one")
    made.write_windows(path, processes=1)
    return path


def run(*arguments: str | Path) -> int:
    return truncation.main([str(each) for each in arguments])


# -- what is made of the results


def test_the_line_of_every_backend_is_that_of_its_costs(stream: Stream) -> None:
    assert {cost.backend for cost in stream.backends} == set(made.COSTS)
    for cost in stream.backends:
        truth = made.COSTS[cost.backend]
        assert cost.fit is not None
        assert cost.fit.line.fixed == pytest.approx(truth.fixed, rel=0.03)
        assert cost.fit.line.per_timestep == pytest.approx(truth.per_timestep, rel=0.03)
        assert cost.fit.processes == 6
        assert cost.memory_slope is not None
        assert cost.memory_slope.mid == pytest.approx(truth.bytes_per_timestep)


def test_backends_stand_in_the_order_of_their_ranks(stream: Stream) -> None:
    assert [cost.backend for cost in stream.backends][-1] == "while_loop"


def test_a_step_is_one_window_of_the_stream(tmp_path: Path) -> None:
    """100 timesteps in windows of 30 are four steps, the last on 10 timesteps."""
    costs = {"while_loop": made.Cost(1e-3, 1e-4)}
    paths = made.write_windows(tmp_path, costs, (10, 30, 100), timesteps=100, noise=0.0)
    (found,) = read(paths)
    (cost,) = found.backends
    assert [record["steps"] for record in records([found])] == [10, 4, 1]
    assert records([found])[1]["time_per_step_s"] == pytest.approx(1e-3 + 1e-4 * 25)
    assert cost.fit is not None
    assert cost.fit.line.fixed == pytest.approx(1e-3)
    assert cost.fit.line.per_timestep == pytest.approx(1e-4)


def test_streams_of_other_shapes_stand_apart(tmp_path: Path) -> None:
    made.write_windows(tmp_path, session="a", batch=64, processes=1)
    made.write_windows(tmp_path, session="b", batch=32, processes=1)
    assert len(read([tmp_path])) == 2


def test_streams_that_differentiate_something_else_stand_apart(tmp_path: Path) -> None:
    """In one session: what only computes the weights' gradients is no window of the other."""
    for gradients in ("all", "weights"):
        made.write_windows(tmp_path, session=gradients, gradients=gradients, processes=2)
    for process in range(2):
        path = tmp_path / f"all-{process}.json"
        document = json.loads(path.read_text())
        other = json.loads((tmp_path / f"weights-{process}.json").read_text())
        document["benchmarks"] += other["benchmarks"]
        document["lstm"]["outcomes"] += other["lstm"]["outcomes"]
        path.write_text(json.dumps(document))
        (tmp_path / f"weights-{process}.json").unlink()
    found = read([tmp_path])
    of_each = [{row.case.workload.gradients for row in stream.table.rows} for stream in found]
    assert sorted(of_each, key=str) == [{"all"}, {"weights"}]
    for stream in found:
        assert stream.windows == made.WINDOWS
        assert len(stream.backends) == len(made.COSTS)
    assert {row["gradients"] for row in records(found)} == {"all", "weights"}


def test_a_window_that_was_not_reached_is_there_with_its_reason(stream: Stream) -> None:
    unrolled = next(cost for cost in stream.backends if cost.backend == "static_unroll+xla")
    assert [row.case.workload.window for row in unrolled.unreached] == [120, 240, 480, 960]
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
    assert row["fit_fixed_s"] == pytest.approx(4e-4, rel=0.05)


def refused(backend: str, reason: str = "it runs on GPUs only") -> dict[str, made.Cost]:
    """A backend that reaches no window, beside one that reaches all."""
    nowhere = made.Cost(1e-3, 1e-4, reaches=0, outcome="refused", reason=reason)
    return {"while_loop": made.Cost(1e-3, 1e-4), backend: nowhere}


def test_a_backend_that_reaches_no_window_has_an_entry_with_its_reason(tmp_path: Path) -> None:
    costs = refused("cudnn") | refused("torch") | refused("keras", "it is not installed")
    (found,) = read(made.write_windows(tmp_path, costs))
    assert without_time(found.backends) == [
        "cudnn and torch reach no window: refused: it runs on GPUs only "
        "(to change that: give it longer with --case-limit)",
        "keras reaches no window: refused: it is not installed "
        "(to change that: give it longer with --case-limit)",
    ]
    reached = {line[0].text: line[0].bounds for line in summary_sheet(found).lines}
    assert reached == {"while_loop": "", "cudnn": "refused", "torch": "refused", "keras": "refused"}
    for text in (as_text([found]), as_markdown([found])):
        assert "cudnn and torch reach no window" in " ".join(text.split())
    assert "keras reaches no window" in as_json([found])
    ours = [row for row in records([found]) if row["backend"] == "cudnn"]
    assert {(row["outcome"], row["reason"]) for row in ours} == {
        ("refused", "it runs on GPUs only")
    }
    assert len(ours) == len(made.WINDOWS)


def test_how_far_a_backend_reaches_stands_in_the_summary(stream: Stream) -> None:
    reached = {line[0].text: line[0].bounds for line in summary_sheet(stream).lines}
    assert reached["static_unroll+xla"] == "up to k = 60"
    assert reached["while_loop"] == ""
    assert "up to k = 60" in as_text([stream])
    assert "| `static_unroll+xla` (up to k = 60) |" in as_markdown([stream])


def test_a_window_that_was_not_asked_of_a_backend_is_told_of_it(tmp_path: Path) -> None:
    paths = made.write_windows(tmp_path, processes=2)
    for path in paths:
        document = json.loads(path.read_text())
        document["lstm"]["outcomes"] = [
            each for each in document["lstm"]["outcomes"] if "w960" not in each["case_id"]
        ]
        path.write_text(json.dumps(document))
    (found,) = read(paths)
    text = " ".join(as_text([found]).split())
    assert "k = 120, 240 and 480 timed out: its time limit of 120 s was passed" in text
    assert "k = 960 not measured: not in the suite" in text


def test_a_stream_without_any_time_is_told_beside_those_that_have_one(tmp_path: Path) -> None:
    made.write_windows(tmp_path, {"while_loop": made.Cost(1e-3, 1e-4)}, session="a")
    made.write_windows(tmp_path, refused_everywhere(), session="a", device="gpu:0", processes=1)
    found = read([tmp_path])
    assert len(found) == 2
    for text in (as_text(found), as_markdown(found)):
        words = " ".join(text.split())
        assert "gpu:0, training in windows" in words
        assert "keras and while_loop reach no window: not measured: no gpu:0" in words
    assert {row["outcome"] for row in records(found)} == {"measured", "not_measured"}


def refused_everywhere() -> dict[str, made.Cost]:
    nowhere = made.Cost(1e-3, 1e-4, reaches=0, outcome="not_measured", reason="no gpu:0")
    return {"while_loop": nowhere, "keras": nowhere}


# -- in words


def test_the_sentence_names_the_window_that_is_enough_and_both_costs(tmp_path: Path) -> None:
    costs = {"while_loop+hoisted": made.Cost(2.1e-4, 1.1e-4)}
    (found,) = read(made.write_windows(tmp_path, costs, noise=0.0))
    (cost,) = found.backends
    assert sentence(cost) == (
        "while_loop+hoisted: a timestep is within 5% of its least in windows of 60 and more; "
        "the line is 210 µs (210–210) a step + 110 µs (110–110) a timestep"
    )


@pytest.mark.parametrize(
    ("fixed", "told", "cell"),
    [
        (1e-6, "within 5% of its least in windows of every length, of 3 and more", "≤ 3"),
        (1.0, "within 5% of its least in the longest windows alone, of 960", "≥ 960"),
    ],
)
def test_nothing_is_said_of_windows_that_were_not_measured(
    fixed: float, told: str, cell: str, tmp_path: Path
) -> None:
    costs = {"while_loop": made.Cost(fixed, 1e-4)}
    (found,) = read(made.write_windows(tmp_path, costs, noise=0.0))
    (cost,) = found.backends
    assert cost.cheapest is not None
    assert told in sentence(cost)
    assert near_from(cost.cheapest) == (cell, "")


def test_long_windows_that_cost_more_again_are_told(tmp_path: Path) -> None:
    paths = made.write_windows(tmp_path, {"keras": made.Cost(1e-3, 1e-4)}, noise=0.0)
    slow(paths, {8: 1.1, 9: 1.2})  # k = 480 and 960
    (found,) = read(paths)
    told = sentence(found.backends[0])
    assert "in windows of 120 and more, and costs 16% (16–16) more in windows of 960;" in told
    assert "windows of 960 cost" in told.rpartition(";")[2]
    text = " ".join(as_text([found]).split())
    assert (
        "The times bend away from one line: k = 3 to 30 alone have 1.00 ms a step + 100 µs" in text
    )
    over = {row["window"]: row["over_cheapest"] for row in records([found])}
    assert over[960] == pytest.approx(1.2 * (1e-4 + 1e-3 / 960) / (1e-4 + 1e-3 / 240))
    assert {row["near_cheapest_from"] for row in records([found])} == {120}
    assert {row["fit_is_bent"] for row in records([found])} == {True}


def slow(paths: Sequence[Path], factors: Mapping[int, float]) -> None:
    """Windows that took longer, by their places in the files."""
    for path in paths:
        document = json.loads(path.read_text())
        for place, factor in factors.items():
            stats = document["benchmarks"][place]["stats"]
            stats["data"] = [factor * time for time in stats["data"]]
        path.write_text(json.dumps(document))


def test_two_windows_are_told_to_be_too_few(tmp_path: Path) -> None:
    (found,) = read(made.write_windows(tmp_path, windows=(30, 60)))
    assert sentence(found.backends[0]).endswith("measured at 2 windows; 3 make a line")
    (alone,) = read(made.write_windows(tmp_path / "one", windows=(30,)))
    assert sentence(alone.backends[0]).endswith("measured at 1 window; 2 can be compared")
    assert "too few windows" in as_text([found])


def test_where_there_is_no_line_none_is_told(tmp_path: Path) -> None:
    paths = made.write_windows(tmp_path, {"while_loop": made.Cost(1e-3, 1e-4)}, processes=2)
    slow(paths, {4: 10})  # k = 30
    (found,) = read(paths)
    told = sentence(found.backends[0])
    assert "; no line fits its windows: windows of 30 cost " in told
    sheet = summary_sheet(found)
    assert [cell.text for cell in sheet.lines[0]][::2][:2] == ["while_loop", "no line"]
    assert "a timestep" not in headings(sheet)
    own = backend_sheet(found, found.backends[0])
    assert "over least" in headings(own)
    assert len(own.lines) == len(made.WINDOWS)


def test_windows_that_cannot_be_trusted_are_counted_and_named(tmp_path: Path) -> None:
    costs = {"while_loop": made.Cost(1e-3, 1e-4)}
    (path,) = made.write_windows(tmp_path, costs, processes=1, valid=False)
    document = json.loads(path.read_text())
    for entry in document["benchmarks"][2:]:
        entry["extra_info"]["lstm"]["validity"] = {"valid": True, "reasons": []}
    path.write_text(json.dumps(document))
    (found,) = read([path])
    text = as_text([found])
    assert "2 INVALID" in text
    assert "k = 3 and 5 INVALID: the machine was busy (close other programs)" in text
    rows = records([found])
    assert [row["valid"] for row in rows] == [False] * 2 + [True] * 8
    assert rows[0]["invalid_reasons"] == "the machine was busy (close other programs)"
    assert rows[2]["invalid_reasons"] == ""


@pytest.mark.parametrize("width", [80, 100])
def test_no_column_is_lost_in_a_narrow_terminal(width: int, tmp_path: Path) -> None:
    costs = dict(made.COSTS)
    costs["while_loop+hoisted+xla"] = costs["while_loop"]
    (found,) = read(
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


def test_what_happened_in_a_few_processes_is_noted(tmp_path: Path) -> None:
    costs = {"while_loop": made.Cost(1e-3, 1e-4)}
    paths = made.write_windows(tmp_path, costs, processes=8)
    document = json.loads(paths[0].read_text())
    busy = {"code": "busy", "text": "the machine was busy", "advice": "close other programs"}
    entry = document["benchmarks"][4]["extra_info"]["lstm"]  # k = 30
    entry["validity"] = {"valid": False, "reasons": [busy]}
    paths[0].write_text(json.dumps(document))
    (found,) = read(paths)
    text = " ".join(as_text([found]).split())
    assert "k = 30 noted: the machine was busy (close other programs) [in 1 of 8 runs]" in text
    assert "INVALID" not in text


def test_quantities_of_either_sign_are_readable() -> None:
    assert signed(-2e-5) == "−20.0 µs"
    assert signed_range(Interval(-1e-5, 1e-5, 3e-5, 0.95)) == "−10.0 to 30.0"
    assert signed_range(Interval(-2e-3, -1e-6, 2e-3, 0.95)) == "−2.00 ms to 2.00 ms"
    assert size(12.5 * 1024) == "12.5 KiB"
    assert size(-1.5 * 2**20) == "−1.50 MiB"
    assert size(0) == "0 B"
    assert percent(0.004) == "0.4%"
    assert percent(0.12) == "12%"


# -- the formats


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
    assert [k for k in found.windows if found.short_of_updates(k)] == [60, 120]
    text = as_text([found])
    assert set(re.findall(r"d ≤ \S+", text)) == {"d ≤ 8", "d ≤ 20", "d ≤ 8*", "d ≤ 1*"}
    assert "* A shorter window learned a longer distance" in text
    rising = learning((30, 20), (60, 20))
    assert "A shorter window learned" not in as_text([rising])


def test_a_first_call_that_took_no_longer_than_the_others_compiled_nothing(tmp_path: Path) -> None:
    costs = {"while_loop": made.Cost(1e-3, 1e-4, compile_s=0.0)}
    (found,) = read(made.write_windows(tmp_path, costs, processes=1))
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


def test_brief_is_refused_where_nothing_is_brief(
    one_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(one_process, "--brief") == 2
    assert "add --format markdown" in capsys.readouterr().err
    assert run(one_process, "--brief", "--format", "markdown") == 0
    assert capsys.readouterr().out.startswith("**")


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


# -- pictures


STAR = "*: a shorter window learned more, with more updates"


def test_the_picture_shows_every_backend_both_panels_and_what_is_learned(
    learning: Callable[..., Stream],
) -> None:
    pytest.importorskip("matplotlib")
    from bench.windows.picture import picture

    found = learning((30, 20), (60, 50))
    svg = picture(found, "svg").decode()
    assert STAR not in svg
    for text in (*made.COSTS, "peak memory (MiB)", "time per timestep", "learns d =", ">50<"):
        assert text in svg
    assert "the longest window that was reached" in svg
    assert picture(found, "svg").decode() == svg
    assert picture(found, "png").startswith(b"\x89PNG")


def test_the_picture_marks_what_was_learned_where_updates_ran_out_and_says_how(
    learning: Callable[..., Stream],
) -> None:
    pytest.importorskip("matplotlib")
    from bench.windows.picture import picture

    svg = picture(learning((30, 20), (60, 8)), "svg").decode()
    assert ">20<" in svg
    assert ">8*<" in svg
    assert STAR in svg


def test_the_picture_says_who_has_no_time_and_what_cannot_be_trusted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench.windows.picture import picture

    (found,) = read(made.write_windows(tmp_path / "a", refused("cudnn"), valid=False))
    svg = picture(found, "svg").decode()
    assert "without a time: cudnn" in svg
    assert "hollow: doubtful times" in svg
    (found,) = read(made.write_windows(tmp_path / "b", {"while_loop": made.Cost(1e-3, 1e-4)}))
    trusted = picture(found, "svg").decode()
    assert "hollow" not in trusted
    assert "without a time" not in trusted


def test_without_memory_or_learning_the_picture_has_neither(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench.windows.picture import picture

    (found,) = read(made.write_windows(tmp_path, memory=False))
    svg = picture(found, "svg").decode()
    assert "peak memory" not in svg
    assert "learns" not in svg


def test_a_backend_has_the_colour_of_its_name_in_every_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench.windows.picture import picture

    for number, names in enumerate((["keras", "torch"], ["static_unroll", "while_loop", "torch"])):
        costs = {name: made.Cost(1e-3, 1e-4 * (1 + n)) for n, name in enumerate(names)}
        (found,) = read(made.write_windows(tmp_path / str(number), costs))
        svg = picture(found, "svg").decode().lower()
        for name in names:
            assert drawing.look(name).colour.lower() in svg


def test_many_backends_are_named_as_far_as_there_are_colours(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench.windows.picture import picture

    costs = {f"backend_{number}": made.Cost(1e-3, 1e-4 * (1 + number)) for number in range(10)}
    (found,) = read(made.write_windows(tmp_path, costs, (3, 30, 300)))
    svg = picture(found, "svg").decode()
    assert "backend_6" in svg
    assert "backend_7" not in svg
    assert "grey: 3 slower backends" in svg


def test_one_window_and_one_backend_are_a_picture_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench.windows.picture import picture

    costs = {"while_loop": made.Cost(1e-3, 1e-4)}
    (found,) = read(made.write_windows(tmp_path, costs, (30,), processes=1))
    assert b"while_loop" in picture(found, "svg")


# -- the command


def test_the_command_prints_tables_and_ends_with_0(
    usual_windows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(usual_windows) == 0
    assert "a timestep is within 5% of its least in windows of " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.md", "a.svg", "a.png", "a.txt"])
def test_a_file_is_written_in_the_format_of_its_name(
    name: str, one_process: Path, tmp_path: Path
) -> None:
    if name.endswith((".svg", ".png")):
        pytest.importorskip("matplotlib")
    assert run(one_process, "--output", tmp_path / name) == 0
    data = (tmp_path / name).read_bytes()
    start = {
        "csv": b"session,",
        "json": b"{",
        "md": b"## ",
        "svg": b"<?xml",
        "png": b"\x89PNG",
        "txt": b"truncation on",
    }[name[2:]]
    assert data.startswith(start)


def test_pictures_of_several_streams_are_a_file_each(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    costs = {"while_loop": made.Cost(1e-3, 1e-4)}
    for session, batch in (("a", 64), ("b", 32), ("c", 32)):
        made.write_windows(tmp_path / "in", costs, session=session, processes=1, batch=batch)
    assert run(tmp_path / "in", "--output", tmp_path / "a.svg") == 0
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == [
        "a-b32-i128-h256-training-cpu-2.svg",
        "a-b32-i128-h256-training-cpu.svg",
        "a-b64-i128-h256-training-cpu.svg",
    ]


def test_backend_and_device_choose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.write_windows(tmp_path, session="a", processes=1)
    made.write_windows(tmp_path, session="b", device="gpu:0", processes=1)
    assert run(tmp_path, "--backend", "while_loop", "--device", "gpu:0", "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(row["backend"], row["device"]) for row in rows} == {("while_loop", "gpu:0")}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--backend", "nothing"], "--backend nothing: there are no results of it; there are of:"),
        (["--device", "gpu:7"], "--device gpu:7: there are no results of it; there are of: cpu"),
        (["--format", "png"], "--format png needs --output FILE.png"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_code_2(
    arguments: list[str], told: str, one_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(one_process, *arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_results_without_windows_say_how_to_measure_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, windows=(None,))
    assert run(tmp_path) == 2
    assert "python -m bench.run truncation" in capsys.readouterr().err


def test_where_no_window_has_a_time_the_reasons_are_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, refused_everywhere(), processes=1)
    assert run(tmp_path) == 2
    error = capsys.readouterr().err
    assert "no window has a time: keras and while_loop reach no window: not measured" in error
    assert len(error.splitlines()) == 1


def test_a_file_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "nothing.json") == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert "nothing.json" in out.err
    assert len(out.err.splitlines()) == 1


def test_a_bad_file_is_told_and_the_good_ones_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, processes=1)
    (tmp_path / "bad.json").write_text("{")
    assert run(tmp_path) == 2
    out = capsys.readouterr()
    assert "bad.json" in out.err
    assert "fixed per step" in out.out


def test_by_default_the_newest_session_with_windows_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, session="old", day=1, processes=1)
    made.write_windows(tmp_path, session="new", day=2, processes=1)
    made.write_windows(tmp_path, session="plain", day=3, windows=(None,), processes=1)
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    assert run("--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["session"] for row in rows} == {"new"}


def test_without_any_of_ones_own_the_reference_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, session="plain", windows=(None,))
    made.write_windows(tmp_path / "reference", session="reference")
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    assert run("--format", "csv") == 0
    assert "reference" in capsys.readouterr().out
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path / "nothing"))
    assert run() == 2
    assert "no stream cut into windows" in capsys.readouterr().err


def test_one_process_has_an_allowance_and_the_table_says_so(tmp_path: Path) -> None:
    (found,) = read(made.write_windows(tmp_path, processes=1, spec=LSTMSpec(64, 64)))
    assert "1 process: allowance of 29% for the spread between processes added" in " ".join(
        as_text([found]).split()
    )


def test_a_map_of_what_was_learned_is_found_beside_the_results_or_named(
    one_process: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = made.write_learning(tmp_path / "maps", {10: 8, 30: 20})
    assert run(one_process) == 0
    assert "learns" not in capsys.readouterr().out
    assert run(one_process, path) == 0
    out = capsys.readouterr().out
    assert "d ≤ 20" in out
    assert "learning-made-up.json: the echo with while_loop, 2 seeds" in " ".join(out.split())
    monkeypatch.setenv("LSTM_RESULTS", str(one_process))
    assert run(path) == 0
    assert "d ≤ 20" in capsys.readouterr().out
    path.write_text("{")
    assert run(one_process, path) == 2
    assert "learning-made-up.json" in capsys.readouterr().err
