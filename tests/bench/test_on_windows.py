"""Test that results are read, and nothing measured, without the names that Windows lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.outside import outside
from tests.places import ROOT

REFERENCE = ROOT / "results/reference"

UNIX = """
import contextlib, importlib, os, signal, sys
import multiprocessing.connection, pandas, psutil, pytest, scipy.stats, rich.console, subprocess
import platformdirs, tempfile, socket, importlib.metadata, jinja2, logging, threadpoolctl
for module, names in (
    (signal, "SIGHUP SIGKILL SIGALRM SIGUSR1 SIGUSR2 SIGCHLD setitimer getitimer ITIMER_REAL"),
    (os, "fchmod getuid geteuid killpg getpgid setsid fork pread pwrite statvfs uname sysconf"),
    (os, "O_CLOEXEC O_NOFOLLOW O_NONBLOCK O_NOCTTY sched_getaffinity register_at_fork getloadavg"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None

def opened(path, flags, *rest, open=os.open):
    # without it Windows changes the ends of lines
    assert flags & os.O_BINARY or os.path.isdir(path) or "page.html" not in os.fspath(path)
    return open(path, flags & ~os.O_BINARY, *rest)

os.O_BINARY, os.open = 1 << 30, opened
for words in sys.argv[1:]:
    name, *rest = words.split("|")
    try:
        code = importlib.import_module(f"bench.{name}").main(rest)
    except SystemExit as end:
        code = end.code
    print(f"exit code {code} of {name}", flush=True)
"""


def run_without_unix(folder: Path, *commands: str) -> str:
    """Return what these commands print in a process without the names that Windows lacks."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", UNIX, *commands],
        cwd=folder,
        env=outside(folder, PYTHONPATH=str(ROOT), COLUMNS="100"),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_results_are_read_without_unix(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    page = tmp_path / "page.html"
    shape = "--batch|32|--steps|100|--hidden|256|--mode|training|--brief"
    files = "|".join(map(str, sorted(REFERENCE.glob("mine-*"))))
    first = next(iter(sorted(REFERENCE.glob("fused-*"))))
    shared = tmp_path / "shared"
    said = run_without_unix(
        tmp_path,
        f"report|{files}",
        f"report|{files}|--format|html|--output|{page}",
        f"compare|backends|{files}",
        f"ask|{files}|{shape}",
        f"history|{files}",
        f"recommend|{files}|--dependency|20|--batch|32|--hidden|256",
        f"submit|{first}|--to|{shared}",
        f"submit|--check|{shared}",
    )
    assert "Traceback" not in said
    codes = [line for line in said.splitlines() if line.startswith("exit code")]
    commands = ["report", "report", "compare", "ask", "history", "recommend", "submit", "submit"]
    assert codes == [f"exit code 0 of {name}" for name in commands], said
    assert "Use fused_cpu, 45.2 ms per training step" in said
    assert f"{first.name}: file\nexit code 0 of submit\n" in said
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_nothing_is_measured_without_unix(tmp_path: Path) -> None:
    shape = "ask|--batch|2|--steps|3|--hidden|4|--again"
    said = run_without_unix(tmp_path, "run|smoke", shape, "run|--list")
    refused = (
        "error: measuring needs Linux or macOS (on Windows, use WSL2); reading results does not"
    )
    assert said.splitlines().count(refused) == 2
    codes = [line for line in said.splitlines() if line.startswith("exit code")]
    assert codes == ["exit code 2 of run", "exit code 2 of ask", "exit code 0 of run"]
    assert not list(tmp_path.rglob("*.json*"))
