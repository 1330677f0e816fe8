"""Pytest with this project's plugin, each time in a process of its own.

Where the start does not matter the process is a fork of one that has imported what tests need.
"""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from tests import quick_pytest
from tests.bench.measured_project import IDS, WITHOUT, Project
from tests.places import ROOT


def test_benchmark_only_collects_no_tests(project: Project) -> None:
    done = project.measure("--collect-only", "-q")
    assert done.code == 0
    listed = [line for line in done.out.splitlines() if "::" in line]
    assert listed == [f"bench/bench_cases.py::test_case[{each}]" for each in IDS]
    assert not done.folder.exists()
    # One folder of tests: collecting all takes a minute of imports.
    done = project.run("--collect-only", "-q", "-o", "testpaths=tests/bench/cli bench")
    assert "tests/bench/cli/test_command_line.py::" in done.out
    assert "bench_" not in done.out


WRONG = {
    "--lstm-suite=quik": 'there is no suite "quik" (did you mean quick?)',
    "--lstm-backends=while_lop": "no backend 'while_lop'; did you mean while_loop",
    "--lstm-device=cuda": "'cuda' is not a device; expected cpu or gpu:N",
    "--lstm-mode=train": 'there is no mode "train" (did you mean training or streaming?)',
    "--lstm-cases=nowhere.json": "nowhere.json does not exist",
    "--lstm-budget=0": "'0' is not a time; write 90s",
    "--lstm-threads=0": "'0' is not a whole number from 1 to 4096",
    "--lstm-seed=-1": "'-1' is not a whole number",
    "--lstm-precision=0%": "'0%' is not a percentage from 0 to 100",
    "--lstm-backends=,": "expected at least one name",
    "--lstm-memory=some": "invalid choice: 'some'",
    "--lstm-case-limit=0": "'0' is not a time",
}

# One process for all wrong options: starting pytest takes long.
EACH = """\
import contextlib, io, json, sys
import pytest
given, messages = sys.argv[2:], {}
for wrong in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = int(pytest.main([*given, wrong]))
    messages[wrong] = code, out.getvalue()
print(json.dumps(messages))
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Return the output and exit code for each wrong option."""
    project = Project(tmp_path_factory.mktemp("refused"))
    done = project.python("-c", EACH, json.dumps(list(WRONG)), *WITHOUT, *project.suited)
    assert done.code == 0, done.out
    assert not done.folder.exists()
    messages: dict[str, tuple[int, str]] = json.loads(done.out)
    return messages


@pytest.mark.parametrize("wrong", WRONG)
def test_option_wrong_value_is_a_usage_error(
    wrong: str, refused: dict[str, tuple[int, str]]
) -> None:
    code, output = refused[wrong]
    assert code == 4
    assert WRONG[wrong] in " ".join(output.split())
    assert "Traceback" not in output


def test_option_path_after_a_space_is_refused(project: Project) -> None:
    done = project.run("--benchmark-only", "--lstm-suite", str(project.suite))
    assert done.code == 4
    assert f"write --lstm-suite={project.suite} with =:" in done.out


