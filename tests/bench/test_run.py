"""Test ``bench.run`` as a user runs it, on backends that need no framework."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import records, report, run
from bench.case.cases import Case
from bench.cli.command_line import INTERRUPTED
from bench.machine.lock import MachineLock
from bench.records.schema import Measurement, Outcome
from bench.render.messages import reason_line
from bench.session import measure
from bench.session.exit_codes import BAD_INPUT, FAILED, HELD, INCOMPLETE, MEASURED, UNWRITABLE
from tests import quick_pytest
from tests.bench import other_package
from tests.bench.made_suites import small_suite
from tests.outside import outside
from tests.places import ROOT

SUITE = small_suite(timesteps=(2, 3, 4))
MISCHIEF = """\
import ctypes, os, signal, time
from lstm_impl import Availability
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel

class _Late(NumPyModel):
    def prepare(self, workload, seed=0):
        if self.spec.hidden_size > 1:
            self.backend.act()
        return super().prepare(workload, seed)

class _Told(NumPyLoop):
    def _build(self, spec, weights, device, batch_major):
        return _Late(self, spec, device, batch_major, weights)

class Hanging(_Told):
    strategy = "hanging"
    def act(self):
        # As a compiler does: in C, where no Python signal handler would run.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        if "HUNG" in os.environ:
            open(os.environ["HUNG"], "w").close()
        time.sleep(600)
class Segfault(_Told):
    strategy = "segfault"
    def act(self):
        os.kill(os.getpid(), signal.SIGSEGV)
class Absent(NumPyLoop):
    strategy = "absent"
    def availability(self, device="cpu"):
        return Availability(False, "it is not installed", "pip install it")
"""


# Python runs it as it starts. However slow the machine is, only what hangs is over its limit: an
# hour passes after a few looks, of which each reads the clock six times.
CLOCK = """\
import itertools, os, sys, time
from tests import quick_worker
quick_worker.install()
true, hung, calls = time.monotonic, os.environ.get("HUNG", ""), itertools.count()
if "bench.run" in sys.orig_argv:
    time.monotonic = lambda: true() + 3600.0 * (os.path.exists(hung) and next(calls) > 20)
"""


@dataclass
class Done:
    code: int
    out: str
    err: str


class Place:
    """A folder with a suite, backends that misbehave, and a lock of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.suite = folder / "mine.toml"
        self.suite.write_text(SUITE)
        packages, temporary = folder / "packages", folder / "tmp"
        temporary.mkdir()
        backends = {name: name.capitalize() for name in ("hanging", "segfault", "absent")}
        other_package.install(packages, "mischief", MISCHIEF, backends)
        (packages / "sitecustomize.py").write_text(CLOCK)
        self.environ = outside(packages, TMPDIR=str(temporary), **quick_pytest.USED)
        self.lock = temporary / f"lstm-bench-{os.getuid()}.lock"

    def backends(self, *names: str) -> None:
        self.suite.write_text(SUITE.replace('["numpy"]', json.dumps(names)))

    def name(self, name: str) -> None:
        self.suite.write_text(SUITE.replace('name = "mine"', f'name = "{name}"'))

    def an_hour_passes_when_one_hangs(self) -> None:
        """Set variables for what is started from now on."""
        self.environ["HUNG"] = str(self.folder / "hung")

    @property
    def given(self) -> list[str]:
        """Return the command's words to measure the suite in one process."""
        return [str(self.suite), "--results", str(self.results), "--processes", "1"]

    def start(self, *arguments: str, suite: bool = True) -> subprocess.Popen[str]:
        given = [str(self.suite)] if suite else []
        return subprocess.Popen(
            [sys.executable, "-m", "bench.run", *given, "--results", str(self.results), *arguments],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, suite: bool = True) -> Done:
        with self.start(*arguments, suite=suite) as process:
            out, err = process.communicate(timeout=300)
        return Done(process.returncode, out, err)

    def is_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give this process the environment of those that are started there."""
        for name in os.environ:
            if name not in self.environ and not name.startswith("PYTEST_"):
                monkeypatch.delenv(name)
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("LSTM_LOCK", str(self.lock))

    def resumed(self, capsys: pytest.CaptureFixture[str]) -> Done:
        """Resume the session there in this process."""
        return called(capsys, "--results", str(self.results), "--resume")

    @property
    def measurements(self) -> list[Measurement]:
        return records.collect([self.results]).measurements

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {each.case.backend: each for each in records.collect([self.results]).outcomes}

    def wait_for_journal(self, text: str) -> None:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            for path in self.results.glob("*.journal.jsonl"):
                if text in path.read_text():
                    return
            time.sleep(0.02)
        pytest.fail(f"no journal with {text}")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> Done:
    """Run the command in this process."""
    try:
        code = run.main([*arguments])
    except SystemExit as stopped:
        code = int(str(stopped.code))
    return Done(code, *capsys.readouterr())


@dataclass
class Ran:
    """The results and output of a command that ran once; tests only read them."""

    place: Place
    done: Done


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Results of two processes, measured after waiting for another run."""
    place = Place(tmp_path_factory.mktemp("twice"))
    place.name("learning-rate")
    chosen = ("--seed", "5", "--threads", "1", "--seconds", "0.2s", "--memory", "on")
    with MachineLock(place.lock) as lock:
        lock.acquire("quick")
        process = place.start("--processes", "2", "--wait", *chosen)
        assert process.stdout is not None
        waited = process.stdout.readline()
    with process:
        out, err = process.communicate(timeout=300)
    done = Done(process.returncode, waited + out, err)
    assert done.code == 0, done.out + done.err
    assert "waiting for it" in waited
    return Ran(place, done)


