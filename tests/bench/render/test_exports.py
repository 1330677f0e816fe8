"""Test the report in formats of other tools, read as these tools read them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from bench import report
from bench.cli import arguments
from bench.render.data import github_action, hyperfine, records
from bench.stats.rows import build
from tests.bench.made_reports import measured, results_of, without_time
from tests.bench.made_results import save

FOUND = results_of(
    measured("keras", 0.02, roofs={"processors_busy": 1.5}),
    measured("torch:int8", 0.01),
    without_time("cudnn", "refused"),
)


def test_hyperfine_cases_have_their_samples_and_what_differs() -> None:
    made = build(FOUND)
    (fast, keras) = sorted(json.loads(hyperfine(made))["results"], key=lambda r: r["mean"])
    row = next(each for each in made.sections[0].rows if each.case.id == keras["command"])
    assert keras["times"] == np.concatenate([run.samples for run in row.runs]).tolist()
    assert keras["median"] == pytest.approx(np.median(keras["times"]))
    assert keras["user"] == pytest.approx(1.5 * keras["mean"])
    assert len(keras["exit_codes"]) == len(keras["times"])
    assert fast["parameters"] == {"backend": "torch:int8"}
    # hyperfine itself has null for the deviation of one run only.
    assert None not in [each[key] for each in (fast, keras) for key in keras if key != "stddev"]


def test_github_action_entries_are_cases_of_the_newest_session() -> None:
    made = build(FOUND)
    entries = json.loads(github_action(made))
    times = {each["case_id"]: each["time_s"] for each in records(made) if each["time_s"]}
    assert {each["name"]: each["value"] for each in entries} == times
    for entry in entries:
        # The action's own pattern, in extractRangeInfo.ts; it takes the rest as one number.
        assert float(re.match(r"(?:\+-|±)\s*(\d.*)", entry["range"])[1]) >= 0  # type: ignore[index]
        assert set(entry) == {"name", "unit", "value", "range", "extra"}


def test_tensorboard_reads_a_run_per_backend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    words = [str(save(tmp_path / "results", FOUND)), "--format", "tensorboard"]
    assert report.main([*words]) == 2
    pytest.importorskip("tensorboard", reason="it reads the logs: pip install tensorboard")
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.util import tensor_util

    words += ["--output", str(folder)]
    assert report.main(words) == 0
    runs = EventMultiplexer().AddRunsFromDirectory(str(folder))
    runs.Reload()
    assert set(runs.Runs()) == {"keras", "torch_int8"}
    (tag,) = [each for each in runs.Runs()["keras"]["tensors"] if each.startswith("time_s/")]
    (event,) = runs.Tensors("keras", tag)
    assert tensor_util.make_ndarray(event.tensor_proto) == pytest.approx(0.02, rel=0.1)
    assert event.step == 0
    assert report.main(words) == 2  # a second one would be drawn over the first
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("", "terminal"),
        ("--output x.CSV", "csv"),
        ("--output x.md --format json", "json"),
        ("--output x", "terminal"),
        ("--output x.png", None),
        ("--output x.parquet", None),
    ],
)
def test_format_is_implied_by_the_name_or_refused(
    words: str, kind: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    made = arguments.parser("nothing", "Nothing.")
    arguments.add_output(made, ("terminal", "markdown", "csv", "json"))
    if kind is None:
        with pytest.raises(SystemExit):
            made.parse_args(words.split())
        assert "add --format, one of terminal, markdown, csv, json" in capsys.readouterr().err
    else:
        assert made.parse_args(words.split()).format == kind
