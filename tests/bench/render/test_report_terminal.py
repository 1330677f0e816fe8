"""The report in a terminal of any width, with and without colours and letters."""

import io
import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from rich.cells import cell_len
from rich.console import Console

from bench.cli.output import draw_on, plain_text
from bench.records.schema import Measurement, Outcome
from bench.render.markdown import markdown
from bench.render.messages import method
from bench.render.terminal import as_picture, draw_whole, show
from bench.stats.rows import Report, build
from lstm_impl.workload import Workload
from tests.bench.made_reports import (
    HOSTILE,
    INFERENCE,
    TRAINING,
    a_run,
    hostile_report,
    measured,
    results_of,
    without_time,
)
from tests.bench.made_results import as_text


@pytest.fixture
def many() -> Report:
    """Twenty backends, two shapes, windows, and one that was refused."""
    names = [f"{base}+{option}" for base in ("while_loop", "scan") for option in "abcdefghij"]
    work = [INFERENCE, Workload(4, 10), replace(TRAINING, window=5), replace(TRAINING, window=10)]
    items: list[Measurement | Outcome] = [
        measured(name, 0.01 + 0.001 * index, work=each)
        for each in work
        for index, name in enumerate(names)
    ]
    items.append(without_time("onnxruntime", "refused", "computes no gradients", device="cpu"))
    return build(results_of(*items))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal(few: Report, many: Report, width: int) -> None:
    for found in (few, many):
        for line in as_text(found, width).splitlines():
            assert cell_len(line) <= width


def test_backends_stand_side_by_side_as_soon_as_they_fit(few: Report) -> None:
    (section,) = few.sections
    one = Report((replace(section, rows=section.tables[0].rows),))
    beside = []
    for width in range(40, 100):
        lines = as_text(one, width).splitlines()
        assert max(map(cell_len, lines)) <= width
        beside.append(any(re.match("shape +keras +while_loop$", line.rstrip()) for line in lines))
    assert beside == sorted(beside)
    assert 5 < sum(beside) < 50


def test_columns_are_left_out_from_the_least_needed_on(many: Report) -> None:
    """Down to who, how long and by how much."""
    (section,) = many.sections
    one = Report((replace(section, rows=section.tables[0].rows),))
    heads = ("95% CI", "sequences/s", "timesteps/s", "first result")
    seen = set()
    for width in range(44, 120, 4):
        table = as_text(one, width).partition("cpu, inference\n")[2]
        there = [head in table.partition("while_loop+a")[0] for head in heads]
        assert there == sorted(there, reverse=True)
        seen.add(sum(there))
    assert seen >= {0, 1, 2, 4}


def test_of_many_shapes_the_first_are_shown_and_the_others_counted(many: Report) -> None:
    (section,) = many.sections
    text = plain_text(lambda console: draw_whole(section, console, 20), 100)
    assert text.count("and 1 more shape; --format csv has every case") == 1
    assert "b2-t10-i3-h4" in text
    assert "b4-t10-i3-h4" not in text.partition("Findings")[0]


def test_a_long_name_is_broken_before_its_options_begin() -> None:
    found = build(results_of(measured("keras", 0.01), measured("while_loop+hoisted+xla", 0.02)))
    lines = [line.split() for line in as_text(found).splitlines()]
    head = lines.index(["shape", "keras", "hoisted+xla"])
    assert lines[head - 1] == ["while_loop+"]


def test_the_slowest_has_a_bar_too_and_sessions_stand_apart() -> None:
    items = [
        measured(name, seconds, a_run(1, session))
        for session in ("one", "two")
        for name, seconds in (("keras", 1e-5), ("slow", 10.0))
    ]
    text = as_text(build(results_of(*items)))
    assert text.count("▏") == 2
    assert text.count("\n\nquick on ") == 1


def test_a_picture_asks_nobody_for_anything(few: Report) -> None:
    svg = as_picture(few)
    assert "@font-face" not in svg
    assert not re.search(r"url\((?!#)|href=.(?!#)|\bsrc=", svg)
    assert svg == as_picture(few)


def test_few_backends_stand_side_by_side(few: Report) -> None:
    text = as_text(few)
    assert re.search(r"shape +keras +while_loop\n", text)
    assert re.search(r"median +★ 11\.1 ms +21\.2 ms\n", text)
    assert re.search(r"95% CI +8\.48–14\.5 +16\.2–27\.8\n", text)
    assert re.search(r"sequences/s +180 +94\.3\n", text)
    assert re.search(r"timesteps/s +1,800 +943\n", text)
    assert re.search(r"first result +1\.75 s +1\.75 s\n", text)
    assert re.search(r"vs keras +1× baseline +0\.52× SLOWER\n", text)
    assert re.search(r"window 5 +per timestep +4\.14 ms\n", text)
    assert re.search(r"trust +INVALID\n", text)


