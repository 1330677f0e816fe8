"""What limits a backend, from its code to the sentence, for backends whose limit is known.

They pass the gate and are measured, written, read and judged like any other, on a simulated clock.
"""

from pathlib import Path

import pytest

from bench import records
from bench.case.cases import Case
from bench.case.loading import Suite
from bench.cli.options import MeasurementOptions
from bench.render.messages import bound_sentence
from bench.verdicts.sections import build
from bench.worker.group import Measured
from bench.worker.recorder import Recorder
from lstm_impl import LSTMSpec, Workload
from tests.bench.worker.modelled_backends import LARGE, SMALL, WIDE, bench

pytestmark = pytest.mark.usefixtures("modelled")


@pytest.mark.parametrize(
    ("backend", "shape", "kind", "sentence"),
    [
        ("modelled", SMALL, "host", "bound by the host: calling as many operators (108)"),
        ("modelled", LARGE, "chain", ""),
        ("modelled", WIDE, "products", ""),
        ("sleeps", LARGE, "waiting", "no processor computes"),
        ("twice", LARGE, "chain", "2.0 times as many multiplications as the step needs"),
        ("copies", LARGE, "not known", ""),  # only a profile shows it
    ],
)
def test_bound_measured_backend_is_read_from_its_file(
    tmp_path: Path, backend: str, shape: tuple[LSTMSpec, Workload], kind: str, sentence: str
) -> None:
    cases = [Case(name, *shape) for name in dict.fromkeys((backend, "modelled"))]
    suite = Suite("known", "", Path("known.toml"), tuple(cases), {cases[0].group: 100.0})
    recorder = Recorder(suite, MeasurementOptions(), tmp_path, bench())
    recorder.select(cases)
    recorder.start()
    for case in cases:
        result = recorder.measure(case)
        assert isinstance(result, Measured), result
    path = recorder.finish()
    assert path is not None
    (section,) = build(records.collect([path])).sections
    rows = {row.case.backend: row for row in section.rows}
    found = rows[backend].result.bound
    assert found is not None
    assert found.kind == kind
    assert found.times == pytest.approx(2.0 if backend == "twice" else 1.0)
    assert sentence in bound_sentence(rows[backend])
