"""Test that commands and modules load no framework before it is needed.

TensorFlow takes six seconds to import, and may not be installed where results are read.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.__main__ import COMMANDS
from tests.bench.made_texts import Store, write_store
from tests.loaded import FRAMEWORKS, SLOW, list_loaded
from tests.places import ROOT

# -- help

NAMES = ["bench", *(f"bench.{name}" for answers in COMMANDS.values() for name in answers)]
PARTS = [f"bench.compare {part}" for part in ("runs", "devices", "backends", "published")]
NO_VERDICT = ("bench",)
"""Commands whose exit codes have no meaning of their own."""

_HELP = """\
import contextlib, io, json, runpy, sys
found = {}
for words in json.loads(sys.argv[1]):
    sys.argv[:] = [*words.split(), "--help"]
    out, err, code = io.StringIO(), io.StringIO(), "went on"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
    found[words] = [code, out.getvalue(), err.getvalue()]
print(json.dumps([found, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def help_and_loaded() -> tuple[dict[str, tuple[int, str, str]], set[str]]:
    """Code, output and errors of each command's ``--help``, and the modules loaded for all."""
    done = subprocess.run(
        [sys.executable, "-c", _HELP, json.dumps([*NAMES, *PARTS])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    found, modules = json.loads(done.stdout)
    return found, set(modules)


@pytest.mark.parametrize("name", [*NAMES, *PARTS])
def test_help_of_each_command_has_usage_and_exit_codes(
    name: str, help_and_loaded: tuple[dict[str, tuple[int, str, str]], set[str]]
) -> None:
    code, out, err = help_and_loaded[0][name]
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: python -m {name} ")
    assert ("exit codes:" in out) is (name not in NO_VERDICT)


def test_help_loads_no_framework_or_slow_module(
    help_and_loaded: tuple[dict[str, tuple[int, str, str]], set[str]],
) -> None:
    assert {"bench.echo.task", "numpy"} <= help_and_loaded[1]
    assert sorted(help_and_loaded[1] & {*FRAMEWORKS, *SLOW, "pytest"}) == []


# -- what is loaded


OF_FRAMEWORKS = (
    *("fused_layer", "fallback", "flax_layer", "flax_weights", "linen_layer"),
    *("batch_shards", "linear_call", "flax_sequence", "torch", "jax"),
)
"""Modules of ``lstm_impl`` that are a framework's layers, or name them for its users."""


def _modules() -> Iterator[str]:
    """Yield all modules but Keras's and PyTorch's layers and ``OF_FRAMEWORKS``, which import
    theirs."""
    for folder in ("lstm_impl", "bench"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            layers = parts[:2] in {("lstm_impl", "keras"), ("lstm_impl", "torch")}
            if not layers and parts[-1] not in OF_FRAMEWORKS:
                yield ".".join(parts)


def test_importing_modules_loads_no_framework_or_slow_module() -> None:
    names = list(_modules())
    assert len(names) > 150
    loaded = list_loaded(f"import importlib\nfor name in {names!r}: importlib.import_module(name)")
    assert set(names) <= loaded
    assert sorted(loaded & {*FRAMEWORKS, *SLOW}) == []


@pytest.mark.parametrize(
    ("program", "more"),
    [
        ("import bench.records", ["scipy", "pytest", "rich"]),
        ("from bench.machine import devices; devices.list_devices()", ["numpy"]),
        ("from bench.machine import environment; environment.read()", ["pytest", "rich"]),
    ],
)
def test_reading_results_or_the_machine_loads_no_framework(program: str, more: list[str]) -> None:
    loaded = list_loaded(program)
    assert "bench" in loaded
    assert sorted(loaded & {*FRAMEWORKS, *SLOW, *more}) == []


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("store"), lambda document: document)


def _answers(store: Store) -> Iterator[tuple[str, list[object]]]:
    for form in ("terminal", "markdown", "csv", "json", "html", "svg"):
        yield "report", [store.old, store.windows, "--format", form]
    for form in ("terminal", "markdown", "csv", "json"):
        yield "compare", ["runs", store.old, store.new, "--format", form]
        yield "report", [store.windows, store.learning, "--along", "window", "--format", form]
    for form in ("terminal", "markdown", "csv"):
        yield "history", [store.old, store.new, "--format", form]
    yield "echo.__main__", ["windows", "--show", store.learning]
    request = ["--dependency", 3, "--batch", 64, "--hidden", 256]
    yield "recommend", [*request, store.windows, store.learning]


def test_answers_as_text_load_no_framework_or_slow_module(store: Store) -> None:
    commands = [(name, [str(each) for each in words]) for name, words in _answers(store)]
    program = (
        "import contextlib, importlib, io\n"
        f"for name, words in {commands!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "        code = importlib.import_module('bench.' + name).main(words)\n"
        "    assert code == 0 and out.getvalue(), (name, words)"
    )
    loaded = list_loaded(program)
    assert {f"bench.{name}" for name, _ in commands} <= loaded
    assert sorted(loaded & {*FRAMEWORKS, *SLOW, "pytest"}) == []
