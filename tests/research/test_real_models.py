"""Test how models with real weights are downloaded, compared, timed and judged."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine.fields import ResultError
from research.real_models import page, records
from research.real_models.__main__ import main
from research.real_models.networks import NETWORKS, Case
from research.real_models.packages import PACKAGES, Package, UnavailableError, fetch, unpack
from research.real_models.process import compare
from research.real_models.records import (
    CaseRecord,
    MachineRecord,
    NetworkRecord,
    Results,
    WayRecord,
)
from research.real_models.timing import Clock, time_in_turn
from research.real_models.ways import AFTER, BEFORE, ONNXRUNTIME, Way, is_as_exact, measure_error

ONES = np.ones((2, 3), np.float32)

# Downloads

CONTENT = b"the bytes of a wheel"
PACKAGE = Package("some", "1.0", "some-1.0-py3-none-any.whl", hashlib.sha256(CONTENT).hexdigest())

Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


def pip(content: bytes | None, error: str = "") -> Run:
    """Return a function that acts as pip, which downloads these bytes, or fails with an error."""

    def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
        if content is not None:
            folder = Path(command[command.index("--dest") + 1])
            (folder / PACKAGE.file).write_bytes(content)
        code = 0 if content is not None else 1
        return subprocess.CompletedProcess(command, code, "", error)

    return run


def test_package_is_downloaded_once(tmp_path: Path) -> None:
    path = fetch(PACKAGE, tmp_path / "cache", pip(CONTENT))
    assert path.read_bytes() == CONTENT
    assert fetch(PACKAGE, tmp_path / "cache", pip(None)) == path
    assert [each.name for each in path.parent.iterdir()] == [PACKAGE.file]


def test_download_that_fails_names_the_package_and_the_reason_of_pip(tmp_path: Path) -> None:
    error = "WARNING: retrying\nERROR: No matching distribution found for some==1.0\n"
    with pytest.raises(UnavailableError, match=r"some 1\.0 cannot be .* No matching distribution"):
        fetch(PACKAGE, tmp_path, pip(None, error))


def test_file_with_another_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="digest"):
        fetch(PACKAGE, tmp_path, pip(b"other bytes"))


def test_pip_gets_the_version_and_the_digest(tmp_path: Path) -> None:
    seen: list[str] = []

    def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
        seen.extend(Path(command[-1]).read_text(encoding="utf-8").split())
        assert "--require-hashes" in command
        assert "--no-deps" in command
        return pip(CONTENT)(command)

    fetch(PACKAGE, tmp_path, run)
    assert seen == ["some==1.0", f"--hash=sha256:{PACKAGE.sha256}"]


def test_source_archive_is_unpacked_without_leaving_the_folder(tmp_path: Path) -> None:
    import io
    import tarfile

    path = tmp_path / "some-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("../outside.py")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(path, tmp_path / "made")


def test_each_network_has_a_package_and_each_package_a_network() -> None:
    assert {each.package for each in NETWORKS.values()} == set(PACKAGES)
    for network in NETWORKS.values():
        keys = [case.key for case in network.cases]
        assert len(keys) == len(set(keys))
        assert {case.mode for case in network.cases} <= {"inference", "training"}


# Agreement


@given(st.floats(1e-6, 1e6), st.floats(1e-5, 0.5))
def test_error_does_not_depend_on_the_scale(scale: float, difference: float) -> None:
    other = ONES.astype(np.float64).copy()
    other[1, 2] += difference
    assert measure_error([scale * np.ones((2, 3))], [scale * other]) == pytest.approx(
        difference, rel=1e-3
    )


def test_array_of_another_shape_or_with_nan_differs_infinitely() -> None:
    assert measure_error([ONES], [ONES[:1]]) == float("inf")
    assert measure_error([ONES], [np.full_like(ONES, np.nan)]) == float("inf")
    assert measure_error([ONES, ONES], [ONES]) == float("inf")


@pytest.mark.parametrize("expected", [[], [np.zeros(3)], [np.array([np.nan])]])
def test_comparison_that_shows_nothing_is_refused(expected: list[object]) -> None:
    with pytest.raises(ValueError, match=r"compare|not finite"):
        measure_error(expected, expected)


def way(result: object) -> Callable[[], Way]:
    return lambda: Way(lambda: None, lambda: [result])


def test_way_that_disagrees_or_fails_is_not_timed_and_says_why() -> None:
    def fail() -> Way:
        raise RuntimeError("no such operator\nin line 7")

    builders = {BEFORE: way(ONES), AFTER: way(ONES + 1e-6), "wrong": way(2 * ONES), "none": fail}
    ways, found = compare(builders, "inference")
    assert list(ways) == [BEFORE, AFTER]
    assert found[AFTER].error == pytest.approx(1e-6, rel=0.1)
    assert found["wrong"].problem.startswith("its results differ by 1 of the largest value")
    assert found["none"].problem == "RuntimeError: no such operator"
    assert found["none"].error is None


def test_model_that_cannot_be_made_as_it_is_fails() -> None:
    def fail() -> Way:
        raise RuntimeError("no weights")

    with pytest.raises(RuntimeError, match="no weights"):
        compare({BEFORE: fail, AFTER: way(ONES)}, "inference")


def test_float64_judges_a_difference_beyond_the_tolerance() -> None:
    builders = {BEFORE: way(ONES + 0.01), AFTER: way(ONES + 0.001), "wrong": way(ONES + 0.05)}
    ways, found = compare(builders, "inference", lambda: [ONES])
    assert list(ways) == [BEFORE, AFTER]
    assert found[AFTER].from_float64 == pytest.approx(0.001, rel=0.01)
    assert found[AFTER].before_from_float64 == pytest.approx(0.01, rel=0.01)
    assert "differ" in found["wrong"].problem
    ways, _ = compare(builders, "inference")
    assert list(ways) == [BEFORE]


def test_float64_judges_nothing_if_the_model_as_it_is_is_far_off() -> None:
    assert is_as_exact(0.01, 0.029)
    assert not is_as_exact(0.01, 0.031)
    assert not is_as_exact(0.5, 0.1)


# Timing


class FakeClock:
    """A clock that only the timed functions advance."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rests = 0

    def rest(self) -> None:
        self.rests += 1


