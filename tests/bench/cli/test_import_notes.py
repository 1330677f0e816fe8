"""On a package of the name ``tensorflow`` that writes as TensorFlow's library does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.import_notes import LEVEL

ABSL = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
REMARK = "I0000 00:00:1764150000.123456    1234 port.cc:153] oneDNN custom operations are on.\n"
WARNING = "2026-11-26 09:00:00.123456: W external/xla/stream.cc:467] Unable to register\n"
FAULT = "2026-11-26 09:00:00.123456: E external/xla/stream.cc:467] Could not find\n"
LOOSE = "RuntimeWarning: I0000 is a name\n"
ALL = ABSL + REMARK + WARNING + FAULT + LOOSE

PROGRAM = """\
import os, sys
from bench.cli.import_notes import hold_back
hold_back()
hold_back()
print("before", file=sys.stderr)
try:
    import tensorflow
except ImportError as error:
    print("not loaded:", error, file=sys.stderr)
else:
    assert tensorflow.__spec__.loader.get_data(tensorflow.__file__)
    assert not [each for each in sys.meta_path if type(each).__name__ == "_Finder"]
os.write(2, b"I0000 00:00:1.5  1 port.cc:1] after\\n")
"""
AFTER = "I0000 00:00:1.5  1 port.cc:1] after\n"


def loaded(
    tmp_path: Path, last: str = "", level: str | None = "2", more: str = ""
) -> tuple[int, str]:
    """Exit code and errors of a program that loads the package, whose ``last`` line is that."""
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text(f"import os, sys\nos.write(2, {ALL.encode()!r})\n{last}\n")
    environ = {key: value for key, value in os.environ.items() if key != LEVEL}
    environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", more + PROGRAM],
        capture_output=True,
        text=True,
        timeout=300,
        env=environ | ({} if level is None else {LEVEL: level}),
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        (None, ALL),
        ("0", ALL),
        ("loud", ALL),
        ("1", WARNING + FAULT + LOOSE),
        ("2", FAULT + LOOSE),
        ("3", LOOSE),
        ("9", LOOSE),
    ],
)
def test_the_level_holds_while_the_library_is_loaded(
    tmp_path: Path, level: str | None, seen: str
) -> None:
    assert loaded(tmp_path, level=level) == (0, "before\n" + seen + AFTER)


def test_lines_are_held_back_after_a_look_whether_tensorflow_is_installed(tmp_path: Path) -> None:
    look = (
        "import importlib.util, os\nfrom bench.cli.import_notes import hold_back\nhold_back()\n"
        "assert importlib.util.find_spec('tensorflow') is not None\n"
        "import tensorflow\nos._exit(0)\n"
    )
    assert loaded(tmp_path, more=look) == (0, FAULT + LOOSE)


def test_the_last_words_of_an_import_that_dies_arrive(tmp_path: Path) -> None:
    code, errors = loaded(tmp_path, "os.write(2, b'F0000 illegal instruction\\n'); os.abort()")
    assert code == -6
    # Nobody waits for the filter of a process that died; here the pipe's end is waited for.
    assert errors == f"before\n{FAULT}{LOOSE}F0000 illegal instruction\n"


def test_an_import_that_fails_gives_standard_error_back(tmp_path: Path) -> None:
    code, errors = loaded(tmp_path, "raise ImportError('no such symbol')")
    assert (code, errors) == (0, f"before\n{FAULT}{LOOSE}not loaded: no such symbol\n{AFTER}")
