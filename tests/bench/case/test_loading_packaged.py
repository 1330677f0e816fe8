"""The suites of the package."""

import re

import pytest

from bench import case as suites
from bench.case import SuiteChoice

HERE = ("cpu", "gpu:0")


@pytest.mark.parametrize("name", sorted(suites.available()))
def test_packaged_suite_loads(name: str) -> None:
    suite = suites.load(name)
    assert suite.name == name
    assert suite.summary
    assert len({case.id for case in suite.cases}) == len(suite.cases)
    assert suite.with_cases(suite.cases[:1]).memory is suite.memory
    # Suites that measure memory say what that takes.
    described = re.search(r"memory of each case on the CPU", suite.path.read_text(encoding="utf-8"))
    assert suite.memory is (name in ("quick", "truncation", "keras-backends")) is bool(described)


def test_truncation_suite_has_equal_windows_and_an_optimizer() -> None:
    works = {case.workload for case in suites.load("truncation").cases}
    assert {(work.timesteps, work.optimizer, work.mode) for work in works} == {
        (480, "adam", "training")
    }
    # A shorter last window would need another graph.
    assert {work.window for work in works} == {3, 5, 10, 15, 30, 60, 120, 240, 480}


def test_first_suite_measures_for_half_of_two_minutes() -> None:
    """The rest is for starting, compiling ``fused_cpu``, tracing and the gate."""
    suite = suites.load("first", SuiteChoice(devices=["cpu"]))
    here = [case for case in suite.cases if case.backend != "cudnn"]
    measuring = 6 * sum(suite.seconds[case.group] for case in here)
    assert 0.45 * 120 <= measuring <= 0.55 * 120
    groups = {case.group for case in here}
    for group in groups:
        backends = [case.backend for case in here if case.group == group]
        assert backends[0] == "keras"  # Keras is in each
        assert len(backends) in (2, 3)
    assert {case.workload.mode for case in here} == {"inference", "training"}


@pytest.mark.parametrize(
    "name", ["braun", "returnn", "deepbench-train", "fastrnns", "flashrnn", "haste", "benchdnn"]
)
def test_published_suite_names_source_and_gradients(name: str) -> None:
    suite = suites.load(name, SuiteChoice(backends=["while_loop"], devices=["cpu"]))
    assert "/" in suite.source
    more = {"deepbench-train": "weights+input", "flashrnn": "weights+input"}
    wanted = {**more, "benchdnn": "all", "haste": "all"}.get(name, "weights")
    training = {case.workload.gradients for case in suite.cases if case.workload.training}
    assert training == {wanted}
