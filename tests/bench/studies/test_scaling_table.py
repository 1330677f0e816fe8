"""What a file of data-parallel training says in tables, and a hostile one."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.cli.output import CommandOutput
from bench.machine.fields import ResultError
from bench.records import study
from bench.studies import scaling_table
from tests.bench.studies.made_scaling import records, written


def told(folder: Path, answers: Sequence[Any], **question: Any) -> tuple[CommandOutput, list[str]]:
    return scaling_table.command_output(study.read(written(folder, answers, **question), "scaling"))


def terminal(found: CommandOutput, width: int = 100) -> str:
    file = io.StringIO()
    found.terminal(Console(file=file, width=width))
    return file.getvalue()


def test_a_file_says_what_replicas_gain_and_where_time_goes(tmp_path: Path) -> None:
    found, problems = told(tmp_path, [records(seed) for seed in range(6)])
    assert problems == []
    out = found.markdown()
    weak, beside, time = [line for line in out.splitlines() if "| `keras` | 2 | weak |" in line]
    assert weak.startswith("| `keras` | 2 | weak | 16 | 2.40 s (")
    # 16 sequences in 2.4 s, and 8 in 1 s: 0.83 times as many a second, an efficiency of 42%.
    assert "| 0.83 (" in weak
    assert "SLOWER" in weak
    assert "| 42% (" in weak
    assert "| 1.33 (" in beside  # one on all processors takes 3.2 s
    # Of 2.4 s one replica alone computes for 1; without the all-reduce they take as long.
    assert "| 42% (" in time
    assert "| 58% (" in time
    assert "6 sets of fresh processes" in out
    assert "MultiWorkerMirroredStrategy" in out
    assert "b8-t3-i2-h4" in out
    assert "efficiency" in terminal(found)


def test_where_there_is_no_process_on_all_processors_there_is_no_table_beside_it(
    tmp_path: Path,
) -> None:
    with_all, _ = told(tmp_path, [records(0)])
    apart = [each for each in records(0) if not each["side"].endswith("cores")]
    without, _ = told(tmp_path, [apart], threads=[0])
    assert len(with_all.tables) == 3
    assert len(without.tables) == 2
    assert "processors to itself" in with_all.markdown()
    assert "processors to itself" not in without.markdown()


@pytest.mark.parametrize(("share", "disagrees"), [(0.05, False), (0.9, True)])
def test_a_profiler_that_disagrees_with_the_times_is_told(
    tmp_path: Path, share: float, disagrees: bool
) -> None:
    """By the times, leaving the all-reduce out saves nothing."""
    answers = [
        [{**each, "shares": [share] * len(each["shares"])} for each in records(seed)]
        for seed in range(6)
    ]
    found, _ = told(tmp_path, answers)
    out = found.markdown()
    assert f"| {share:.0%} |" in out  # what the profiler saw
    wanted = "weak: the profiler sees collectives in 90% of a step, and leaving the all-reduce out "
    assert (f"{wanted}saves 0%" in out) is disagrees


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_column_stands_beyond_the_edge_of_a_terminal(width: int, tmp_path: Path) -> None:
    found, _ = told(tmp_path, [records(seed) for seed in range(6)])
    out = terminal(found, width)
    assert "42%" in out  # the last column of the first table
    assert "profiler" in out  # and of the last


def test_what_was_not_measured_is_told_and_its_backend_has_no_line(tmp_path: Path) -> None:
    failed = records(9, backend="cudnn", failed="cuDNN runs on NVIDIA GPUs only", samples=[])
    # Once is enough, and once is told.
    answers = [[*records(0), *failed], [*records(1), *records(1, backend="cudnn")]]
    found, problems = told(tmp_path, answers)
    assert problems == ["cudnn, 2 replicas: cuDNN runs on NVIDIA GPUs only"]
    assert "`cudnn`" not in found.markdown()


def test_text_of_a_file_stays_text(tmp_path: Path) -> None:
    name = "\x1b[31m|</td><script>x</script>[a](http://b)"
    answers = [records(0, backend=name), records(1, backend="x", failed=name)]
    found, problems = told(tmp_path, answers)
    markdown = found.markdown()
    for out in (terminal(found), markdown, *problems):
        assert "\x1b" not in out
    assert "<script>" not in re.sub(r"`[^`]*`", "", markdown)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"replicas": 1}, "replicas is 1; expected"),
        ({"replicas": 10**9}, "replicas is 1000000000"),
        ({"samples": []}, "rounds does not fit; expected a round of its own for each sample"),
        ({"samples": [0.0] * 15}, "samples[0] is 0.0; expected a time in seconds"),
        ({"rounds": [1] * 15}, "rounds does not fit"),
        ({"batch": 0}, "batch is 0; expected a positive integer"),
        ({"shares": [2.0]}, "shares[0] is 2.0; expected a number from 0 to 1"),
        ({"side": "one"}, "lacks one; expected a record of the side 'weak'"),
        ({"failed": None}, "failed is null; expected text"),
    ],
)
def test_a_file_that_holds_something_else_is_told_in_a_line(
    change: dict[str, Any], wrong: str, tmp_path: Path
) -> None:
    with pytest.raises(ResultError) as error:
        told(tmp_path, [records(0, **change)])
    assert wrong in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("question", "wrong"),
    [
        ({"scalings": ["sideways"]}, "expected one of weak, strong"),
        ({"strategy": "hope"}, "expected one of workers, mirrored"),
        ({"machines": 0}, "machines is 0"),
        ({"threads": ["many"]}, 'threads[0] is "many"'),
        ({"hidden": None}, "hidden is null"),
    ],
)
def test_a_question_that_is_none_is_told_too(
    question: dict[str, Any], wrong: str, tmp_path: Path
) -> None:
    with pytest.raises(ResultError) as error:
        told(tmp_path, [records(0)], **question)
    assert wrong in str(error.value)


@pytest.mark.parametrize(
    ("part", "words"), [(0.064, "6%"), (-0.02, "−2%"), (-0.004, "0%"), (1.0, "100%")]
)
def test_a_share_may_be_less_than_nothing(part: float, words: str) -> None:
    assert scaling_table.signed(part) == words