def test_run_measures_a_suite_in_fresh_processes_of_one_session(twice: Ran) -> None:
    place, done = twice.place, twice.done
    found = place.measurements
    assert len(found) == 6
    runs = {each.run.id: each.run for each in found}
    assert len(runs) == 2
    assert len({each.session for each in runs.values()}) == 1
    assert all(each.complete for each in runs.values())
    seeds = {each.options["order_seed"] for each in runs.values()}
    assert len(seeds) == 2
    for each in runs.values():
        assert each.options["threads"] == 1
        assert each.options["budget"] == 0.2
        assert each.seed == 5
    assert re.search(r"^3 cases: \d VALID", done.out, re.MULTILINE)
    outside = r"2 processes, \d+ s, of which \d+ s \(\d+%\) outside measured blocks\n"
    assert re.search(outside, done.out)
    assert f"python -m bench.report {place.results}" in done.out
    assert not list(place.results.glob("*.jsonl"))
    assert not list(place.lock.parent.glob("lstm-judged-*"))  # the shared folder is deleted


def test_run_session_file_has_the_fields_from_which_it_resumes(twice: Ran) -> None:
    golden = json.loads((ROOT / "tests" / "golden" / "run_files.json").read_text())
    (path,) = (twice.place.results / ".sessions").iterdir()
    data = json.loads(path.read_text())
    assert {name.split(".")[1].removesuffix("[]") for name in golden["session"]} <= data.keys()
    assert (data["seed"], data["threads"], data["seconds"]) == (5, 1, 0.2)
    assert (data["memory"], data["load"], data["suite_name"]) == (True, 0, "learning-rate")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")
def test_run_measures_memory_in_one_process(twice: Ran) -> None:
    """Sort by process: of two that start at the same time either may begin first."""
    runs = {each.run.id: each.run.options["memory"] for each in twice.place.measurements}
    assert sorted(map(str, runs.values())) == ["off", "on"]
    for each in twice.place.measurements:
        if runs[each.run.id] == "off":
            assert each.memory is None
            continue
        assert each.memory is not None
        assert isinstance(each.memory["peak_bytes"], int | float)
        assert isinstance(each.memory["seconds"], float)


def test_run_of_cases_too_large_records_their_reasons(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, signals: None
) -> None:
    huge = "batch = [1, 900_000_000], timesteps = 100"
    suite = SUITE.replace("batch = 1, timesteps = [2, 3, 4]", huge)
    place.suite.write_text(f"memory = true\n{suite}")
    place.is_here(monkeypatch)
    done = called(capsys, *place.given, "--case-limit", "6s")
    assert done.code == 0, done.out + done.err
    assert [each.case.workload.batch for each in place.measurements] == [1]
    assert re.search(r"^  needs about \d+ GiB.* free; choose fewer .* \(1 case\)$", done.out, re.M)
    if sys.platform == "linux":
        assert re.search(r"^  memory not known: no time was left .* \(1 case\)$", done.out, re.M)


def test_run_with_hanging_and_crashing_cases_measures_the_rest(place: Place) -> None:
    place.backends("hanging", "segfault", "absent", "numpy")
    place.suite.write_text(place.suite.read_text().replace("[2, 3, 4]", "2"))
    place.an_hour_passes_when_one_hangs()
    done = place.run("--processes", "1", "--case-limit", "300s")
    assert done.code == 1, done.out + done.err
    assert [each.case.backend for each in place.measurements] == ["numpy"]
    outcomes = {name: each.outcome for name, each in place.outcomes.items()}
    assert outcomes == {"hanging": "timed_out", "segfault": "crashed", "absent": "not_measured"}
    assert "SIGSEGV" in reason_line(place.outcomes["segfault"].reason)
    assert "limit of 300 s" in reason_line(place.outcomes["hanging"].reason)
    summary = next(line for line in done.out.splitlines() if line.startswith("4 cases:"))
    for words in ("1 crashed", "1 over their time limit", "1 not measured"):
        assert words in summary
    assert "  it is not installed; pip install it (1 case)" in done.out.splitlines()


