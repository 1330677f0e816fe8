"""Test what a query finds in results, and the suite that measures it."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import case as suites
from bench.case.cases import Case
from bench.cli.command_line import UsageError
from bench.session.query import (
    measured_backends,
    newest_section,
    suite_text,
    usual_backends,
    write_suite,
)
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured, run

SPEC, WORK = LSTMSpec(8, 16), Workload(4, 20, "training", optimizer="adam", gradients="weights")
QUERY = Case("", SPEC, WORK)
USUAL = Namespace(baseline=None, variant=None)


def case(backend: str, batch: int = 4) -> Case:
    return Case(backend, SPEC, replace(WORK, batch=batch))


def test_newest_section_session_has_only_the_cases_of_the_query() -> None:
    during = run("a")
    results = gather(
        measured(case("keras"), 2.0, during),
        measured(case("while_loop"), 1.0, during),
        measured(case("keras", batch=5), 2.0, during),
    )
    # A baseline that was not measured is replaced.
    for baseline, shown in (("keras", "keras"), ("while_loop", "while_loop"), ("torch", "keras")):
        section = newest_section(
            QUERY, results, during.machine_id, Namespace(baseline=baseline, variant=None)
        )
        assert section is not None
        assert [row.case.backend for row in section.rows] == ["while_loop", "keras"]
        assert section.baseline == shown


def test_newest_section_of_other_machine_shape_or_one_backend_is_none() -> None:
    during = run("a")
    both = gather(measured(case("keras"), 2.0, during), measured(case("scan"), 1.0, during))
    assert newest_section(QUERY, both, "another", USUAL) is None
    assert newest_section(QUERY, both, None, USUAL) is not None
    other = Case("", SPEC, replace(WORK, optimizer=None))
    assert newest_section(other, both, None, USUAL) is None
    assert newest_section(QUERY, gather(measured(case("keras"), 2.0, during)), None, USUAL) is None
    assert newest_section(QUERY, both, None, Namespace(baseline=None, variant=["int8"])) is None


def test_measured_backends_include_variants_of_those_that_have_them() -> None:
    def found(backends: Sequence[str], variants: Sequence[str] | None) -> list[str]:
        return measured_backends(QUERY, Namespace(backends=backends, variant=variants))

    assert found(["keras", "torch", "onnxruntime"], ["int8"]) == [
        *("keras", "torch", "onnxruntime", "torch:int8", "onnxruntime:int8")
    ]
    assert found(["keras"], None) == ["keras"]
    with pytest.raises(UsageError, match="--variant int8: keras has no variant int8; "):
        found(["keras"], ["int8"])


@given(
    batch=st.integers(1, 9),
    steps=st.sampled_from([6, 12]),
    window=st.sampled_from([None, 3]),
    layers=st.integers(1, 2),
    both=st.booleans(),
    mode=st.sampled_from(["training", "inference"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_suite_text_of_any_query_gives_exactly_its_case(
    tmp_path_factory: pytest.TempPathFactory,
    batch: int,
    steps: int,
    window: int | None,
    layers: int,
    both: bool,
    mode: str,
    dtype: str,
) -> None:
    training = mode == "training"
    query = Case(
        "",
        LSTMSpec(3, 5, num_layers=layers, bidirectional=both and window is None, dtype=dtype),
        Workload(
            batch,
            steps,
            mode,
            window=window,
            optimizer="adam" if training else None,
            gradients="weights" if training else "all",
        ),
    )
    path = tmp_path_factory.mktemp("s") / "asked.toml"
    path.write_text(suite_text(query, ["numpy"]))
    (only,) = suites.load(str(path)).cases
    assert only.group == query.group


def test_write_suite_names_its_file_after_the_query(tmp_path: Path) -> None:
    path = write_suite(QUERY, tmp_path, usual_backends(QUERY))
    assert path == tmp_path / "asked" / "b4-t20-i8-h16-adam-dw-training-cpu.toml"
    backends = {each.backend for each in suites.load(str(path)).cases}
    assert {"keras", "while_loop+hoisted", "fused_cpu", "torch"} <= backends
    inference = Case("", SPEC, Workload(1, 20))
    assert "onnxruntime" in usual_backends(inference)
    assert "cudnn" in usual_backends(inference.on("gpu:0"))
    assert "fused_cpu" not in usual_backends(inference.on("gpu:0"))
