"""Train a map of which echo distances are learned through which truncation windows.

``bench.recommend --dependency`` reads the map. Each cell is one ``Training`` with a distance, a
window and a seed. Its state is carried from window to window, or reset at each window.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import sys
import uuid
from collections.abc import Callable
from concurrent import futures
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np

import lstm_impl
from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from bench.echo.run import catch_interruption
from bench.echo.task import (
    COIN_TOSS,
    EchoSettings,
    SettingsError,
    best_possible_loss,
    check_backend,
)
from bench.echo.training import DivergedError, Training, build_model
from bench.machine.processes import ignore_interruptions
from bench.machine.reading import LEARNING_PREFIX, default_folder, expand_path
from bench.machine.writing import write
from bench.records import maps
from bench.records.digest import with_digest
from bench.records.maps import LearningMap, MapCell, nothing_to_learn
from bench.render import escape
from bench.render.table import TextTable, numbers
from lstm_impl.processors import count_usable_cpus

BATCH, HIDDEN, LEARNING_RATE = 16, 24, 0.02
"""The settings of each cell. Adam's rate was chosen at distance 8, from 0.01 to 0.06."""

SPREAD = 2
"""The initial time constants reach twice the distance.

The network thus has its best chance, so if it does not learn, the window is the reason.
"""

FINAL = 0.1
"""The last part of a training, over which its loss is averaged."""

THREADS = {
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
}
"""Each worker sets these to 1 unless the user has set them: the networks are too small for two
threads.
"""

Item = tuple[int, int, bool, int]
"""A distance, a window, whether the state is carried over, and a seed."""


DESCRIPTION = """\
Train the echo task for each distance through windows of each length, with the state carried
from window to window and with it reset, and show which distances are learned. The command
bench.recommend --dependency uses the newest map. All cells train for the same number of
timesteps. Ctrl-C keeps the finished cells.
"""

EPILOG = """\
exit codes:
  0    the map was trained or shown
  1    a training failed
  2    an option or a file is invalid; a message says which
  130  stopped by Ctrl-C
"""


@dataclass(frozen=True)
class MapPlan:
    """Hold the settings of a map. Raises SettingsError."""

    distances: tuple[int, ...] = (1, 3, 8, 20, 50)
    windows: tuple[int, ...] = (3, 5, 10, 15, 30, 60, 120)
    seeds: int = 3
    timesteps: int = 10_000
    backend: str = "numpy"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, values in (("distances", self.distances), ("windows", self.windows)):
            if not values or min(values) < 1 or len(set(values)) != len(values):
                raise SettingsError(name, "expected one or more different positive integers")
        # At least two windows are needed: the loss of the second shows the first update.
        if self.timesteps < (least := 2 * max(self.windows)):
            raise SettingsError("timesteps", f"is {self.timesteps}; expected at least {least}")

    def items(self) -> list[Item]:
        """Return the trainings: first all of one seed, then those of the next seed."""
        axes = range(self.seeds), (True, False), self.distances, self.windows
        return [
            (distance, window, carried, seed)
            for seed, carried, distance, window in itertools.product(*axes)
            if not nothing_to_learn(distance, window, carried)
        ]

    def settings(self, item: Item) -> EchoSettings:
        """Return the settings of one training."""
        distance, window, carried, seed = item
        return EchoSettings(
            bits=self.timesteps * BATCH,
            echo=distance,
            batch=BATCH,
            window=window,
            units=HIDDEN,
            learning_rate=LEARNING_RATE,
            seed=seed,
            reset_state=not carried,
            optimizer="adam",
            memory=SPREAD * distance,
        )


