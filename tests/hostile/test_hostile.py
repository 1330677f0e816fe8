"""Test commands with backends that misbehave and one that behaves."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import report
from bench.session import session
from bench.session.session import SessionError
from tests.bench.warm_pytest import WarmPytest
from tests.hostile.deeds import DEEDS, PLACES
from tests.hostile.place import PYTEST, SUITE, Place

RAISED = {
    "exits": "SystemExit",
    "interrupts": "KeyboardInterrupt",
    "closes": "GeneratorExit",
    "panics": "Panic",
    "mutes": "Mute",
    **dict.fromkeys(
        ("clears_finders", "clears_hooks", "forbids_json", "loses_modules", "changes_builtins"),
        "ImportsChangedError",
    ),
}
CHANGED = {
    "changes_streams": "the standard streams",
    "changes_numpy": "NumPy's error state",
    "changes_folder": "the working directory",
    "changes_handlers": "the handler of SIGINT, SIGTERM",
    "clears_path": "sys.path",
    "limits_files": "the limit RLIMIT_FSIZE",
}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPytest]:
    folder = tmp_path_factory.mktemp("warm")
    suite = folder / "mine.toml"
    # Another case than those of the tests, which it must not know.
    text = SUITE.format(backends='["numpy"]').replace("hidden_size = 2", "hidden_size = 3")
    suite.write_text(text, encoding="utf-8")
    given = (*PYTEST, f"--lstm-suite={suite}", f"--lstm-results={folder / 'results'}")
    with WarmPytest(folder, given) as warm:
        yield warm


@pytest.fixture
def place(tmp_path: Path, warm: WarmPytest) -> Place:
    return Place(tmp_path, warm)


@pytest.mark.parametrize(("where", "command"), [("build", "run"), ("timing", "pytest")])
def test_hostile_backend_is_named_and_others_measured(
    place: Place, where: str, command: str
) -> None:
    raised, changed = ([f"{deed}_in_{where}" for deed in deeds] for deeds in (RAISED, CHANGED))
    place.measures(*raised, *changed, f"warns_in_{where}", "numpy")
    done = place.pytest() if command == "pytest" else place.run()
    assert done.returncode == 1, done.stdout + done.stderr
    reasons = place.reasons
    for name, error in zip(raised, RAISED.values(), strict=True):
        # The case fails in the phase of the change, or in the next one, which needs what it lost.
        assert reasons.pop(name).startswith((f"failed: {error} while ", f"failed: {error} in ")), (
            name
        )
    assert reasons == {}
    remarks = place.remarks
    assert remarks.pop("numpy") == ()
    # A worker of bench.run ignores SIGINT from the start, so ignoring it changes nothing.
    ours = {"changes_handlers": "the handler of SIGTERM"} if command == "run" else {}
    for name, what in zip(changed, (CHANGED | ours).values(), strict=True):
        assert remarks.pop(name) == (f"it changed {what}, which was restored",)
    assert remarks == {
        f"warns_in_{where}": (
            "RuntimeWarning: a textbook sigmoid overflows",
            "RuntimeWarning: overflow encountered in exp",
        )
    }
    if command == "run":
        with pytest.raises(SessionError, match="there is no unfinished session"):
            session.load(place.results)


def test_hostile_output_does_not_affect_others(place: Place) -> None:
    place.environ["HOSTILE_MEGABYTES"] = "100"
    place.measures(
        "prints_much_in_build", "prints_much_in_timing", "closes_files_in_build", "numpy"
    )
    done = place.run("--case-limit", "60s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.remarks["prints_much_in_build"] == (
        "the backend printed 105 MB before it was timed",
    )
    assert place.remarks["numpy"] == ()
    assert len(place.remarks) == 4


def test_failing_backend_output_is_in_its_reason(place: Place) -> None:
    place.environ["HOSTILE_MEGABYTES"] = "1"
    place.measures("prints_and_exits_in_build", "numpy")
    done = place.pytest()
    assert done.returncode == 1
    assert "The backend printed:" in done.stdout
    assert "bytes are left out" in done.stdout
    assert "and a word by print" in done.stdout
    assert len(done.stdout) < 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="daemons are found on Linux alone")
def test_worker_hostile_backend_leaves_no_processes(place: Place) -> None:
    leaves = ("leaves_a_child", "leaves_a_daemon", "leaves_a_pool", "threads", "forks", "signals")
    backends = [f"{deed}_in_{where}" for deed in leaves for where in ("build", "timing")]
    place.measures(*backends, "numpy")
    done = place.run_that_waits(0.5)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(place.remarks) == {*backends, "numpy"}
    assert len(place.found.measurements) == len(backends) + 1  # no fork has written another
    assert "process 1 finished but did not exit, so it was stopped" in done.stdout
    assert processes(place) == []


def processes(place: Place) -> list[int]:
    """Return the processes that were started there: their environment names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if str(place.folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def test_pytest_vanished_process_is_named_at_next_start(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.measures("numpy", "vanishes_in_build")
    done = place.pytest()
    assert done.returncode == 0  # no process was left to report
    place.measures("numpy")
    again = place.pytest("--collect-only").stdout.replace("\n", " ")
    assert "(its process ended while it worked on vanishes_in_build/" in again
    report.main([*map(str, place.results.glob("*.journal.jsonl"))])
    message = "".join(capsys.readouterr())
    assert "worked on vanishes_in_build/" in message.replace("\n", " ")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pytest", "run"])
@pytest.mark.parametrize("where", PLACES)
def test_hostile_deed_anywhere_leaves_honest_measurement(
    tmp_path: Path, where: str, command: str
) -> None:
    place = Place(tmp_path)
    # Plain pytest is the user's process, which nothing ends or resumes.
    fatal = ["vanishes", "signals", "threads"] if command == "pytest" else []
    deeds = [name for name in DEEDS if name not in fatal]
    place.measures(*(f"{name}_in_{where}" for name in deeds), "numpy")
    try:
        done = place.pytest() if command == "pytest" else place.run()
    finally:
        for number in processes(place):
            os.kill(number, signal.SIGKILL)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "numpy" in place.remarks
    assert len(place.remarks) + len(place.reasons) >= len(deeds) + 1
