"""The suites of the package: what each promises, and peers' shapes as their authors have them."""

from __future__ import annotations

import re

import pytest

from bench import case as suites
from bench.case import SuiteChoice

HERE = ("cpu", "gpu:0")


@pytest.mark.parametrize("name", sorted(suites.available()))
def test_every_suite_of_the_package_loads(name: str) -> None:
    suite = suites.load(name)
    assert suite.name == name
    assert suite.summary
    assert len({case.id for case in suite.cases}) == len(suite.cases)
    # Those that ask for memory say what it costs.
    told = re.search(r"memory of each case on the CPU", suite.path.read_text(encoding="utf-8"))
    assert suite.memory is (name in ("quick", "truncation", "keras-backends")) is bool(told)


def test_quick_asks_what_it_promises() -> None:
    cases = suites.load("quick", SuiteChoice(devices=["cpu"], backends=["while_loop"])).cases
    throughput = {(case.shape, case.workload.mode) for case in cases if case.kind == "throughput"}
    shapes = ("b32-t100-i128-h128", "b64-t25-i512-h512", "b1-t150-i256-h256", "b5-t15-i1-h4")
    assert throughput == {
        *((shape, "inference") for shape in shapes),
        *((f"{shape}-dw", "training") for shape in shapes),
        ("b32-t100-i128-h128-dwx", "training"),
    }
    windows = [case.workload.window for case in cases if case.kind == "truncation"]
    assert windows == [5, 15, 30, 60, 120]
    assert {case.workload.timesteps for case in cases if case.kind == "truncation"} == {480}
    assert {c.workload.gradients for c in cases if c.kind == "truncation"} == {"weights"}


def test_truncation_cuts_one_stream_into_whole_windows_with_an_optimizer() -> None:
    cases = suites.load("truncation").cases
    assert {(each.workload.timesteps, each.workload.optimizer) for each in cases} == {(480, "adam")}
    assert {each.workload.mode for each in cases} == {"training"}
    windows: dict[tuple[str, str], list[int]] = {}
    for case in cases:
        window = case.workload.window or 0
        assert 480 % window == 0  # a shorter last window would be another graph, and another step
        shape = f"b{case.workload.batch}-h{case.spec.hidden_size}/{case.device}"
        windows.setdefault((case.backend, shape), []).append(window)
    every = [3, 5, 10, 15, 30, 60, 120, 240, 480]
    some = {"static_unroll": every[:-1], "partial_unroll@10": every[2:]}
    for (backend, _), found in windows.items():
        assert found == some.get(backend, every)
    shapes = {shape for _, shape in windows}
    assert shapes == {f"{sizes}/{device}" for sizes in ("b32-h64", "b8-h128") for device in HERE}
    assert {backend for backend, shape in windows if shape.endswith("cpu")} == {
        *("static_unroll", "while_loop", "while_loop+hoisted", "while_loop+hoisted+xla"),
        *("partial_unroll@10", "block_lstm", "keras"),
    }


def test_truncation_measures_for_about_three_of_its_five_minutes() -> None:
    """In the rest of a process it traces, compiles and checks."""
    suite = suites.load("truncation", SuiteChoice(devices=["cpu"]))
    here = [case for case in suite.cases if case.backend != "cudnn"]
    assert 150 < sum(suite.seconds[case.group] for case in here) < 200
    shortest = [case.group for case in suite.cases if case.workload.window == 3]
    assert {suite.seconds[group] for group in shortest} == {max(suite.seconds.values())}


def test_first_measures_half_of_two_minutes_in_six_processes() -> None:
    """The rest goes into starting, compiling ``fused_cpu``, tracing and checking."""
    suite = suites.load("first", SuiteChoice(devices=["cpu"]))
    here = [case for case in suite.cases if case.backend != "cudnn"]
    measuring = 6 * sum(suite.seconds[case.group] for case in here)
    assert 0.45 * 120 <= measuring <= 0.55 * 120
    groups = {case.group for case in here}
    for group in groups:
        backends = [case.backend for case in here if case.group == group]
        assert backends[0] == "keras"  # whom everybody asks for is in each
        assert len(backends) in (2, 3)
    assert {case.workload.mode for case in here} == {"inference", "training"}


_GNMT_TIMES = (10, 20, 30, 40, 50, 60, 70, 101)


_HASTE_HIDDEN = (128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096)


