"""Pytest sessions that measure: items, files, endings and terminal output."""

import json
import os
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from typing import Any

import pytest

from bench import records
from bench.machine.fields import mapping
from bench.machine.lock import MachineLock
from bench.records.schema import Outcome
from bench.render.messages import reason_line
from tests import quick_pytest
from tests.bench import other_package
from tests.bench.measured_project import IDS, SUITE, Done, Project, Usual
from tests.bench.warm_pytest import WarmPytest
from tests.places import ROOT


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Usual:
    project = Project(tmp_path_factory.mktemp("usual"))
    theirs = project.folder / "theirs.json"
    return Usual(project, project.start(*project.suited, f"--benchmark-json={theirs}"), theirs)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, warm: WarmPytest) -> Done:
    """Measure five backends; cases without a time have a reason."""
    project = Project(tmp_path_factory.mktemp("mixed"), warm)
    project.select_backends("numpy", "choosy", "wrong", "raising", "absent")
    chosen = ("--lstm-seed=7", "--lstm-session=abc", "--lstm-precision=5%")
    return project.measure("--lstm-budget=0.2", *chosen)


def test_session_suite_leaves_one_readable_file(usual: Usual) -> None:
    done = usual.done
    assert done.code == 0, done.out
    file = done.file
    assert [each.case.id for each in file.measurements] == list(IDS)
    assert file.run.complete
    assert file.run.suite == "mine"
    before = mapping(file.run.environment["before"])
    assert mapping(before["installed"]).items() >= mapping(before["libraries"]).items()
    assert "iniconfig" in mapping(before["installed"])  # pytest needs it, and times do not
    assert before["installed_hash"]
    for each in file.measurements:
        assert len(each.samples) == len(each.rounds) >= 1
        assert each.gate["passed"] is True
        assert each.evidence["kernels"] == ["numpy.matmul"]
    assert [path.name for path in done.folder.iterdir()] == [done.files[0].name]


def test_session_file_has_the_samples_of_pytest_benchmark(usual: Usual) -> None:
    ours, theirs = usual.done.data, json.loads(usual.theirs.read_text())
    for mine, other in zip(ours["benchmarks"], theirs["benchmarks"], strict=True):
        assert mine["stats"]["data"] == other["stats"]["data"]
        assert mine["fullname"] == other["fullname"]
        assert f"[{mine['extra_info']['lstm']['case_id']}]" in mine["name"]
        blocks = mine["extra_info"]["lstm"]["blocks"]
        assert mine["stats"]["iterations"] == blocks["calls"]
        assert mine["stats"]["rounds"] == len(blocks["round"])
        assert mine["params"] == {"lstm_case": mine["extra_info"]["lstm"]["case_id"]}
    assert set(ours) - set(theirs) == {"lstm", "digest"}
    shown = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(usual.done.files[0])],
        capture_output=True,
        text=True,
        check=True,
        cwd=usual.project.folder,
    )
    assert shown.stdout.count("test_case[numpy") == 3


def test_session_selected_cases_alone_are_measured(project: Project) -> None:
    project.select_backends("numpy", "killed")
    done = project.measure("-k", "numpy and w2 and training")
    assert done.code == 0, done.out
    assert [each.case.id for each in done.file.measurements] == [IDS[2]]
    assert done.file.run.complete


def outcomes(done: Done, backend: str) -> list[Outcome]:
    return [each for each in done.file.outcomes if each.case.backend == backend]


def test_session_failed_gate_fails_the_test_without_a_time(mixed: Done) -> None:
    assert mixed.code == 1
    assert "error" not in mixed.out.splitlines()[-1]
    assert "dx differs from the float64 NumPy reference by 1.00e-02" in mixed.out
    assert re.search(r"^\d cases? failed: .*dx differs .*allowed", mixed.out, re.MULTILINE)
    found = outcomes(mixed, "wrong")
    assert {each.case.workload.mode for each in found} == {"training"}
    assert all(each.outcome == "failed" and "allowed" in reason_line(each.reason) for each in found)
    assert [each.case.id for each in mixed.file.measurements if each.case.backend == "wrong"] == [
        IDS[1].replace("numpy", "wrong")  # inference computes no gradients
    ]


