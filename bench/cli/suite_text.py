"""Write the suite that measures what a query of ``bench.recommend`` asks for."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from bench.case import loading
from bench.case.cases import BACKENDS, PEERS, Case, toml
from bench.case.loading import SuiteError
from bench.machine import devices
from bench.machine.fields import printable
from bench.machine.writing import write_bytes
from bench.render.recommend import window_reason
from bench.stats.intervals import ENOUGH_PROCESSES
from bench.verdicts.recommend import NeededWindow, NoRecommendation, Query, Recommendation
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload

GPU_BACKENDS = ("cudnn",)

_MULTIPLES = (1, 2, 4)
"""The windows to measure, as multiples of the needed window: a longer window may save time."""


def compose_suite(query: Query, need: NeededWindow, backends: Sequence[str] = ()) -> str:
    """Return the suite as TOML.

    backends: the backends to measure; by default the usual ones of the device.
    """
    chosen = list(backends)
    if not chosen:
        gpu = GPU_BACKENDS if devices.kind(query.device) == "gpu" else ()
        chosen = [*BACKENDS, *gpu, *PEERS]
    windows: list[int] = []
    if query.training:
        multiples = (need.window * each for each in _MULTIPLES)
        windows = [each for each in multiples if query.steps is None or each <= query.steps]
        most, mode = windows[-1], query.mode
        work = Workload(query.batch, most, mode, optimizer="adam", gradients="weights")
        what = f"windows for a dependency of {query.dependency} timesteps"
        cost = (
            f"what a window for a dependency of {query.dependency} timesteps costs. The dependency "
            f"needs a window of {need.window}: {window_reason(need)}."
        )
    else:
        work = Workload(query.batch, need.window, query.mode)
        what = f"inference on {need.window} timesteps"
        cost = f"what {what} costs."
    size, layers = query.input_size or query.hidden_size, query.num_layers
    spec = LSTMSpec(size, query.hidden_size, num_layers=layers, dtype=query.dtype)
    about = f"Written by python -m bench.recommend: {cost}"
    more = {"name": name_suite(query), "summary": what, "backends": chosen, "seconds": 3.0}
    return toml(about, Case("", spec, work, query.device), windows, memory=True, **more)


def name_suite(query: Query) -> str:
    """Return the name of the suite, which also names its file."""
    return f"dependency-{query.dependency}" if query.training else f"inference-{query.steps}"


def write_suite(
    path: Path, query: Query, found: Recommendation | NoRecommendation, backends: Sequence[str]
) -> None:
    """Write the suite to a new file.

    Raises SuiteError if the file exists or is no TOML file, and ResultWriteError if it cannot be
    written.
    """
    # If the best backends are tied, only they need to be measured.
    if not backends and isinstance(found, Recommendation) and found.rivals:
        backends = [row.case.backend for row in (found.best, *(each.row for each in found.rivals))]
    if path.suffix != ".toml":
        raise SuiteError(f"--write-suite {printable(str(path))}: expected a name ending in .toml")
    if path.exists():
        raise SuiteError(
            f"--write-suite {printable(str(path))}: the file exists already; choose another name"
        )
    described = compose_suite(query, found.need, backends).encode()
    loading.parse(path, described)
    write_bytes(path, described)


def list_commands(query: Query, paths: Sequence[str], suite: Path | None) -> list[str]:
    """Return the commands that measure what was requested.

    suite: the file of the suite if it is already written; otherwise the first command writes it.
    """
    path = str(suite or f"{name_suite(query)}.toml")
    found = []
    if suite is None:
        words = ["python", "-m", "bench.recommend"]
        if query.training:
            words += ["--dependency", str(query.dependency)]
        words += ["--batch", str(query.batch), "--hidden", str(query.hidden_size)]
        words += ["--device", query.device]
        for option, value, usual in (
            ("--steps", query.steps, None),
            ("--mode", query.mode, "training"),
            ("--input", query.input_size, None),
            ("--layers", query.num_layers, 1),
            ("--dtype", query.dtype, "float32"),
        ):
            if value != usual:
                words += [option, str(value)]
        found.append(shlex.join([*words, *paths, "--write-suite", path]))
    path = path if "/" in path else f"./{path}"
    found.append(f"python -m bench.run {shlex.quote(path)} --processes {ENOUGH_PROCESSES}")
    return found
