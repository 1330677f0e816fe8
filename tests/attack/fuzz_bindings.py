"""Fuzz every binding of the kernels with arrays and files, under the address sanitizer.

Run ``python tests/attack/fuzz_bindings.py --seconds 3600 --seed 1``. The script compiles liblstm
and its bindings with ``-fsanitize=address,undefined`` into a folder of their own, and calls each
target in child processes, where a crash ends nothing else. Each trial must end with the right
result or with an ordinary exception. At the end the script prints how the trials of each target
ended, and exits with 1 after a crash, a report of a sanitizer, a wrong result or a trial that does
not end.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]

TARGETS = {
    "c_interface": ("tests.attack.fuzz_arrays", "", "c_interface"),
    "tensorflow": ("tests.attack.fuzz_arrays", "tensorflow", "tensorflow_ops"),
    "jax": ("tests.attack.fuzz_arrays", "jax", "jax_targets"),
    "graph_optimizer": ("tests.attack.fuzz_graphs", "tensorflow", "run_marked_graphs"),
    "torch": ("tests.attack.fuzz_torch", "torch", "fuzz"),
}
"""By name the module, the package that it needs, and the function that makes or runs trials."""

SECONDS_OF_CHILD = 120.0
"""A new process after this time: TensorFlow and JAX keep some memory for each shape."""

PATIENCE = 180.0
"""Seconds that a child may go on after its time. The slowest trial takes a few."""

MOST_PROBLEMS = 20
"""A target with this number of problems is broken, and gets no more time."""

MOST_SHOWN = 4_000
"""Characters of what a crashed process has written."""

Rng = np.random.Generator
Trial = Callable[[Rng, Callable[[str], None]], str]
"""Make one attempt and return how it ended. The second argument notes what is tried next."""


class WrongResultError(Exception):
    """A binding returned another result than the right one."""


# -- the child


def run_child(
    target: str, seed: int, first: int, seconds: float, folder: Path, only: bool = False
) -> int:
    """Run trials of a target until the time is over, and keep their counts in ``folder``.

    only: run the first trial alone.
    """
    module, _, name = TARGETS[target]
    made = getattr(importlib.import_module(module), name)
    counts: Counter[str] = Counter()
    if name == "fuzz":  # it runs its own trials
        rng = np.random.default_rng([seed, zlib.crc32(target.encode()), first])
        (folder / "last.txt").write_text(f"child {first}", "utf-8")
        counts.update(made(rng, time.monotonic() + seconds))
        _write_counts(folder, counts, first + 1)
        return 0
    trial: Trial = made()
    deadline = time.monotonic() + seconds  # a sanitized framework takes half a minute to load
    number, written = first, 0.0
    with (folder / "last.txt").open("w", encoding="utf-8") as last:

        def note(words: str) -> None:
            # What stands here when the process dies is what killed it.
            last.seek(0)
            last.truncate()
            last.write(f"trial {number}: {words}")
            last.flush()

        while time.monotonic() < deadline:
            note("it begins")
            rng = np.random.default_rng([seed, zlib.crc32(target.encode()), number])
            try:
                counts[trial(rng, note)] += 1
            except Exception:
                last.seek(0)
                with (folder / "wrong.txt").open("a", encoding="utf-8") as wrong:
                    wrong.write(f"{Path(last.name).read_text('utf-8')}\n{traceback.format_exc()}\n")
                counts["wrong"] += 1
            number += 1
            if time.monotonic() > written + 1:
                written = time.monotonic()
                _write_counts(folder, counts, number)
            if only:
                break
    _write_counts(folder, counts, number)
    return 0


def _write_counts(folder: Path, counts: Mapping[str, int], number: int) -> None:
    new = folder / "counts.new"
    new.write_text(json.dumps({"next": number, "counts": dict(counts)}), "utf-8")
    new.replace(folder / "counts.json")


# -- the parent


@dataclass
class Found:
    """What the children of one target found."""

    trials: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    next: int = 0


def compiler(folder: Path) -> Path:
    """Write a compiler that adds the sanitizers, and return its path.

    Headers of TensorFlow lay out some classes differently where the compiler says that it
    sanitizes addresses, but the installed TensorFlow was compiled without. Its binding must not
    see this macro. The other sanitizer would need more of these classes.
    """
    path = folder / "g++-sanitized"
    path.write_text(
        "#!/bin/sh\n"
        'case " $* " in\n'
        '*tensorflow*) exec g++ "$@" -O1 -g -fsanitize=address -U__SANITIZE_ADDRESS__ ;;\n'
        '*) exec g++ "$@" -O1 -g -fsanitize=address,undefined -fno-sanitize=vptr '
        "-fno-sanitize-recover=undefined ;;\n"
        "esac\n",
        "ascii",
    )
    path.chmod(0o755)
    return path


def environment(folder: Path) -> dict[str, str]:
    """Return the variables with which a process loads the sanitized libraries."""
    libraries = [_library(name) for name in ("libasan.so", "libubsan.so")]
    options = {
        "detect_leaks": "0",  # of Python and the frameworks
        "detect_odr_violation": "0",  # the bindings share inline functions with their frameworks
        "detect_container_overflow": "0",  # containers of frameworks that are not sanitized
        "alloc_dealloc_mismatch": "0",  # as above
        "allocator_may_return_null": "1",
        "max_allocation_size_mb": "4096",
        "quarantine_size_mb": "64",
        "handle_segv": "1",
        "abort_on_error": "0",
        "exitcode": "99",
    }
    return {
        **os.environ,
        "CXX": str(compiler(folder)),
        "LSTM_NATIVE_CACHE": str(folder / "native"),
        "LSTM_NATIVE_PREBUILT": "",
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": ":".join(f"{name}={value}" for name, value in options.items()),
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # arrays lie between red zones then
        "PYTHONFAULTHANDLER": "",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_NUM_INTRAOP_THREADS": "2",
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def _library(name: str) -> str:
    path = subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip()
    if not Path(path).is_absolute():
        raise SystemExit(f"fuzz_bindings: this g++ has no {name}; install its sanitizers")
    return path


def build(variables: Mapping[str, str]) -> None:
    """Compile liblstm and the bindings of the installed frameworks, sanitized."""
    without = {name: each for name, each in variables.items() if name != "LD_PRELOAD"}
    subprocess.run([sys.executable, "-m", "lstm_impl.build"], cwd=ROOT, env=without, check=True)


def chosen(names: Sequence[str]) -> list[str]:
    """Return the targets that can be fuzzed here, and say which cannot and why."""
    found = []
    for name in names:
        module, package, _ = TARGETS[name]
        missing = [each for each in (package, module) if each and not _is_there(each)]
        if missing:
            print(f"{name}: left out, there is no {missing[0]}", flush=True)
        else:
            found.append(name)
    return found


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def attempt(
    target: str, found: Found, seed: int, seconds: float, folder: Path, variables: Mapping[str, str]
) -> None:
    """Run one child, and add what it found."""
    place = Path(tempfile.mkdtemp(prefix=f"{target}-", dir=folder))
    words = ["--child", target, "--seed", str(seed), "--first", str(found.next)]
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.attack.fuzz_bindings", *words]
    command += ["--seconds", f"{seconds:g}", "--folder", str(place)]
    started = time.monotonic()
    with (place / "output.txt").open("wb") as output:
        child = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=output)
        try:
            code = child.wait(seconds + PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            code = -999
    found.seconds += time.monotonic() - started
    number = found.next
    state: dict[str, Any] = {"next": found.next, "counts": {}}
    with contextlib.suppress(OSError, ValueError):
        state = json.loads((place / "counts.json").read_text("utf-8"))
    found.trials.update(state["counts"])
    found.next = state["next"]
    last = "the process had not begun"
    with contextlib.suppress(OSError, IndexError, ValueError):
        last = (place / "last.txt").read_text("utf-8", errors="replace")
        number = int(last.split()[1].rstrip(":"))
        found.next = max(found.next, number + 1)
    said = (place / "output.txt").read_text("utf-8", errors="replace")
    with contextlib.suppress(OSError):
        wrong = (place / "wrong.txt").read_text("utf-8", errors="replace")
        found.problems.append(f"{target}, seed {seed}: wrong\n{wrong[-MOST_SHOWN:]}")
    # The sanitizer also warns of sizes that nobody can allocate, which the frameworks refuse.
    reported = "ERROR: AddressSanitizer" in said or "runtime error:" in said
    if code == 0 and not reported:
        return
    how = "did not end" if code == -999 else f"ended with {code}"
    # Without our code: TensorFlow itself cannot take this graph.
    if "[TensorFlow alone]" in last:
        found.trials[f"TensorFlow alone {'did not end' if code == -999 else 'crashed'}"] += 1
        return
    found.trials["crashed" if code != -999 else "hung"] += 1
    found.problems.append(
        f"{target}, seed {seed}: the process {how} in {last}\n"
        f"again: {shlex.join([*command[:4], *words[:4], '--first', str(number)])} "
        f"--only\n{said[:MOST_SHOWN]}"
    )


def fuzz(names: Sequence[str], seed: int, seconds: float, folder: Path) -> int:
    """Fuzz the targets in turn, print what was found, and return the exit code."""
    variables = environment(folder)
    build(variables)
    found = {name: Found() for name in chosen(names)}
    # Turns, so that a target with slow trials gets as much time, and all of them some early.
    each = min(SECONDS_OF_CHILD, max(1.0, seconds / len(found)))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or any(not each.seconds for each in found.values()):
        going = [name for name in found if len(found[name].problems) < MOST_PROBLEMS]
        if not going:
            break
        name = min(going, key=lambda name: found[name].seconds)
        before = len(found[name].problems)
        attempt(name, found[name], seed, each, folder, variables)
        for problem in found[name].problems[before:]:
            print(problem, flush=True)
    for name, result in found.items():
        words = ", ".join(f"{count:,} {how}" for how, count in sorted(result.trials.items()))
        print(f"{name}: {result.next:,} trials in {result.seconds:.0f} s: {words or 'none'}")
    problems = sum(len(each.problems) for each in found.values())
    idle = [name for name, each in found.items() if not each.trials.total()]
    print(f"seed {seed}: {problems} problems" + (f"; no trial of {idle}" if idle else ""))
    return 1 if problems or idle or not found else 0


def main(words: Sequence[str] | None = None) -> int:
    """Read the command line, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--targets", default=",".join(TARGETS), help="separated by commas")
    parser.add_argument("--folder", type=Path, help="keeps the libraries and what children wrote")
    parser.add_argument("--child", choices=TARGETS, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="fuzz-bindings-"))
    folder.mkdir(parents=True, exist_ok=True)
    if options.child:
        return run_child(
            options.child, options.seed, options.first, options.seconds, folder, options.only
        )
    print(f"the libraries and the output of children are in {folder}", flush=True)
    return fuzz(options.targets.split(","), options.seed, options.seconds, folder)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    # By its name in the package, as children import it, so that each of its classes exists once.
    sys.exit(importlib.import_module("tests.attack.fuzz_bindings").main())