def test_session_error_shows_its_traceback_and_others_go_on(mixed: Done) -> None:
    assert "a million bytes too few" in mixed.out
    assert "misbehaving.py" in mixed.out
    assert [each.outcome for each in outcomes(mixed, "raising")] == ["failed"] * 3
    measured = [each.case.id for each in mixed.file.measurements if each.case.backend == "numpy"]
    assert measured == list(IDS)
    first, second = (e for e in mixed.file.measurements if e.case.kind == "throughput")
    assert (first.case.backend, second.case.backend) == ("numpy", "choosy")
    assert list(first.rounds) == list(second.rounds)  # they are paired


def test_session_unavailable_backend_is_skipped_and_recorded(mixed: Done) -> None:
    assert "3 cases not measured: it is not installed; pip install it" in mixed.out
    assert "2 cases refused by the backend: windows are beneath it" in mixed.out
    assert [each.outcome for each in outcomes(mixed, "absent")] == ["not_measured"] * 3
    assert [each.outcome for each in outcomes(mixed, "choosy")] == ["refused"] * 2


def test_session_missing_gpu_is_recorded(project: Project) -> None:
    done = project.measure("--lstm-device=cpu,gpu:77", "--lstm-backends=while_loop", "-k", "gpu")
    assert done.code == 0
    assert {each.case.device for each in done.file.outcomes} == {"gpu:77"}
    assert all(reason_line(each.reason).startswith("no gpu:77: ") for each in done.file.outcomes)
    assert re.search(r"^lstm: no gpu:77: ", done.out, re.MULTILINE)


def test_session_ctrl_c_keeps_finished_cases_alone(project: Project) -> None:
    project.select_backends("numpy", "interrupted")
    text = project.suite.read_text().replace('["numpy", "interrupted"]', '["numpy"]')
    head, last, tail = text.rpartition("[[groups]]")
    project.suite.write_text(f'{head}{last}\nbackends = ["numpy", "interrupted"]{tail}')
    done = project.measure("--lstm-budget=0.5")
    assert done.code == 2
    file = done.file
    assert not file.run.complete
    assert [each.case.id for each in file.measurements] == [IDS[0]]
    assert {each.outcome for each in file.outcomes} == {"interrupted"}
    assert {each.case.backend for each in file.outcomes} == {"numpy", "interrupted"}
    assert "stopped early" in done.out
    assert "read them: python -m bench.report" in done.out


def test_session_killed_leaves_finished_cases_in_the_journal(project: Project) -> None:
    project.select_backends("killed")
    text = project.suite.read_text().replace('["killed"]', '["numpy"]')
    head, last, tail = text.rpartition("[[groups]]")
    project.suite.write_text(f'{head}{last}\nbackends = ["killed"]{tail}')
    done = project.measure("--lstm-budget=0.5")
    assert done.code == -9
    (journal,) = done.folder.iterdir()
    file = records.read(journal)
    assert [each.case.id for each in file.measurements] == [IDS[0]]
    assert not file.run.complete
    # The next run and the report say what it died of.
    died = r"its finished cases are read \(its process ended while it worked on killed/b2-t4"
    assert re.search(
        rf"{re.escape(journal.name)} holds an unfinished run.* {died}", str(file.notes)
    )
    again = project.measure("--collect-only").out.replace("\n", " ")
    assert re.search(rf"lstm: .*{re.escape(journal.name)} holds an unfinished run.* {died}", again)


def test_session_unwritable_folder_is_a_usage_error(project: Project) -> None:
    (project.folder / "results").write_text("a file, no folder")
    done = project.measure()
    assert done.code == 4
    assert "cannot be written" in done.out
    assert "choose another folder: --lstm-results DIR" in done.out
    assert "passed" not in done.out