def _both(shapes: set[str]) -> dict[str, set[str]]:
    return {"inference": shapes, "training": shapes}


PEERS: dict[str, tuple[dict[str, set[str]], int]] = {
    "braun": (
        {
            "training": {
                "b64-t100-i123-h320",
                "b32-t1000-i123-h320",
                "b32-t1000-i123-h320-l4-bi",
                "b32-t1000-i123-h320-l4-bi-len500",
            }
        },
        4,
    ),
    "returnn": ({"training": {"b40-t50-i9-h500-l5-bi"}}, 1),
    "deepbench-train": (
        {
            "training": {
                *(
                    f"b{b}-t25-i{h}-h{h}"
                    for h in (512, 1024, 2048, 4096)
                    for b in (16, 32, 64, 128)
                ),
                *("b8-t50-i1536-h1536", "b16-t50-i1536-h1536", "b32-t50-i1536-h1536"),
                *("b16-t150-i256-h256", "b32-t150-i256-h256", "b64-t150-i256-h256"),
            }
        },
        22,
    ),
    "deepbench-inference": (
        {
            "inference": {
                *(f"b{b}-t25-i{h}-h{h}" for h in (512, 1024, 2048) for b in (1, 2, 4)),
                *("b1-t50-i1536-h1536", "b2-t50-i1536-h1536", "b4-t50-i1536-h1536"),
                *("b1-t150-i256-h256", "b2-t150-i256-h256", "b4-t150-i256-h256"),
            }
        },
        15,
    ),
    "fastrnns": (
        _both({"b64-t100-i512-h512", "b64-t100-i512-h512-len30"}),
        4,
    ),
    "keras": (_both({"b20-t256-i256-h32"}), 2),
    "flashrnn": (
        _both(
            {
                *(f"b{b}-t1024-i768-h768" for b in (2, 8, 16, 32, 64, 128, 256)),
                *("b16-t256-i768-h768", "b16-t512-i768-h768", "b16-t2048-i768-h768"),
            },
        ),
        40,  # 10 shapes in 2 modes and 2 dtypes
    ),
    "haste": (
        _both(
            {
                f"b{b}-t50-i{i}-h{h}"
                for b in (1, 16, 32, 64, 128)
                for i in (64, 128, 256, 512)
                for h in _HASTE_HIDDEN
            },
        ),
        360,
    ),
    "tensorflow-rnn-test": (
        {
            "training": {
                *("b256-t50-i512-h512", "b256-t50-i256-h256", "b256-t50-i128-h128"),
                *(f"b512-t{t}-i512-h512" for t in range(100, 1001, 100)),
            }
        },
        13,
    ),
    "nvidia-lstm": ({"inference": {"b64-t100-i512-h512-l4"}}, 1),
    "benchdnn": (
        {
            "inference": {
                *(f"b{b}-t{t}-i256-h256-bi" for b in (1, 64) for t in _GNMT_TIMES),
                *(f"b{b}-t{t}-i512-h512" for b in (1, 64) for t in _GNMT_TIMES),
            },
            "training": {
                *(f"b128-t{t}-i256-h256-bi" for t in _GNMT_TIMES),
                *(f"b128-t{t}-i512-h512" for t in _GNMT_TIMES),
                "b896-t256-i240-h1024",
            },
        },
        49,
    ),
}


# Those whose training step has more than the gradients of the weights.
DIFFERENTIATED = {
    "benchdnn": "all",
    "deepbench-train": "weights+input",
    "flashrnn": "weights+input",
    "haste": "all",
}


@pytest.mark.parametrize("name", PEERS)
def test_a_peers_suite_has_exactly_its_shapes_and_says_whose_they_are(name: str) -> None:
    shapes, groups = PEERS[name]
    suite = suites.load(name, SuiteChoice(backends=["while_loop"], devices=["cpu"]))
    found: dict[str, set[str]] = {}
    for case in suite.cases:
        suffix = ""
        if case.workload.training:
            assert case.workload.gradients == DIFFERENTIATED.get(name, "weights")
            suffix = {"weights": "-dw", "weights+input": "-dwx", "all": ""}[case.workload.gradients]
        found.setdefault(case.workload.mode, set()).add(case.shape.removesuffix(suffix))
    assert found == shapes
    assert len(suite.cases) == groups
    assert "/" in suite.source