def test_memory_is_told_of_whom_it_is_known_of(many: Report) -> None:
    sized = measured("keras", 0.01, memory={"peak_bytes": 44.4 * 2**20, "how": "told"})
    unknown = measured("while_loop", 0.02, memory={"peak_bytes": None, "how": "not known: it died"})
    found = build(results_of(sized, unknown))
    assert re.search(r"memory +44\.4 MiB\n", as_text(found))
    assert "| memory |" in markdown(found)
    assert markdown(found).count("44.4 MiB") == 1
    assert "Memory is the peak" in " ".join(method(found.sections[0]))
    assert "memory" not in as_text(build(results_of(unknown))).lower()
    assert "memory" not in as_text(many).lower()


def test_many_backends_are_ranked_in_lines(many: Report) -> None:
    lines = as_text(many).splitlines()
    start = lines.index("batch 2 × 10 steps, 3 in, 4 hidden · b2-t10-i3-h4")
    shown = [line.split()[0] for line in lines[start + 2 : start + 22]]
    assert shown[0] == "while_loop+a"
    assert shown[-1] == "scan+j"
    assert re.match(r"while_loop\+a +☆ 10\.0 ms", lines[start + 2])
    assert re.match(r"onnxruntime +refused", lines[start + 22])


def test_bars_are_as_long_as_the_speeds_against_the_fastest_of_the_shape(
    few: Report, many: Report
) -> None:
    lines = as_text(few).splitlines()
    under = lines[next(n for n, line in enumerate(lines) if "median" in line) + 1]
    fast, slow = (bar.count("█") for bar in re.findall("█[█▏▎▍▌▋▊▉]*", under))
    assert slow / fast == pytest.approx(11.1 / 21.2, abs=1 / fast)
    assert as_text(few).count("Bars show speed: the longer the faster.") == 1
    lines = as_text(many).splitlines()
    start = lines.index("batch 2 × 10 steps, 3 in, 4 hidden · b2-t10-i3-h4") + 2
    lengths = [line.count("█") for line in lines[start : start + 20]]
    assert lengths == sorted(lengths, reverse=True)
    assert 0 < lengths[-1] < lengths[0]
    assert "█" not in lines[start + 20]  # refused: without a time no bar


def test_one_backend_alone_has_no_bar(few: Report) -> None:
    assert "Bars show" not in as_text(build(results_of(measured("keras", 0.01))))
    assert "█" not in as_text(few).split("cpu, training in windows")[-1]


def test_bars_give_way_to_numbers_where_there_is_no_room(few: Report) -> None:
    assert "█" not in as_text(few, 36)
    assert "Bars show" not in as_text(few, 36)
    assert "0.52× SLOWER" in as_text(few, 36)


def test_a_narrow_terminal_keeps_time_ratio_and_verdict(few: Report) -> None:
    text = as_text(few, 45)
    assert re.search(r"while_loop +21\.2 ms +0\.52× SLOWER +█+[▏▎▍▌▋▊▉]?\n", text)
    assert "sequences/s" not in text.split("cpu, inference\n")[1].split("★ FASTER")[0]


def test_what_is_decided_comes_before_the_tables_and_the_findings_after(few: Report) -> None:
    text = as_text(few)
    before, _, after = text.partition("median")
    assert "- cpu, inference: use keras." in before
    assert "warnings below, under Findings" in before
    assert 1 < before.count("\n- ") + before.count("\n! ") <= 3
    findings = after[after.index("\nFindings\n") :]
    assert "keras is the fastest" in findings
    assert "FAILED: 1 case (swapped_gates on cpu)" in findings


def colours(report: Report, **settings: bool) -> str:
    out = io.StringIO()
    show(report, Console(file=out, width=100, highlight=False, **settings))  # type: ignore[arg-type]
    return out.getvalue()


def test_colour_is_for_terminals_that_want_it(few: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
    assert colour.search(colours(few, force_terminal=True))
    assert "\x1b" not in colours(few)
    monkeypatch.setenv("NO_COLOR", "1")
    without = colours(few, force_terminal=True)
    assert not colour.search(without)
    assert "★" in without


def test_a_terminal_without_these_letters_gets_others(few: Report) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    draw_on(Console(file=out, width=100, highlight=False), lambda console: show(few, console))
    out.seek(0)
    text = out.read()
    assert text.isascii()
    assert "?" not in text
    assert "\x1b" not in text
    assert "* 11.1 ms" in text
    assert "####" in text
    assert "batch 2 x 10 steps" in text


@settings(max_examples=15, deadline=None)
@given(HOSTILE)
@example("x" * 1_000_000)
@example("漢字" * 40)
@example("\x1b[31m")
def test_hostile_text_is_harmless_in_a_terminal(text: str) -> None:
    found = hostile_report(text)
    for width in (60, 100):
        shown = as_text(found, width)
        assert len(shown) < 100_000
        assert all(letter.isprintable() for letter in shown.replace("\n", ""))
        for line in shown.splitlines():
            assert cell_len(line) <= width


def test_what_looks_like_rich_markup_is_shown_as_it_is() -> None:
    shown = as_text(hostile_report("[red]:smile:[/red]"))
    assert "[red]:smile:[/red] has the shortest times" in shown
