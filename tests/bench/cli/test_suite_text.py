"""Test the suite that measures a query, and the commands that write and run it."""

import shlex
from pathlib import Path

import pytest

from bench import case as suites
from bench import recommend
from bench.case import loading
from bench.case.loading import Suite
from bench.cli import suite_text
from bench.verdicts.recommend import Query, Recommendation, answer
from lstm_impl.spec import LSTMSpec
from tests.bench import made_windows as made

QUESTION = Query(14, 64, 256)
INFERENCE = Query(0, 64, 256, steps=58, mode="inference")


def write_suite(question: Query) -> Suite:
    message = suite_text.compose_suite(question, answer(question, []).need)
    return loading.parse(Path("my.toml"), message.encode())


def test_text_training_query_gives_its_suite() -> None:
    question = Query(14, 8, 32, "cpu", 16, 2, "float64")
    suite = write_suite(question)
    assert (suite.name, suite.memory) == ("dependency-14", True)
    assert {case.workload.window for case in suite.cases} == {29, 58, 116}
    for case in suite.cases:
        assert (case.device, case.workload.mode, case.workload.batch) == ("cpu", "training", 8)
        assert (case.workload.optimizer, case.workload.gradients) == ("adam", "weights")
        assert case.spec == LSTMSpec(16, 32, num_layers=2, dtype="float64")
    assert {case.backend for case in suite.cases} >= {"keras", "while_loop+hoisted"}
    assert "cudnn" not in {case.backend for case in suite.cases}


def test_text_inference_query_has_no_windows() -> None:
    suite = write_suite(INFERENCE)
    assert suite.name == "inference-58"
    works = {(case.workload.mode, case.workload.timesteps) for case in suite.cases}
    assert works == {("inference", 58)}
    assert {(case.workload.window, case.workload.optimizer) for case in suite.cases} == {
        (None, None)
    }


def test_write_results_of_suite_answer_query(tmp_path: Path) -> None:
    question = Query(7, 8, 32)
    suite = write_suite(question)
    work, spec = suite.cases[0].workload, suite.cases[0].spec
    paths = made.write_windows(
        tmp_path,
        windows=sorted({case.workload.window or 0 for case in suite.cases}),
        spec=spec,
        batch=work.batch,
        timesteps=work.timesteps,
    )
    found = answer(question, made.read_places(paths))
    assert isinstance(found, Recommendation)
    assert not found.differences
    assert found.window == found.need.window


# -- the file


NOTHING = answer(QUESTION, [])


def test_write_backends_are_tied_or_named_ones(tmp_path: Path) -> None:
    costs = {
        "keras": made.Cost(1e-3, 1.000e-4),
        "while_loop": made.Cost(1e-3, 1.005e-4),
        "torch": made.Cost(1e-3, 9e-4),
    }
    found = answer(QUESTION, made.read_places(made.write_windows(tmp_path, costs, noise=0.05)))
    for name, named, expected in (
        ("tied", (), {"keras", "while_loop"}),
        ("named", ("numpy",), {"numpy"}),
    ):
        path = tmp_path / f"{name}.toml"
        suite_text.write_suite(path, QUESTION, found, named)
        assert {case.backend for case in suites.load(str(path)).cases} == expected


# -- commands


@pytest.mark.parametrize(
    "question",
    [QUESTION, INFERENCE, Query(14, 8, 32, "gpu:1", 16, 2, "float64", 100)],
    ids=["usual", "inference", "all options"],
)
def test_commands_repeat_query(question: Query) -> None:
    first, second = suite_text.list_commands(question, ["my results"], None)
    options = recommend._parser().parse_args(shlex.split(first)[3:])
    assert recommend._query(options) == question
    assert options.paths == ["my results"]
    name = f"{suite_text.name_suite(question)}.toml"
    assert options.write_suite == Path(name)
    assert second == f"python -m bench.run ./{name} --processes 6"
