"""Define what backends do, and in which phase. The installed package has a copy of this file."""

import builtins
import gc
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lstm_impl import Availability, LSTMSpec, LSTMWeights, Model, Step, Workload
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel

PLACES = ("availability", "refusal", "build", "prepare", "call", "gate", "timing", "evidence")
"""The phases of a case."""


class Panic(BaseException):
    """The exception of a Rust extension that panics."""


class Mute(Exception):  # noqa: N818
    """An error whose text raises another error."""

    def __str__(self) -> str:
        raise SystemExit("not even that")


def raising(error: Callable[[], BaseException]) -> Callable[[], None]:
    def deed() -> None:
        raise error()

    return deed


def change_streams() -> None:
    sys.stdout = sys.stderr = None


def close_streams() -> None:
    sys.stdout.close()
    sys.stderr.close()


def close_files() -> None:
    os.close(1)
    os.close(2)


def change_numpy() -> None:
    np.seterr(all="raise")


def change_folder() -> None:
    os.chdir("/")


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def change_handlers() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def change_filters() -> None:
    warnings.resetwarnings()
    warnings.simplefilter("error")
    gc.disable()
    logging.disable(logging.CRITICAL)


def forbid_json() -> None:
    sys.modules["json"] = None  # type: ignore[assignment]


def lose_modules() -> None:
    for name in ("json", "numpy", "bench.case.cases", "encodings"):
        sys.modules.pop(name, None)


def change_builtins() -> None:
    vars(builtins).update(len=None, isinstance=None, print=None)


def warn() -> None:
    warnings.warn("a textbook sigmoid overflows", RuntimeWarning, stacklevel=1)
    np.exp(np.float32(1000.0))


def thread() -> None:
    if all(each.name != "left" for each in threading.enumerate()):
        threading.Thread(target=time.sleep, args=(600,), name="left", daemon=False).start()


def fork() -> None:
    """Fork, and return in the child too."""
    os.fork()


def leave_a_child() -> None:
    """Leave a child that outlives its parent, in its process group."""
    if not hasattr(leave_a_child, "done"):
        leave_a_child.done = True  # type: ignore[attr-defined]
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(611)"])


def leave_a_daemon() -> None:
    """Leave a daemon: a process in a session of its own, whose parent has ended."""
    if hasattr(leave_a_daemon, "done"):
        return
    leave_a_daemon.done = True  # type: ignore[attr-defined]
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(612)"])
    os.waitpid(child, 0)


def leave_a_pool() -> None:
    if not hasattr(leave_a_pool, "done"):
        leave_a_pool.done = multiprocessing.get_context("fork").Pool(2)  # type: ignore[attr-defined]


def print_much() -> None:
    """Print through Python's stream and past it, once."""
    if not hasattr(print_much, "done"):
        print_much.done = True  # type: ignore[attr-defined]
        line = b"x" * 1023 + b"\n"
        for _ in range(int(os.environ.get("HOSTILE_MEGABYTES", "64"))):
            os.write(2, line * 1024)
        print("and a word by print")


def print_and_exit() -> None:
    print_much()
    raise SystemExit(1)


DEEDS: dict[str, Callable[[], object]] = {
    "exits": raising(lambda: SystemExit(0)),
    "interrupts": raising(KeyboardInterrupt),
    "closes": raising(GeneratorExit),
    "panics": raising(lambda: Panic("poisoned")),
    "mutes": raising(Mute),
    "changes_streams": change_streams,
    "closes_streams": close_streams,
    "closes_files": close_files,
    "changes_numpy": change_numpy,
    "changes_folder": change_folder,
    "changes_handlers": change_handlers,
    "clears_path": sys.path.clear,
    "clears_finders": sys.meta_path.clear,
    "clears_hooks": sys.path_hooks.clear,
    "forbids_json": forbid_json,
    "loses_modules": lose_modules,
    "changes_builtins": change_builtins,
    "limits_files": limit_files,
    "changes_filters": change_filters,
    "warns": warn,
    "threads": thread,
    "forks": fork,
    "leaves_a_child": leave_a_child,
    "leaves_a_daemon": leave_a_daemon,
    "leaves_a_pool": leave_a_pool,
    "prints_much": print_much,
    "prints_and_exits": print_and_exit,
    "signals": lambda: os.kill(os.getpid(), signal.SIGINT),
    "vanishes": lambda: os._exit(0),
}


def _backend(name: str, place: str, deed: Callable[[], object]) -> type[NumPyLoop]:
    class HostileModel(NumPyModel):
        def act(self, here: str) -> None:
            # The smallest network only starts frameworks: nothing is done there.
            if here == place and self.spec.hidden_size > 1:
                deed()

        def prepare(self, workload: Workload, seed: int = 0) -> Step:
            self.act("prepare")
            step, calls = super().prepare(workload, seed), 0

            def run() -> Any:
                nonlocal calls
                calls += 1
                if calls == 1:
                    self.act("call")
                if calls == 10:
                    self.act("timing")
                return step.run()

            return Step(run, step.synchronize, step.trace)

        def forward(self, *given: Any, **named: Any) -> Any:
            self.act("gate")
            return super().forward(*given, **named)

        def evidence(self, workload: Workload) -> Mapping[str, Any]:
            self.act("evidence")
            return super().evidence(workload)

    class Hostile(NumPyLoop):
        strategy = name
        summary = f"misbehaves in {place}"

        def availability(self, device: str = "cpu") -> Availability:
            if place == "availability":
                deed()
            return super().availability(device)

        def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
            if place == "refusal" and spec.hidden_size > 1:
                deed()
            return super().refusal(spec, workload)

        def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
            return ""

        def _build(
            self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool
        ) -> Model:
            if place == "build" and spec.hidden_size > 1:
                deed()
            return HostileModel(self, spec, device, batch_major, weights)

    return Hostile


for _place in PLACES:
    for _name, _deed in DEEDS.items():
        globals()[f"{_name}_in_{_place}"] = _backend(f"{_name}_in_{_place}", _place, _deed)
