"""Test ``python -m bench.ask``: answers from available or new results."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import ask
from bench.case.cases import Case
from bench.machine.disturbance import Activity
from bench.machine.lock import MachineLock
from bench.records.schema import Results
from bench.session import query
from bench.session.exit_codes import INCOMPLETE
from lstm_impl import LSTMSpec, Workload
from lstm_impl.cell import GRU
from tests import quick_pytest
from tests.bench import other_package
from tests.bench.made_results import LAPTOP, disturbed, replicates, save
from tests.bench.session.test_model_files import lstm
from tests.bench.session.test_model_files import save as save_model
from tests.outside import outside

BOTH = ["--backends", "keras,while_loop"]
SHAPE = ["--batch", "4", "--steps", "20", "--hidden", "16", "--input", "8", *BOTH]


@dataclass
class BusyMachine:
    """A machine of two processors, of which others keep some busy for some seconds."""

    others: float = 0.0
    until: float = 0.0
    time: float = 0.0
    busy: float = 0.0

    def activity(self) -> Activity:
        return Activity(self.time, 2, self.busy, 0.0, {7: ("chromium", self.busy)}, 0, 0, {}, None)

    def sleep(self, seconds: float) -> None:
        self.busy += self.others * min(seconds, max(0.0, self.until - self.time))
        self.time += seconds

    def surroundings(self) -> query.Surroundings:
        return query.Surroundings(self.activity, lambda: self.time, self.sleep)


def case(backend: str) -> Case:
    return Case(backend, LSTMSpec(8, 16), Workload(4, 20, "training", gradients="weights"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> BusyMachine:
    found = BusyMachine()
    monkeypatch.setattr(ask, "Surroundings", found.surroundings)
    monkeypatch.setattr(query, "has_framework", lambda name: True)
    monkeypatch.setattr(ask, "compile_kernels", lambda *given: None)
    return found


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine the one of the made-up results."""
    this = SimpleNamespace(machine_id="id-of-laptop")
    monkeypatch.setattr(query, "environment", SimpleNamespace(read=lambda: this))


def times() -> Any:
    return replicates("r", {case("keras"): 2e-3, case("while_loop"): 1e-3})


def test_ask_with_available_results_answers_and_names_again(
    here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "results", times())
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: pytest.fail("it measures"))
    assert ask.main(SHAPE) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Use while_loop, 1.00 ms per training step" in out
    assert f"From 6 processes on {LAPTOP}" in out
    assert out.endswith("--again measures the shape again.")


