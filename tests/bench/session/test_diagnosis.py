"""What was found of a machine and its backends, as it is shown."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bench.cli.output import draw_on
from bench.machine import environment
from bench.machine.survey import Entry, Survey
from bench.records.schema import RecordedReason
from bench.session.diagnosis import Diagnosis, exit_code, show
from lstm_impl import Availability

YES = Availability(True)


NO_GPU = Availability(False, "no NVIDIA GPU is seen", "pip install 'imaginary[cuda]'")


SURVEY = Survey(
    devices=("cpu", "gpu:0"),
    entries=(
        Entry("numpy", "numpy", "the reference", {"cpu": YES, "gpu:0": Availability(False, "x")}),
        Entry("loop", "imaginary", "a loop", {"cpu": YES, "gpu:0": NO_GPU}),
        Entry("loop+xla", "imaginary", "a loop", {"cpu": YES, "gpu:0": NO_GPU}),
    ),
    frameworks={"numpy": "2.4", "imaginary": "1.0"},
    problems=("backend 'alien' is registered as [bold]no:Class",),
)


def diagnosis(*findings: RecordedReason) -> Diagnosis:
    return Diagnosis(SURVEY, environment.read(), findings)


def shown(found: Diagnosis, *, terminal: bool = False, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=100, force_terminal=terminal, highlight=False)
    draw_on(console, lambda console: show(found, console))
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(encoding)


def test_each_backend_is_a_row_and_each_reason_is_told_once() -> None:
    text = shown(diagnosis())
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith("  loop")}
    assert "✓" in rows["loop"]
    assert "no [2]" in rows["loop"]
    assert "no [2]" in rows["loop+xla"]
    assert text.count("no NVIDIA GPU is seen") == 1
    assert "pip install 'imaginary[cuda]'" in text


def test_the_versions_of_the_frameworks_are_shown() -> None:
    assert "imaginary 1.0" in shown(diagnosis())


def test_findings_come_with_what_to_do_and_their_absence_is_said() -> None:
    text = shown(diagnosis(RecordedReason("busy", "others keep it [red]busy", "end them")))
    assert "others keep it [red]busy" in text
    assert "do: end them" in text
    assert "nothing to change" in shown(diagnosis())


def test_a_strategy_that_cannot_be_imported_is_shown_as_it_is_written() -> None:
    assert "registered as [bold]no:Class" in shown(diagnosis())


def test_output_is_plain_unless_it_is_a_terminal() -> None:
    assert "\x1b" not in shown(diagnosis())
    assert "\x1b" in shown(diagnosis(), terminal=True)


def test_a_terminal_without_unicode_gets_letters_it_has() -> None:
    text = shown(diagnosis(), encoding="ascii")
    row = next(line for line in text.splitlines() if line.startswith("  loop "))
    assert "+" in row
    assert "✓" not in text


def test_no_line_is_wider_than_a_hundred_columns() -> None:
    long = RecordedReason("busy", "word " * 60, "do " * 60)
    assert max(map(len, shown(diagnosis(long)).splitlines())) <= 100


@pytest.mark.parametrize(
    ("devices", "every", "code"),
    [
        (("cpu", "gpu:0"), False, 0),
        (("cpu", "gpu:0"), True, 1),
        (("gpu:0",), False, 1),
        (("cpu",), True, 0),
    ],
)
def test_exit_code_tells_whether_there_is_something_to_choose(
    devices: tuple[str, ...], every: bool, code: int
) -> None:
    assert exit_code(replace(SURVEY, devices=devices), every_device=every) == code


def test_the_reference_alone_is_nothing_to_choose() -> None:
    alone = replace(SURVEY, devices=("cpu",), entries=SURVEY.entries[:1])
    assert exit_code(alone, every_device=False) == 1