def test_session_full_disk_keeps_finished_cases(project: Project) -> None:
    (project.packages / "full.py").write_text(
        textwrap.dedent(
            """
            from bench.machine.writing import ResultWriteError
            from bench.records.journal import Journal
            append = Journal.append
            def full(self, line):
                if line.get("benchmark", {}).get("name", "").startswith("test_case[numpy/b2-t4"):
                    raise ResultWriteError("the disk is full")
                append(self, line)
            Journal.append = full
            """
        )
    )
    done = project.measure("-p", "full")
    assert done.code == 1
    assert "the disk is full; earlier measurements are kept" in done.out
    assert "Traceback" not in done.out
    assert [each.case.id for each in done.file.measurements] == [IDS[0]]
    assert not done.file.run.complete


def test_session_unreadable_result_fails_and_is_in_no_file(project: Project) -> None:
    (project.packages / "odd.py").write_text(
        textwrap.dedent(
            """
            from bench.worker.group import Measured
            complete = Measured.to_extra
            def odd(measured, case, seed):
                wrong = {"steady": "perhaps"} if case.workload.timesteps == 3 else {}
                return complete(measured, case, seed) | wrong
            Measured.to_extra = odd
            """
        )
    )
    theirs = project.folder / "theirs.json"
    done = project.measure("-p", "odd", f"--benchmark-json={theirs}")
    assert done.code == 1
    assert 'steady is "perhaps"; expected true or false' in " ".join(done.out.split())
    assert [each["param"] for each in done.data["benchmarks"]] == list(IDS[1:])
    assert [(each.case.id, each.outcome) for each in done.file.outcomes] == [(IDS[0], "failed")]
    assert [each["param"] for each in json.loads(theirs.read_text())["benchmarks"]] == list(IDS[1:])


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_session_tensorflow_on_cpu_measures_all_but_cudnn(project: Project) -> None:
    options = ("--lstm-backends=block_lstm,cudnn", "--lstm-device=cpu", "-kt3-i1")
    done = project.start(*project.suited, *options, environ=quick_pytest.USED)
    assert done.code == 0, done.out
    assert [each.case.backend for each in done.file.measurements] == ["block_lstm"]
    assert {(each.case.backend, each.outcome) for each in done.file.outcomes} == {
        ("cudnn", "not_measured")
    }
    assert "gpu" in reason_line(done.file.outcomes[0].reason).lower()
    after = done.data["lstm"]["run"]["environment"]["after"]
    installed = after["libraries"]
    assert after["tensorflow"]["version"] == installed.get(
        "tensorflow", installed.get("tensorflow-cpu")
    )


def test_session_terminal_names_suite_file_and_command(usual: Usual) -> None:
    done = usual.done
    assert "lstm: suite mine: 3 cases on cpu (numpy)" in done.out
    (path,) = done.files
    assert f"results: {path}" in done.out
    assert f"read them: python -m bench.report {path}" in done.out
    # So few samples make a time unreliable; a busy machine may make it INVALID.
    pattern = r"3 cases measured, .*(unreliable time|INVALID).*:\n(  .+\n)*  .+; .+--lstm-budget"
    assert re.search(pattern, done.out)


def test_session_options_are_recorded(mixed: Done, project: Project) -> None:
    run = mixed.file.run
    assert (run.seed, run.session) == (7, "abc")
    assert run.options["precision"] == 0.05
    assert run.options["suite"] == project.suite.name
    assert {each.stopped for each in mixed.file.measurements} <= {"precise", "time"}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")
def test_session_memory_follows_suite_and_option(project: Project, usual: Usual) -> None:
    alone = f"--lstm-cases={project.folder / 'cases.json'}"
    (project.folder / "cases.json").write_text(json.dumps(IDS[:1]))

    def figures(name: str, *arguments: str) -> Any:
        folder = project.folder / name
        done = project.measure(alone, f"--lstm-results={folder}", *arguments)
        assert done.code == 0, done.out
        (measurement,) = records.collect([folder]).measurements
        return measurement.memory

    assert [each.memory for each in usual.done.file.measurements] == [None] * 3
    found = figures("on", "--lstm-memory=on", "--lstm-case-limit=100")
    assert found["how"] == "resident"
    assert 0 <= found["steady_bytes"] <= found["peak_bytes"] < 2**30
    assert found["seconds"] > 0
    project.suite.write_text(f"memory = true\n{SUITE}")
    # The limit leaves too little time for memory: the figure is missing, the time is not.
    assert figures("suite", "--lstm-case-limit=6")["how"] == "no_time_left"
    assert figures("off", "--lstm-memory=off") is None