def test_ask_without_results_measures_and_then_answers(
    here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def measure(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        save(tmp_path / "results", times())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", measure)
    assert ask.main([*SHAPE, "--budget", "1m"]) == 0
    (command,) = commands
    assert command[1:3] == ["-m", "bench.run"]
    assert Path(command[3]).read_text().count("hidden_size = 16") == 1
    assert command[4:] == ["--budget", "54s", "--brief"]  # of the whole command's time
    printed = capsys.readouterr().out
    assert "Use while_loop" in printed
    assert "at agent" not in printed
    # The new results answer the next time, but not with --again.
    assert ask.main(SHAPE) == 0
    assert len(commands) == 1
    assert ask.main([*SHAPE, "--again"]) == 0
    assert len(commands) == 2


@dataclass
class Measuring:
    """In the place of ``bench.run``: takes its budget, and writes its results."""

    folder: Path
    machine: BusyMachine
    found: Results
    commands: list[list[str]] = field(default_factory=list)

    def __call__(self, command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        self.machine.time += self.budgets[-1]
        save(self.folder, self.found)
        return subprocess.CompletedProcess(command, 0)

    @property
    def budgets(self) -> list[float]:
        return [float(each[each.index("--budget") + 1][:-1]) for each in self.commands]


@pytest.fixture
def measuring(
    here: None, tmp_path: Path, machine: BusyMachine, monkeypatch: pytest.MonkeyPatch
) -> Measuring:
    found = Measuring(tmp_path / "results", machine, times())
    monkeypatch.setattr(subprocess, "run", found)
    return found


def test_ask_with_results_that_lack_a_backend_measures_again(measuring: Measuring) -> None:
    save(measuring.folder, times())
    assert ask.main([*SHAPE[:-2]]) == 0  # the usual backends, more than the two
    assert len(measuring.commands) == 1


def test_ask_with_invalid_results_measures_again(
    measuring: Measuring, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = disturbed(times(), 12)
    save(measuring.folder, busy)
    assert ask.main(SHAPE) == 0
    assert len(measuring.commands) == 1
    measuring.found = busy
    assert ask.main([*SHAPE, "--again"]) == 0  # what was measured just now is the answer
    assert "Do not rely on it yet" in capsys.readouterr().out


def test_ask_on_a_busy_machine_names_what_runs_and_waits(
    measuring: Measuring, machine: BusyMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.others, machine.until = 1.5, 7.0
    assert ask.main([*SHAPE, "--budget", "100s"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "others kept 1.5 of 2 processors busy (chromium (pid 7) 150%); waiting up to 25 s" in out
    assert "measuring although" not in out
    # Waiting took ten seconds of the command's time.
    assert measuring.budgets == [100 - 10 - ask.ANSWERING]


def test_ask_on_a_machine_that_stays_busy_waits_a_quarter(
    measuring: Measuring, machine: BusyMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.others, machine.until = 1.5, 1e9
    assert ask.main([*SHAPE, "--budget", "100s"]) == 0
    assert "measuring although the machine is not quiet: others kept 1.5 of 2" in " ".join(
        capsys.readouterr().out.split()
    )
    assert 100 - 25 - ask.ANSWERING <= measuring.budgets[0] < 100


def test_ask_of_a_model_shares_the_budget_among_layers(
    measuring: Measuring, tmp_path: Path, machine: BusyMachine
) -> None:
    shape = [None, 20, 8]
    layers = [lstm(f"layer{units}", units, shape) for units in (16, 32, 64)]
    save_model(tmp_path / "m.keras", *layers)
    words = "--batch 4 --steps 20 --model m.keras --budget 102s --again"
    ask.main([*words.split(), *BOTH])
    assert len(measuring.budgets) == 3
    assert machine.time <= 102
    assert min(measuring.budgets) > 25


def test_ask_without_an_answer_exits_with_1(
    here: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: subprocess.CompletedProcess[str] = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: done)
    assert ask.main(SHAPE) == 1
    assert "No answer" in capsys.readouterr().out


def test_ask_with_a_budget_that_was_too_short_names_a_longer_one(
    here: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: subprocess.CompletedProcess[str] = subprocess.CompletedProcess([], INCOMPLETE)
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: done)
    assert ask.main([*SHAPE, "--budget", "30s"]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "the budget of 30 s was spent before two backends were measured" in text
    assert "give more time with --budget 60s" in text


def test_ask_compiles_the_kernels_before_its_time_begins(
    measuring: Measuring, machine: BusyMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[list[str]] = []

    def compile_slowly(backends: Iterable[str], tell: Callable[[str], None]) -> None:
        compiled.append([*backends])
        machine.time += 300

    monkeypatch.setattr(ask, "compile_kernels", compile_slowly)
    assert ask.main([*SHAPE, "--budget", "100s"]) == 0
    assert compiled == [["keras", "while_loop"]]
    assert measuring.budgets == [100 - query.LOOK - ask.ANSWERING]


def test_ask_without_two_frameworks_says_so_and_measures_nothing(
    here: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "has_framework", lambda name: name == "numpy")
    monkeypatch.setattr(query, "framework", lambda name: "numpy" if name == "numpy" else "no_such")
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: pytest.fail("it measures"))
    monkeypatch.setattr(query, "wait_until_quiet", lambda *given: pytest.fail("it waits"))
    assert ask.main([*SHAPE, "--backends", "numpy,torch,keras"]) == 1
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("not installed: no_such; ")
    assert rest[0].startswith("No answer for batch 4")


@pytest.mark.parametrize(
    ("code", "expected", "words"),
    [
        (2, 2, ""),
        (3, 1, "the results could not be written; the lines above say why."),
        (4, 4, "another run began to measure on this machine; --wait waits for it."),
    ],
)
def test_ask_where_bench_run_measures_nothing_says_so_and_gives_no_old_answer(
    here: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    expected: int,
    words: str,
) -> None:
    save(tmp_path / "results", times())
    done: subprocess.CompletedProcess[str] = subprocess.CompletedProcess([], code)
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: done)
    assert ask.main([*SHAPE, "--again"]) == expected
    out = " ".join(capsys.readouterr().out.split())
    assert words in out
    assert "Use while_loop" not in out


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MachineLock]:
    """Another run that measures on this machine."""
    monkeypatch.setenv("LSTM_LOCK", str(tmp_path / "lock"))
    with MachineLock() as lock:
        lock.acquire("another suite")
        yield lock


def test_ask_while_another_run_measures_says_so_before_it_waits(
    measuring: Measuring,
    held: MachineLock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(query, "wait_until_quiet", lambda *given: pytest.fail("it waits"))
    assert ask.main(SHAPE) == 4
    error = capsys.readouterr().err
    assert "another suite; --wait waits for it, --force measures anyway" in error
    assert measuring.commands == []


def test_ask_with_wait_measures_after_the_other_run(
    measuring: Measuring,
    held: MachineLock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(MachineLock.wait, "__defaults__", (lambda seconds: held.close(),))
    assert ask.main([*SHAPE, "--wait"]) == 0
    assert "waiting for it" in capsys.readouterr().out
    assert measuring.commands[0][-1] == "--wait"


def test_ask_with_force_measures_beside_the_other_run(
    measuring: Measuring, held: MachineLock
) -> None:
    assert ask.main([*SHAPE, "--force"]) == 0
    assert measuring.commands[0][-1] == "--force"


def test_ask_of_a_model_with_too_little_time_names_a_budget_that_is_enough(
    measuring: Measuring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [lstm(f"layer{units}", units, [None, 20, 8]) for units in range(1, 9)]
    save_model(tmp_path / "m.keras", *layers)
    words = ["--batch", "4", "--steps", "20", "--model", "m.keras", *BOTH]
    assert ask.main(words) == 2
    error = capsys.readouterr().err
    assert "--budget 120s is too short to measure 8 shapes: use --budget 192s" in error
    ask.main([*words, "--budget", "192s"])
    assert len(measuring.budgets) == 8
    assert min(measuring.budgets) >= ask.LEAST - 1


def test_ask_with_paths_answers_from_them_and_measures_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: pytest.fail("it measures"))
    save(tmp_path / "theirs", times())
    assert ask.main([*SHAPE, "theirs"]) == 0
    assert ask.main([*SHAPE, "--optimizer", "adam", "theirs"]) == 1
    assert "these results hold fewer than two backends" in " ".join(capsys.readouterr().out.split())


def test_ask_of_a_model_answers_equal_layers_once(
    here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "results", times())
    shape = [None, 20, 8]
    save_model(tmp_path / "m.keras", lstm("first", 16, shape), lstm("second", 16, shape))
    assert ask.main(["--batch", "4", "--steps", "20", "--model", "m.keras", *BOTH]) == 0
    out = capsys.readouterr().out
    assert "first, second: batch 4 × 20 timesteps, 8 in, 16 hidden, gradients of weights" in out
    assert out.count("Use while_loop") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--batch", "4", "--steps", "20"], "--hidden N"),
        ([*SHAPE, "--model", "m.keras"], "--hidden N"),
        ([*SHAPE, "--mode", "inference", "--optimizer", "adam"], "--optimizer needs"),
        ([*SHAPE, "--window", "7"], "expected a divisor of 20"),
        ([*SHAPE, "--device", "tpu"], "tpu"),
        ([*SHAPE[:-1], "foo", "theirs"], "there is no backend 'foo'"),
        ([*SHAPE, "theirs"], "theirs"),
        ([*SHAPE, "--variant", "int8"], "--variant int8: while_loop has no variant int8"),
        ([*SHAPE, "--device", "gpu:7", "--again"], "no gpu:7"),
        (["--batch", "4", "--steps", "20", "--model", "m.keras"], "m.keras: there is no such file"),
        (
            ["--batch", "4", "--steps", "20", "--model", "m.keras", "--cell", "gru"],
            "--cell gru cannot be combined with --model, which asks about LSTM layers",
        ),
    ],
)
def test_ask_with_bad_input_prints_one_line(
    given: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "theirs").mkdir()
    assert ask.main(given) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_ask_for_a_gru_is_answered_by_results_of_gru_alone(
    here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gru = {
        replace(case(name), spec=replace(case(name).spec, cell=GRU())): seconds
        for name, seconds in (("keras", 1e-3), ("while_loop", 3e-3))
    }
    save(tmp_path / "results", times())
    save(tmp_path / "results", replicates("g", gru))
    for words, fastest in ((["--cell", "gru"], "keras"), ([], "while_loop")):
        assert ask.main([*SHAPE, *words, str(tmp_path / "results")]) == 0
        out = capsys.readouterr().out
        assert f"Use {fastest}, 1.00 ms per training step" in out


def test_usual_backends_of_a_gru_are_those_that_compute_it() -> None:
    lstm = case("")
    gru = replace(lstm, spec=replace(lstm.spec, cell=GRU(reset_after=False)))
    assert set(query.usual_backends(lstm)) - set(query.usual_backends(gru)) == {"torch"}


def test_ask_measures_two_backends_and_prints_the_answer(tmp_path: Path) -> None:
    """The complete command, with two backends that need no framework."""
    twin = "from lstm_impl.backends.others.numpy_loop import NumPyLoop\n"
    twin += "class Twin(NumPyLoop):\n    strategy = 'twin'\n"
    other_package.install(tmp_path / "packages", "twins", twin, {"twin": "Twin"})
    # Other tests may keep the machine busy: do not wait.
    code = "import sys; from bench import ask; ask.query.WAIT_SHARE = 0.0; sys.exit(ask.main())"
    done = subprocess.run(
        [
            *(sys.executable, "-c", code, "--batch", "1", "--steps", "3", "--hidden", "2"),
            *("--backends", "numpy,twin", "--processes", "1", "--mode", "inference"),
        ],
        cwd=tmp_path,
        env=outside(tmp_path / "packages", LSTM_LOCK=str(tmp_path / "lock"), **quick_pytest.USED),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "numpy" in done.stdout
    assert "twin" in done.stdout
    assert done.stdout.strip().splitlines()[-1].startswith("From 1 process on ")