def train_cell(plan: MapPlan, item: Item, model: lstm_impl.Model | None = None) -> MapCell:
    """Train one cell. Raises UnsupportedError if the backend cannot train it."""
    settings = plan.settings(item)
    training = Training(settings, model or build_model(settings, plan.backend, plan.device))
    windows = settings.windows_per_epoch
    first = min(int((1.0 - FINAL) * windows), windows - 1)  # The first window of the final part.
    problem, loss, accuracy = "", None, None
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            losses = training.until(windows)
        loss = float(losses[first:].mean())
        accuracy = float(np.mean(training.accuracies[first:]))
    except DivergedError as error:
        problem = str(error)
    parts = np.array_split(training.losses, min(20, len(training.losses) or 1))
    distance, window, carried, seed = item
    return MapCell(
        task="echo",
        distance=distance,
        window=window,
        stride=window,
        carried=carried,
        seed=seed,
        timesteps=windows * settings.window,
        updates=windows,
        loss=loss,
        accuracy=accuracy,
        best=min(float(best_possible_loss(settings)[first:].mean()), COIN_TOSS),
        memoryless=COIN_TOSS,
        curve=tuple(float(part.mean()) for part in parts if len(part)),
        problem=problem,
    )


def train_cells(
    plan: MapPlan, jobs: int, done: Callable[[MapCell], None], stopped: Callable[[], bool]
) -> None:
    """Train all cells, ``jobs`` at a time, until stopped.

    Raises BrokenExecutor if a worker dies.
    """
    ours = dict.fromkeys(THREADS - os.environ.keys(), "1")
    os.environ.update(ours)
    spawn = multiprocessing.get_context("spawn")
    pool = futures.ProcessPoolExecutor(jobs, spawn, ignore_interruptions)
    try:
        waiting = {pool.submit(train_cell, plan, item) for item in plan.items()}
        while waiting and not stopped():
            finished, waiting = futures.wait(waiting, 0.2, futures.FIRST_COMPLETED)
            for each in finished:
                done(each.result())
    finally:
        for name in ours:
            del os.environ[name]
        for process in multiprocessing.active_children() if stopped() else ():
            process.kill()
        pool.shutdown(cancel_futures=True)


