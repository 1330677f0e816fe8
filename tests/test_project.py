"""Test what the project's documents promise: commands exist, examples run, installs work."""

import argparse
import configparser
import importlib.metadata
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import case as suites
from bench import compare, plugin, records, run
from bench.__main__ import COMMANDS as ANSWERS
from bench.cli.filters import parse_rule
from bench.machine import packages as two_environments
from bench.render.messages import reason_line
from bench.worker.equivalence import gate
from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend, list_backends
from lstm_impl.backends.fused_cpu.library import KernelBackend
from lstm_impl.names import ENTRY_POINT_GROUP
from tests import quick_pytest
from tests.bench import other_package
from tests.loaded import FRAMEWORKS
from tests.outside import outside

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = (ROOT / "docs/install.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci/run").read_text(encoding="utf-8")
TOX = (ROOT / "tox.ini").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        *sorted(ROOT.glob("*.md")),
        *sorted(ROOT.glob("docs/**/*.md")),
        *sorted(ROOT.glob("results/*.md")),
    )
}
WORKFLOWS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}
HISTORY = "CHANGELOG.md"
"""It may name removed commands and files."""

COMMANDS = {
    **{name: text for name, text in DOCUMENTS.items() if name != HISTORY},
    **WORKFLOWS,
    "tox.ini": TOX,
    "Dockerfile": DOCKERFILE.replace('", "', " "),
}
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in ("lstm_impl", "bench", ".ci")
    for path in sorted((ROOT / folder).rglob("*.py"))
}

FRESH = "python3 -m venv .venv && .venv/bin/pip install -q tox && "


def named(pattern: str, texts: dict[str, str]) -> list[str]:
    """Return the distinct texts that the group of a pattern matches in the given texts."""
    return sorted({found for text in texts.values() for found in re.findall(pattern, text)})


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a Markdown text in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def shell_lines(text: str) -> list[str]:
    return [line for block in blocks(text, "sh") for line in block.splitlines()]


# -- the commands for a fresh machine


def test_ci_runs_the_test_command_of_the_readme() -> None:
    line = f"{FRESH}.venv/bin/tox -q -e tests"
    assert line in shell_lines(README)
    assert f"tests='{line}'" in CI.splitlines()


def test_readme_measures_and_reports_in_one_line() -> None:
    assert f"{FRESH}.venv/bin/tox -q -e bench" in shell_lines(README)
    commands = tox()["testenv:bench"]["commands"].replace("{posargs}", "").strip().split("\n")
    measure, report = (parse_command(line) for line in commands)
    assert measure.named in suites.available()
    assert report.brief


@pytest.mark.parametrize("name", ["run", "wheels", "try_wheels"])
def test_ci_script_is_an_executable_shell_script(name: str) -> None:
    assert os.access(ROOT / ".ci" / name, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / name)], check=True)


def test_ci_builds_and_tries_the_wheels_next_to_each_framework() -> None:
    (words,) = re.findall(r"run: \.ci/wheels (.*)", WORKFLOWS[".github/workflows/checks.yml"])
    script = (ROOT / ".ci/try_wheels").read_text(encoding="utf-8")
    added = dict(re.findall(r"(\w+)\*\) backends\+=\((\w+)\)", script))
    folder, *frameworks = words.split()
    assert folder == "dist"
    bound = [each for each in list_backends() if isinstance(get_backend(each), KernelBackend)]
    tried = {added[name.partition("-")[0]] for name in frameworks}
    assert {"numpy_fused", *tried} == set(bound)