def test_session_too_many_threads_is_invalid(project: Project) -> None:
    wanted = (f"--lstm-threads={1 + (os.cpu_count() or 1)}", "-kt3-i1")
    done = project.measure(*wanted)
    assert done.code == 0
    (each,) = done.file.measurements
    assert "threads" in [reason.code for reason in each.reasons]


def test_session_order_seed_shuffles_and_keeps_groups_together(project: Project) -> None:
    project.select_backends("numpy", "choosy")

    def order(seed: int) -> list[str]:
        done = project.measure("--collect-only", "-q", f"--lstm-order-seed={seed}")
        return re.findall(r"\[(.+)\]", done.out)

    orders = [order(seed) for seed in (0, 4, 0)]
    groups = [[case.partition("/")[2] for case in found] for found in orders]
    assert all(found[0::2] == found[1::2] for found in groups)
    assert len({tuple(found) for found in groups}) > 1
    assert len({case.partition("/")[0] for found in orders for case in found[0::2]}) == 2
    assert orders[0] == orders[2]


OSC_52 = "\x1b]52;c;cm0gLXJmIH4=\x07"
"""An escape code that would write a command into the clipboard."""


def test_session_escape_codes_do_not_reach_the_terminal(project: Project) -> None:
    done = project.run("--benchmark-only", f"--lstm-suite={OSC_52}\u202e", where=ROOT)
    assert done.code == 4
    assert "there is no suite" in done.out
    assert not {"\x1b", "\x07", "\u202e"} & set(done.out)
    backends = f"""\
from lstm_impl import Availability
from lstm_impl.backends.others.numpy_loop import NumPyLoop

class Hostile(NumPyLoop):
    strategy = "hostile"
    def refusal(self, spec, workload=None):
        if workload and workload.window:
            raise ValueError({OSC_52!r})
        return {"no: " + OSC_52!r}
"""
    other_package.install(project.packages, "hostility", backends, {"hostile": "Hostile"})
    project.select_backends("hostile")
    done = project.measure("--lstm-budget=0.05", "-ra", "-v")
    assert "no: ?]52" in done.out
    assert not {"\x1b", "\x07"} & set(done.out)


def test_session_busy_machine_is_refused_unless_forced(project: Project) -> None:
    with MachineLock(project.temporary / f"lstm-bench-{os.getuid()}.lock") as lock:
        lock.acquire("another")
        done = project.measure("-k", "w2 and inference")
        assert done.code == 4
        assert re.search(
            r"^ERROR: another run measures on this machine: process \d+, since .*, another; "
            r"--lstm-busy=wait waits for it, --lstm-busy=force measures anyway$",
            done.out,
            re.MULTILINE,
        )
        assert not done.files
        listed = project.folder / "cases.json"
        listed.write_text(json.dumps([IDS[1]]))
        forced = project.measure(f"--lstm-cases={listed}", "--lstm-busy=force")
        assert forced.code == 0, forced.out
        assert [each.case.id for each in forced.file.measurements] == [IDS[1]]
        assert forced.file.run.options["cases"] == listed.name
        assert str(project.folder) not in forced.files[0].read_text()


def test_session_benchmarks_disabled_judges_and_records_nothing(project: Project) -> None:
    project.select_backends("numpy", "wrong", "absent")
    done = project.run("bench/bench_cases.py", "-kt3-i1", "--benchmark-disable", *project.into)
    assert done.code == 1
    assert "1 failed, 1 passed, 1 skipped" in done.out
    assert not done.folder.exists()