def test_times_are_those_of_one_call_and_rounds_alternate() -> None:
    clock, calls = FakeClock(), list[str]()

    def make(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            clock.now += seconds
            calls.append(name)

        return run

    system = Clock(lambda: clock.now, lambda: 2 * clock.now, clock.rest)
    runs = {"slow": make("slow", 0.25), "fast": make("fast", 0.01)}
    found = time_in_turn(runs, 0, rounds=4, block=0.03, clock=system)
    assert found["slow"].wall == pytest.approx([0.25] * 4)
    assert found["fast"].wall == pytest.approx([0.01] * 4)
    assert found["fast"].processor == pytest.approx([0.02] * 4)
    assert clock.rests == 8
    # Each block of the fast one has 3 calls (4 if a sum of hundredths is a little less), and
    # another before the clock starts.
    counts = "".join(name[0] for name in calls[-(4 * 1 + 4 * 5) :])
    assert counts.count("s") >= 4
    assert "ssss" not in counts


# Tables

MACHINE = MachineRecord("Some CPU", 2, 2, "CPython 3.11", {"torch": "2.13"})


def made(
    whole: dict[str, float], recurrent: dict[str, float], network: str = "resemblyzer"
) -> Results:
    """Return results of six processes of a model's first case, with these seconds of a call."""
    draw = np.random.default_rng(0)

    def record(seconds: float) -> WayRecord:
        times = [float(seconds * (1 + 0.01 * noise)) for noise in draw.normal(size=7)]
        return WayRecord(1e-6, "", wall=times, processor=[1.5 * each for each in times])

    case = NETWORKS[network].cases[0]
    parts = {"recurrent": recurrent, "whole": whole}
    processes = [
        NetworkRecord(
            network,
            "2026-01-01T00:00:00+00:00",
            [
                CaseRecord(
                    case.key, part, {name: record(seconds) for name, seconds in ways.items()}
                )
                for part, ways in parts.items()
            ],
        )
        for _ in range(6)
    ]
    return Results(1, MACHINE, processes)


def test_gain_is_the_ratio_of_the_times_and_the_share_that_of_the_layers() -> None:
    results = made({BEFORE: 0.010, AFTER: 0.005, ONNXRUNTIME: 0.008}, {BEFORE: 0.008, AFTER: 0.003})
    (found,) = page.judge(results)
    assert found.gains[AFTER].speedup == pytest.approx(2, rel=0.02)
    assert found.gains[ONNXRUNTIME].speedup == pytest.approx(1.25, rel=0.02)
    assert found.processor_gains[AFTER].speedup == pytest.approx(2, rel=0.02)
    assert found.share == pytest.approx(0.8, rel=0.02)
    assert found.recurrent is not None
    assert found.recurrent.speedup == pytest.approx(8 / 3, rel=0.02)
    assert found.gains[AFTER].low < found.gains[AFTER].speedup < found.gains[AFTER].high
    assert page.explain_little(found) == ""


def test_little_gain_is_explained_by_a_small_share() -> None:
    (found,) = page.judge(
        made({BEFORE: 0.010, AFTER: 0.0097}, {BEFORE: 0.0005, AFTER: 0.0002}),
    )
    assert page.explain_little(found).startswith("The recurrent layers take 5% of the time")
    assert "1.05 times as fast" in page.explain_little(found)


def test_little_gain_is_explained_by_layers_that_gain_little() -> None:
    (found,) = page.judge(made({BEFORE: 0.010, AFTER: 0.0101}, {BEFORE: 0.009, AFTER: 0.0091}))
    assert page.explain_little(found).startswith("The recurrent layers alone become only 0.99")


def test_gain_that_contradicts_that_of_the_layers_is_called_unclear() -> None:
    (found,) = page.judge(made({BEFORE: 0.010, AFTER: 0.0099}, {BEFORE: 0.010, AFTER: 0.005}))
    assert "differ too much to say" in page.explain_little(found)


def test_slower_model_is_in_the_table_of_little_gains(tmp_path: Path) -> None:
    results = made({BEFORE: 0.010, AFTER: 0.015}, {BEFORE: 0.005, AFTER: 0.009})
    table = page.TABLES["little"](results)
    assert "resemblyzer" in table
    assert "SLOWER" in table
    assert "resemblyzer" in page.TABLES["inference"](results)
    assert "resemblyzer" not in page.TABLES["training"](results)


def test_way_without_times_is_listed_with_its_reason() -> None:
    results = made({BEFORE: 0.010, AFTER: 0.005}, {BEFORE: 0.008, AFTER: 0.003})
    for process in results.processes:
        process.cases[1].ways[AFTER] = WayRecord(0.5, "its results differ by 0.5")
    results.unavailable["deepac"] = "deepac 0.14.1 cannot be downloaded: no network"
    (found,) = page.judge(results)
    assert AFTER not in found.gains
    table = page.TABLES["problems"](results)
    assert "resemblyzer, inference 1×160, whole: before" not in table
    assert f"resemblyzer, inference 1×160, whole: {AFTER} | its results differ by 0.5" in table
    assert "no network" in table
    assert page.measure_worst_error(results, AFTER) == pytest.approx(1e-6)


def test_errors_that_float64_judged_have_their_own_table() -> None:
    results = made({BEFORE: 0.010, AFTER: 0.005}, {BEFORE: 0.008, AFTER: 0.003})
    for number, process in enumerate(results.processes):
        record = process.cases[0].ways[AFTER]
        record.error, record.before_from_float64 = 0.01, 0.01 + 0.001 * number
        record.from_float64 = 0.002
    assert page.list_amplified(results) == {
        "resemblyzer, inference 1×160, recurrent": pytest.approx((0.01, 0.015, 0.002))
    }
    assert "| resemblyzer, inference 1×160, recurrent | 0.01 | 0.01 | 0.002 |" in page.TABLES[
        "errors"
    ](results)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = made({BEFORE: 0.010, AFTER: 0.005}, {BEFORE: 0.008, AFTER: 0.003})
    path = tmp_path / "results.json"
    records.write(path, results)
    assert records.read(path) == results


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"schema": 1', '"schema": 9', "schema"),
        ('"case": "inference 1×160"', '"case": 5', r"processes\[0\].cases\[0\].case"),
        ('"threads": 2', '"threads": 0', "machine.threads"),
        ('"network": "resemblyzer", ', "", "network"),
    ],
)
def test_wrong_file_is_refused_in_one_line_that_names_the_field(
    old: str, new: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    records.write(path, made({BEFORE: 0.010, AFTER: 0.005}, {BEFORE: 0.008, AFTER: 0.003}))
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ResultError, match=says):
        records.read(path)
    assert main(["table", "inference", "--results", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error


def test_unknown_model_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "resemblizer"]) == 2
    error = capsys.readouterr().err
    assert "did you mean" in error
    assert "resemblyzer" in error


def test_committed_results_have_every_case_of_every_network() -> None:
    results = records.read(records.RESULTS)
    found = {(each.network.name, each.case.key) for each in page.judge(results)}
    missing = {
        (name, case.key)
        for name, network in NETWORKS.items()
        if network.package not in results.unavailable
        for case in network.cases
    } - found
    assert missing == set()
    for each in page.judge(results):
        assert isinstance(each.case, Case)
        assert each.before is not None


# Models

CHECK = [sys.executable, "-m", "research.real_models", "check"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_real_model_computes_the_same_after_it_was_accelerated(name: str) -> None:
    framework = {"PyTorch": "torch", "Keras": "tensorflow", "NumPy": "numpy"}
    pytest.importorskip(framework[NETWORKS[name].framework])
    root = Path(__file__).resolve().parents[2]
    made = subprocess.run([*CHECK, name], capture_output=True, text=True, cwd=root, check=False)
    if "cannot be downloaded" in made.stderr or "pip did not finish" in made.stderr:
        pytest.skip(made.stderr.strip().splitlines()[-1])
    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.count("\n") == 2 * len(NETWORKS[name].cases)