def test_clone_with_another_installed_suite_is_refused(project: Project) -> None:
    clone = project.folder / "clone"
    clone.mkdir()
    (clone / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    done = project.start(where=clone)
    assert done.code == 4
    assert f"ERROR: pytest has loaded the suite that is installed in {ROOT / 'bench'}" in done.out
    assert "pip install -e ." in done.out


def test_xdist_with_benchmark_only_is_refused(project: Project) -> None:
    (project.packages / "fake_xdist.py").write_text(
        "def pytest_addoption(parser):\n"
        "    parser.addoption('--numprocesses', type=int)\n"
        "    parser.addoption('--dist', default='no')\n"
    )
    for option in ("--numprocesses=2", "--dist=load"):
        done = project.measure("-p", "no:xdist", "-p", "fake_xdist", option)
        assert done.code == 4
        assert "--benchmark-only cannot be combined with -n or --dist" in done.out
    assert project.measure("-p", "no:xdist", "-p", "fake_xdist", "--collect-only").code == 0


def test_threads_option_is_set_before_numpy_starts(project: Project) -> None:
    (project.packages / "watch.py").write_text(
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy':\n"
        "            print('numpy sees', os.environ.get('OPENBLAS_NUM_THREADS'))\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    given = ("-p", "watch", "--lstm-threads=1", "-s", "-kt3-i1")
    done = project.start(*project.suited, *given, environ=quick_pytest.USED)
    assert done.code == 0, done.out
    assert "numpy sees 1" in done.out
    before = done.data["lstm"]["run"]["environment"]["before"]
    assert before["threads"]["requested"] == 1
    assert before["variables"]["TF_NUM_INTRAOP_THREADS"] == "1"


STREAM = """
[[groups]]
modes = ["streaming"]
shapes = [{ batch = 1, input_size = 1, hidden_size = 2 }]
"""


def test_file_named_without_benchmark_only_measures_streams(project: Project) -> None:
    project.suite.write_text(project.suite.read_text() + STREAM)
    paced = ("--lstm-period=back-to-back,1ms", "--lstm-deadline=1us", "--lstm-budget=0.1")
    done = project.run("bench/bench_cases.py", "-kstreaming", *project.into, *paced)
    assert done.code == 0, done.out
    case = "numpy/b1-t1-i1-h2{}/float32/streaming/cpu"
    assert [each["fullname"] for each in done.data["benchmarks"]] == [
        f"bench/bench_cases.py::test_case[{case.format(period)}]" for period in ("", "-p1ms")
    ]
    for each in done.file.measurements:
        assert each.streaming is not None
        assert each.streaming.calls == each.calls * len(each.samples)
        # No call of NumPy's loop takes less than a microsecond.
        assert each.streaming.missed == each.streaming.calls


# -- outside a clone


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of an installation without a clone."""
    site = tmp_path_factory.mktemp("site")
    for package in ("bench", "lstm_impl"):
        shutil.copytree(ROOT / package, site / package)  # with compiled Python files
    shutil.copy(ROOT / "tests" / "quick_pytest.py", site)
    info = site / "lstm_benchmark_suite-1.dist-info"
    info.mkdir()
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: lstm-benchmark-suite\nVersion: 1\n"
    )
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {what}\n" for name, what in each.items())
            for group, each in points.items()
        )
    )
    # The entry point loads the suite's plugin.
    return {"PYTHONPATH": str(site), "PYTEST_PLUGINS": "quick_pytest"}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a folder outside the project."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def test_installed_suite_is_measured_from_any_folder(
    project: Project, installed: dict[str, str], elsewhere: Path
) -> None:
    words = (*project.suited, "--pyargs", "bench.bench_cases", "-kt3-i1")
    done = project.start(*words, where=elsewhere, environ=installed)
    assert done.code == 0, done.out
    assert [each.case.id for each in done.file.measurements] == [IDS[0]]


def test_other_project_is_not_changed(
    project: Project, installed: dict[str, str], elsewhere: Path
) -> None:
    """Its benchmarks run as usual, and nothing is added to its output."""
    (elsewhere / "tests").mkdir()
    (elsewhere / "tests" / "test_own.py").write_text(
        "def test_own(benchmark):\n    benchmark(lambda: None)\n"
    )
    (elsewhere / "bench_own.py").write_text("def test_never():\n    assert False\n")
    words = ("--benchmark-only", "--benchmark-max-time=0.01")
    own = {"PYTHONPATH": installed["PYTHONPATH"]}
    done = project.start(*words, where=elsewhere, environ=own)
    assert done.code == 0, done.out
    assert "1 passed" in done.out
    assert not re.search("LSTM|lstm:", done.out)
    assert not (elsewhere / "results").exists()


def test_plugin_without_measuring_imports_no_numpy(project: Project) -> None:
    other = project.folder / "other"
    other.mkdir()
    (other / "test_own.py").write_text(
        "import sys\n\ndef test_own():\n    assert 'bench.plugin' in sys.modules\n"
        "    assert not {'numpy', 'bench.case.cases', 'lstm_impl'} & set(sys.modules)\n"
    )
    done = project.start("-p", "bench.plugin", where=other)
    assert done.code == 0, done.out