def train_map(plan: MapPlan, folder: Path, jobs: int) -> Path:
    """Train a map and return its file, which is rewritten after each cell."""
    started, run_id = datetime.now(UTC), uuid.uuid4().hex
    libraries = {}
    for name in ("numpy", lstm_impl.get_backend(plan.backend).framework):
        with contextlib.suppress(metadata.PackageNotFoundError):
            libraries[name] = metadata.version(name)
    run: dict[str, object] = {
        "id": run_id,
        "started": started.isoformat(timespec="seconds"),
        "finished": None,
        "complete": False,
        "backend": plan.backend,
        "device": plan.device,
        "settings": asdict(plan),
        "libraries": libraries,
    }
    path = folder / f"{LEARNING_PREFIX}{started:%Y%m%dT%H%M%SZ}-{run_id[:8]}.json"
    cells: list[MapCell] = []
    total = len(plan.items())

    def save() -> None:
        write(path, with_digest(maps.file_data(run, cells)))

    def done(cell: MapCell) -> None:
        cells.append(cell)
        save()
        place = f"distance {cell.distance}, window {cell.window}, seed {cell.seed}"
        reached = escape.clean(cell.problem) or f"loss {cell.loss:.4g} (best {cell.best:.3g})"
        print(f"[{len(cells)}/{total}] {place}: {reached}", flush=True)

    save()
    with catch_interruption() as interrupted:
        train_cells(plan, min(jobs, total), done, interrupted)
    run["complete"] = len(cells) == total
    run["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    save()
    return path


def tables(found: LearningMap) -> list[tuple[str, TextTable]]:
    """Return a table with its title for each task and kind of state: distances by windows."""
    result = []
    for task, carried in itertools.product(found.tasks(), (True, False)):
        if distances := found.distances(task, carried):
            windows = found.windows(task)
            lines = [
                [str(d), *(_place(found, task, d, k, carried) for k in windows)] for d in distances
            ]
            state = "state carried" if carried else "state reset at each window"
            title = f"{'Echo' if task == 'echo' else 'Copy memory'}, {state}"
            result.append((title, TextTable.of(numbers("d \\ k", *map(str, windows)), lines)))
    return result


def _place(found: LearningMap, task: str, distance: int, window: int, carried: bool) -> str:
    if nothing_to_learn(distance, window, carried):
        return "–"
    cells = found.seeds(task, distance, window, carried)
    shares = [cell.learned_share for cell in cells if cell.learned_share is not None]
    if not shares:
        return "diverged" if cells else ""
    learned = sum(cell.learned for cell in cells)
    mark = " ✓" if learned == len(cells) else f" {learned}/{len(cells)}" if learned else ""
    return f"{100 * sum(shares) / len(shares):.0f}{mark}".replace("-0", "0")


def markdown(found: LearningMap) -> str:
    """Return the tables of a map in Markdown, aligned for reading as text."""
    blocks = [f"**{title}**\n\n{table.markdown(aligned=True)}" for title, table in tables(found)]
    blocks.append(
        "Rows: distance d. Columns: window k. Cells: per cent of the way from the memoryless loss "
        "to the best possible one, mean over seeds.\n✓: every seed learned it "
        f"({maps.LEARNED:.0%} of the way); 1/2: one of two seeds did; –: nothing to learn (state "
        "reset and k ≤ d)."
    )
    return "\n\n".join(blocks)


def parser() -> arguments.Parser:
    """Return the parser of ``bench.echo windows``."""
    made = arguments.make_parser("echo windows", DESCRIPTION, EPILOG, allow_abbrev=False)
    default = MapPlan()
    arguments.add_with_default(
        made,
        (
            "distances",
            "LIST",
            arguments.parse_integers,
            default.distances,
            "distances in timesteps",
        ),
        (
            "windows",
            "LIST",
            arguments.parse_integers,
            default.windows,
            "lengths of windows in timesteps",
        ),
        ("seeds", "N", arguments.make_integer_parser(1), default.seeds, "trainings per cell"),
        ("timesteps", "N", int, default.timesteps, "timesteps of each series; none repeats"),
        ("backend", "ID", str, default.backend, "backend of the LSTMs"),
        ("device", "NAME", str, default.device, "device: cpu, gpu:0, ..."),
        (
            "jobs",
            "N",
            arguments.make_integer_parser(1, 4096),
            count_usable_cpus(),
            "parallel trainings",
        ),
    )
    arguments.add_values(made, ("results", "DIR", Path, "folder of the map (results)"))
    show = "show the newest map in these files and folders (results); do not train"
    arguments.add_values(made, ("show", "PATH", Path, show), nargs="*")
    return made


def main(options: argparse.Namespace) -> int:
    """Train a map or show one, and return the exit code."""
    if options.show is not None:
        return _show(options.show or [Path(expand_path(default_folder()))])
    try:
        names = ("distances", "windows", "seeds", "timesteps", "backend", "device")
        plan = MapPlan(**{name: getattr(options, name) for name in names})
    except SettingsError as error:
        raise UsageError(f"--{error.field} {error.problem}") from error
    backend = lstm_impl.get_backend(plan.backend)
    check_backend(backend, plan.device, plan.settings(plan.items()[0]))
    path = train_map(plan, options.results or Path(expand_path(default_folder())), options.jobs)
    found = maps.read(path)
    print(f"\n{markdown(found)}\n\nmap: {path}")
    if not found.run.complete:
        return command_line.INTERRUPTED
    return 1 if any(cell.problem for cell in found.cells) else 0


def _show(paths: list[Path]) -> int:
    loaded = maps.collect(paths)
    command_line.print_errors(loaded.errors)
    if loaded.maps:
        for note in loaded.maps[0].notes:
            print(f"note: {note}", file=sys.stderr)
        print(markdown(loaded.maps[0]))
    elif not loaded.errors:
        where = ", ".join(map(str, paths))
        raise UsageError(f"{where} contains no map; run python -m bench.echo windows to make one")
    return command_line.BAD_INPUT if loaded.errors else 0