def test_run_interrupted_keeps_results_and_resume_continues(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, signals: None
) -> None:
    with place.start("--processes", "2") as process:
        place.wait_for_journal('"benchmark"')
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err == ""
    assert "Traceback" not in out
    assert re.search(
        r"^stopped: [123] cases? measured and kept; resume with: .* --resume$", out, re.M
    )
    before = {(each.run.id, each.case.id) for each in place.measurements}
    assert before
    place.is_here(monkeypatch)
    done = place.resumed(capsys)
    assert done.code == 0, done.out + done.err
    after = [(each.run.id, each.case.id) for each in place.measurements]
    assert before <= set(after)
    counts = [case for _, case in after]
    assert {case: counts.count(case) for case in counts} == dict.fromkeys(counts, 2)
    assert len(set(counts)) == 3
    resumed = place.resumed(capsys)
    assert resumed.code == 2
    assert "there is no unfinished session" in resumed.err


def test_run_of_a_suite_named_learning_measures_it(
    twice: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(twice.place.measurements) == 6
    assert report.main([str(twice.place.results)]) == 0
    assert "learning-rate on " in capsys.readouterr().out


def test_run_during_another_run_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signals: None
) -> None:
    monkeypatch.setenv("LSTM_LOCK", str(place.lock))
    with MachineLock(place.lock) as lock:
        lock.acquire("quick")
        done = called(capsys, *place.given)
    assert done.code == 4
    assert re.fullmatch(
        rf"error: another run measures .*process {os.getpid()}, since .*--force.*\n", done.err
    )
    assert not place.results.exists()
    monkeypatch.setattr(measure, "_measure", lambda *words: MEASURED)
    with MachineLock(place.lock) as lock:
        lock.acquire("quick")
        done = called(capsys, *place.given, "--force")
    assert (done.code, "; measuring anyway (--force): the runs disturb each other" in done.out) == (
        MEASURED,
        True,
    )


def test_run_into_an_unwritable_folder_prints_one_line(
    place: Place, capsys: pytest.CaptureFixture[str], signals: None
) -> None:
    place.results.write_text("a file stands here")
    done = called(capsys, *place.given)
    assert done.code == 3
    assert re.fullmatch(r"error: .*results.* cannot be written: .*\n", done.err)


def compact(data: object) -> str:
    return json.dumps(data, separators=(",", ":"))


def test_run_on_a_full_disk_prints_one_line_and_keeps_results(
    twice: Ran,
    place: Place,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    signals: None,
) -> None:
    path = next(twice.place.results.glob("*.json"))
    data = json.loads(path.read_text())
    # A limit of file sizes stands for a full disk: the journal's second entry exceeds it.
    first_line = data["lstm"]["run"] | {"environment": {"before": None}}
    size = len(compact(first_line))
    size += len(compact(data["lstm"]["run"]["environment"]["before"]))
    size += int(1.7 * len(compact(data["benchmarks"][0])))
    code = "import resource, sys; from bench import run; "
    code += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); "
    code += "sys.exit(run.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *place.given],
        cwd=place.folder,
        env=place.environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert re.fullmatch(r"error: .* cannot be written: File too large\n", done.stderr)
    assert 1 <= len(place.measurements) < 3
    place.is_here(monkeypatch)
    assert place.resumed(capsys).code == 0
    assert len(place.measurements) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "there is no suite"),
        ([str(ROOT / "README.md")], " not a suite, which is a TOML file"),
        (["--budget", "soon"], "is not a time; write 90s, 10m or 1h30m"),
        (["--precision", "0"], "is not a percentage"),
        (["--processes", "0"], "is not a whole number from 1"),
        (["--backends", "nosuch"], "there is no backend"),
        (["--device", "tpu"], "tpu"),
        (["--mode", "sleeping"], "there is no mode"),
        (["--nonsense"], "there is no option --nonsense"),
        (["--wait", "--force"], "not allowed with"),
        (["--resume", "nosuch"], "there is no session nosuch"),
        (["--resume"], "there is no unfinished session"),
        (["--memory", "some"], "invalid choice: 'some'"),
        (["--suite", "smoke", "--resume"], "SUITE cannot be combined with --resume"),
        (["--suite", "nosuch"], "there is no suite"),
        (["--suite", "my.toml"], "my.toml: there is no such file"),
        (["smoke", "--suite", "quick"], "not allowed with"),
    ],
)
def test_run_with_bad_input_prints_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signals: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = called(capsys, *arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert done.err.startswith("error: ")
    assert message in done.err
    assert not list(tmp_path.iterdir())


def test_run_list_of_a_suite_prints_its_cases(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "bench" / "case" / "first.toml"
    assert run.main([str(path), "--list"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith(f"first: {len(rest)} cases. ")
    assert all(Case.from_id(line.strip()) for line in rest)


def test_exit_codes_are_in_help_and_docs() -> None:
    codes = [MEASURED, FAILED, BAD_INPUT, UNWRITABLE, HELD, INCOMPLETE]
    docs = (ROOT / "docs" / "running.md").read_text()
    for code in [*codes, INTERRUPTED]:
        assert re.search(rf"^  {code} ", run.EPILOG, re.MULTILINE)
        assert re.search(rf"^\| {code} ", docs, re.MULTILINE)