@pytest.mark.parametrize(
    ("tests", "code", "last"),
    [
        ("echo '===== 3 passed in 1.00s ====='; echo '  tests: OK'", 0, "3 passed"),
        ("echo '==== 1 failed, 2 passed in 1.00s ===='; exit 1", 1, "1 failed, 2 passed"),
        ("false && echo '===== 3 passed in 1.00s ====='", 1, "pytest said nothing"),
    ],
)
def test_ci_script_fails_with_the_tests_and_prints_their_last_line(
    tests: str, code: int, last: str, tmp_path: Path
) -> None:
    """Run the script with quick commands instead of those that take minutes."""
    lines = []
    for line in CI.splitlines():
        if line.startswith(("python3 -m venv", ".venv/bin/", ".ci/install_")):
            continue
        lines.append(f"tests={shlex.quote(tests)}" if line.startswith("tests=") else line)
    (tmp_path / ".ci").mkdir()
    place = tmp_path / ".ci/run"
    place.write_text("\n".join(lines) + "\n")
    done = subprocess.run(["bash", str(place)], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert last in done.stdout.splitlines()[-1]


def tox() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(TOX)
    return parser


@pytest.mark.parametrize("name", named(r"tox(?: -q)? -e ([a-z,]+)", {**COMMANDS, ".ci/run": CI}))
def test_tox_environments_named_in_documents_exist(name: str) -> None:
    for each in name.split(","):
        assert f"testenv:{each}" in tox()


def test_tox_environments_are_in_the_contributing_guide() -> None:
    known = {name.partition(":")[2] for name in tox().sections() if name.startswith("testenv:")}
    assert known == set(re.findall(r"`tox -e ([a-z]+)`", CONTRIBUTING))


def test_tox_extras_exist() -> None:
    for name in tox().sections():
        for extra in tox()[name].get("extras", "").replace(",", " ").split():
            assert extra in PROJECT["optional-dependencies"], name


# -- the workflows


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_has_read_permission_and_a_time_limit(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load(WORKFLOWS[name])
    assert found["permissions"] == {"contents": "read"}
    assert found["jobs"]
    for job in found["jobs"].values():
        assert job["timeout-minutes"] > 0
        # A branch of an action can be moved by others; a version is required.
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.search(r"@v\d", each) for each in used)


def test_gpu_workflow_runs_by_label_and_attests_what_it_uploads() -> None:
    yaml = pytest.importorskip("yaml")
    text = WORKFLOWS[".github/workflows/gpu.yml"]
    found = yaml.safe_load(text)
    assert found[True] == {"pull_request": {"types": ["labeled"]}, "workflow_dispatch": None}
    job = found["jobs"]["gpu"]
    assert "github.event.label.name == 'gpu'" in job["if"]
    assert set(job["permissions"]) == {"contents", "id-token", "attestations"}
    steps = {each.get("uses", each.get("run")): each.get("with") for each in job["steps"]}
    attested = steps["actions/attest-build-provenance@v3"]["subject-path"]
    assert steps["actions/upload-artifact@v6"]["path"] == attested


def test_nightly_comparison_command_is_valid() -> None:
    """It runs the same suite in both environments, with as many processes as the rule needs."""
    text = WORKFLOWS[".github/workflows/upstream.yml"]
    (line,) = re.findall(r"run: (\S+python -m bench\.run .*)", text)
    python, _, _, *words = shlex.split(line)
    options = run._parser().parse_args(words)
    assert options.python == ["../release", "../nightly"]
    assert python == "../release/bin/python"
    assert options.processes >= two_environments.PROCESSES
    suite = suites.load(options.suite, suites.SuiteChoice(options.backends, options.device, None))
    assert {case.device for case in suite.cases} == {"cpu"}
    assert {"keras", "while_loop+hoisted"} <= {case.backend for case in suite.cases}
    (line,) = re.findall(r"run: \S+python -m bench\.compare (.*)", text)
    compared = compare._parser().parse_args(shlex.split(line))
    assert compared.paths == [options.results]
    assert parse_rule(compared.fail_on).threshold
    assert f"path: {options.results}\n" in text


# -- the commands in the documents


@pytest.mark.parametrize("module", named(r"python3? -m (bench\.\w+)", COMMANDS))
def test_commands_named_in_documents_exist(module: str) -> None:
    """tests/bench/test_starting.py runs the listed ones with --help.

    A worker process is a module that runs, and no command of the list.
    """
    name = module.partition(".")[2]
    listed = {name for each in ANSWERS.values() for name in each}
    assert name in listed or importlib.util.find_spec(f"{module}.__main__") is not None


def parse_command(line: str) -> argparse.Namespace:
    """Parse a line ``python -m bench.NAME ...``. Raises SystemExit if the command refuses it."""
    _, _, module, *words = shlex.split(line, comments=True)
    return importlib.import_module(module)._parser().parse_args(words)  # type: ignore[no-any-return]


DOCUMENTED_COMMANDS = sorted(
    {
        line.strip()
        for name, text in DOCUMENTS.items()
        for line in (shell_lines(text) if name != HISTORY else ())
        if re.match(r"python -m bench\.(?!echo)\w", line.strip())
    }
)
"""Of the examples in shell blocks; ``bench.echo`` is a package with a command below it."""


@pytest.mark.parametrize("line", DOCUMENTED_COMMANDS)
def test_examples_in_documents_have_options_that_their_commands_know(line: str) -> None:
    parse_command(line)


def test_pytest_options_named_in_documents_exist() -> None:
    known: set[str] = set()

    class Group:
        def addoption(self, name: str, **rest: Any) -> None:
            known.add(name)

    class Parser:
        def getgroup(self, *rest: str) -> Group:
            return Group()

    plugin.pytest_addoption(Parser())  # type: ignore[arg-type]
    used = named(r"(--lstm-[a-z-]+[a-z])", {**COMMANDS, **SOURCES})
    assert used
    assert not set(used) - known


@pytest.mark.parametrize(
    "extras",
    named(
        r"""(?:-e|install(?: -q)?) ["']?\.\[([a-z,]+)\]|"""
        r"lstm-(?:benchmark-suite|impl)\[([a-z]+)\]",
        {**COMMANDS, **SOURCES},
    ),
    ids=str,
)
def test_extras_named_in_documents_exist(extras: tuple[str, str]) -> None:
    for extra in "".join(extras).split(","):
        assert extra in PROJECT["optional-dependencies"]


def test_table_of_extras_is_complete() -> None:
    rows = re.findall(r"^\| (`[a-z]+`(?:, `[a-z]+`)*) \|", INSTALL, re.MULTILINE)
    table = {name for row in rows for name in re.findall(r"[a-z]+", row)}
    # Users need no extras of the checks.
    assert set(PROJECT["optional-dependencies"]) - {"test", "types"} <= table


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_of_documents_exist(document: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", DOCUMENTS[document]):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert ((ROOT / document).parent / target).exists(), target


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub and the site give to a document's headings."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    titles = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each).lower() for each in headings]
    return {re.sub(r"[^\w\- ]", "", each).replace(" ", "-") for each in titles}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_to_headings_of_documents_exist(document: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", DOCUMENTS[document]):
        path = (ROOT / document).parent / target if target else ROOT / document
        if path.suffix == ".md":
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{target}#{anchor}"


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != HISTORY])
def test_files_named_in_documents_exist(document: str) -> None:
    for name in re.findall(r"`((?:lstm_impl|bench|tests|docs)/[\w./-]+)`", DOCUMENTS[document]):
        assert (ROOT / name).exists() or "NAME" in name, name


def test_changelog_has_an_unreleased_part_and_dated_releases() -> None:
    headings = re.findall(r"^## (.*)$", DOCUMENTS["CHANGELOG.md"], re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(PROJECT['version'])} \(\d{{4}}-\d\d-\d\d\)", headings[1])


# -- what is installed


def test_core_dependencies_have_no_framework() -> None:
    needed = importlib.metadata.requires(PROJECT["name"]) or []
    names = [re.split(r"[^\w.-]", each)[0].lower() for each in needed if "extra ==" not in each]
    assert len(names) > 4
    assert not {name.replace("-", "_") for name in names} & set(FRAMEWORKS)


def test_entry_point_of_the_plugin_is_its_module() -> None:
    points = PROJECT["entry-points"]["pytest11"]
    assert points == {"bench.plugin": "bench.plugin"}
    assert importlib.util.find_spec("bench.plugin") is not None


@pytest.mark.parametrize(
    ("here", "extra"), [(["cpu"], "cpu"), (["cpu", "gpu:0"], "gpu"), (["gpu:3"], "gpu")]
)
def test_ci_installs_tensorflow_for_the_devices(here: list[str], extra: str) -> None:
    script = load(ROOT / ".ci/install_tensorflow.py")
    assert script.extra(here) == extra
    assert script.command(extra)[-1] == f"{PROJECT['name']}[{extra}]"
    assert extra in script.SIZES
    assert extra in PROJECT["optional-dependencies"]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the image


def test_image_is_based_on_tensorflow_gpu_and_runs_the_proof() -> None:
    lines = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
    words = [line.split(maxsplit=1) for line in lines]
    assert ["FROM", "tensorflow/tensorflow:${TAG}"] in words
    assert re.search(r"^ARG TAG=[\w.]*-gpu$|^ARG TAG=latest-gpu$", DOCKERFILE, re.MULTILINE)
    assert words[-1] == ["ENTRYPOINT", '["python3", "-m", "bench.gpu_proof"]']


def test_image_runs_as_an_unprivileged_user() -> None:
    words = [line.split() for line in DOCKERFILE.splitlines()]
    (user,) = [line[1] for line in words if line[:1] == ["USER"]]
    assert user not in ("root", "0")
    assert words.index(["USER", user]) > max(
        index for index, line in enumerate(words) if line[:1] in (["RUN"], ["COPY"])
    )
    assert f"useradd --create-home {user}" in DOCKERFILE


def test_image_has_the_files_that_installing_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    needed = [
        "pyproject.toml",
        "setup.py",
        "README.md",
        *PROJECT["license-files"],
        "lstm_impl",
        "bench",
    ]
    assert ["COPY", ".", "."] in [line.split() for line in DOCKERFILE.splitlines()]
    for name in (*needed, "tests", "conftest.py"):
        assert (ROOT / name).exists()
        assert name not in ignored


# -- the examples of the contributing guide


def first_block(text: str, language: str, word: str) -> str:
    return next(block for block in blocks(text, language) if word in block)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the package of the example, installed as pip would."""
    entry = tomllib.loads(first_block(CONTRIBUTING, "toml", "entry-points"))
    (group, points), *_ = entry["project"]["entry-points"].items()
    assert group == ENTRY_POINT_GROUP
    source = first_block(CONTRIBUTING, "python", "NumPySingle")
    classes = {name: place.removeprefix("numpy_single:") for name, place in points.items()}
    other_package.install(tmp_path, "numpy_single", source, classes)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "numpy_single", raising=False)
    importlib.invalidate_caches()
    return tmp_path


def test_example_backend_is_found_and_passes_the_gate(example: Path) -> None:
    assert "numpy_single" in list_backends()
    backend = get_backend("numpy_single")
    spec = LSTMSpec(input_size=3, hidden_size=7)
    weights = LSTMWeights.random(spec, seed=1)
    for batch_major in (False, True):
        model = backend.build(spec, weights, batch_major=batch_major)
        result = gate(model, Workload(4, 9, "inference", batch_major=batch_major))
        assert result.passed, result.describe()


def test_example_backend_is_measured_by_the_guides_command(example: Path) -> None:
    """It uses the guide's own command; a refusal is recorded with its reason."""
    line = next(line for line in shell_lines(CONTRIBUTING) if "numpy_single" in line)
    program, *arguments = shlex.split(line)
    assert program == "pytest"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments),
            f"--lstm-results={example / 'results'}",
            "--lstm-budget=0.05",  # of each case: its times mean nothing here
        ],
        cwd=ROOT,
        env=outside(example, LSTM_LOCK=str(example / "lock"), **quick_pytest.USED),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    found = records.collect([example / "results"])
    measured = {(each.case.backend, each.case.workload.mode) for each in found.measurements}
    assert measured == {
        *(("numpy", "inference"), ("numpy", "training"), ("numpy_single", "inference"))
    }
    assert {(each.outcome, reason_line(each.reason)) for each in found.outcomes} == {
        ("refused", "it computes no gradients")
    }
