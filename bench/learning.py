"""``python -m bench.learning``: what can be learned through a truncation window, as a map d x k.

The command: options, the journal, and what is shown. Trainings, processes, tables and pictures are
in ``windows.learning``, the files in ``results.maps``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
import uuid
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import lstm_impl
from bench.disk.fields import ResultError
from bench.disk.folder import LEARNING_PREFIX, default_folder
from bench.disk.writers import living
from bench.disk.writing import JOURNAL_SUFFIX, LineFile, ResultWriteError, clear_left_over, write
from bench.results.maps import SCHEMA, Cell, LearningMap, collect, file_data, read
from bench.telling import arguments, command_line
from bench.telling.command_line import UsageError
from bench.windows.learning import map_picture, words
from bench.windows.learning.interruption import Interruption
from bench.windows.learning.plan import (
    BATCH,
    DISTANCES,
    HIDDEN,
    LEARNING_RATE,
    SEEDS,
    TIMESTEPS,
    WINDOWS,
    Plan,
    missing,
)
from bench.windows.learning.settings import SettingsError
from bench.windows.learning.workers import train_all

DESCRIPTION = """\
Train LSTMs on tasks that need an input d timesteps later, through truncation windows of k
timesteps, and map which are learned: near k = d it stops. Two tasks with a known optimum: the
echo of a stream of bits, and copy memory (a symbol now and then, asked for d steps later).
"""

EPILOG = """\
Every cell sees the same number of timesteps, so a smaller window makes more updates; the
tables say how many. No input is seen twice, so the loss in training is the loss on new data.

Ctrl-C stops within a moment and loses at most the cells in flight; --resume goes on.

exit codes:
  0    done, or out of its --budget
  1    a training failed, or --agree found a backend that does not train the same
  2    an option or a file that makes no sense; one line says which
  130  stopped by Ctrl-C
"""


# -- options


def _listed(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


def _parser() -> argparse.ArgumentParser:
    usual = Plan()
    parser = arguments.Parser(
        prog="python -m bench.learning",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    plan = parser.add_argument_group("what is trained")
    plan.add_argument(
        "--tasks",
        type=arguments.names,
        metavar="LIST",
        help=f"of the tasks ({_listed(usual.tasks)})",
    )
    plan.add_argument(
        "--distances", type=arguments.wholes, metavar="LIST", help=f"d ({_listed(DISTANCES)})"
    )
    plan.add_argument(
        "--windows", type=arguments.wholes, metavar="LIST", help=f"k ({_listed(WINDOWS)})"
    )
    states = plan.add_mutually_exclusive_group()
    states.add_argument(
        "--carried", action="store_true", help="only with the state carried from window to window"
    )
    states.add_argument(
        "--reset", action="store_true", help="only with the state reset at each window"
    )
    states.add_argument("--both", action="store_true", help="one beside the other (the default)")
    plan.add_argument("--seeds", type=int, metavar="N", help=f"trainings of each cell ({SEEDS})")
    plan.add_argument(
        "--timesteps", type=int, metavar="N", help=f"of each series, seen once ({TIMESTEPS})"
    )
    plan.add_argument(
        "--batch", type=int, metavar="N", help=f"series side by side ({_each(BATCH)})"
    )
    plan.add_argument(
        "--hidden", type=int, metavar="N", help=f"units of the LSTM ({_each(HIDDEN)})"
    )
    plan.add_argument(
        "--learning-rate", type=float, metavar="RATE", help=f"of Adam ({_each(LEARNING_RATE)})"
    )
    plan.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help="timesteps from one window's start to the next; fewer than the window make windows "
        "overlap (the window)",
    )
    plan.add_argument(
        "--blanks",
        action="store_true",
        help="copy memory asks for a blank wherever no symbol is wanted (for nothing)",
    )
    plan.add_argument(
        "--backend", metavar="ID", help=f"how the LSTMs are computed ({usual.backend})"
    )
    plan.add_argument("--device", metavar="NAME", help=f"cpu, gpu:0, ... ({usual.device})")
    how = parser.add_argument_group("how")
    how.add_argument("--results", type=Path, metavar="DIR", help="where the map goes (results)")
    how.add_argument("--jobs", type=int, metavar="N", help="trainings side by side (the cores)")
    how.add_argument("--resume", action="store_true", help="go on with the newest unfinished map")
    how.add_argument(
        "--budget",
        type=arguments.seconds,
        metavar="TIME",
        help="start no cell after this: 90s, 10m, 1h",
    )
    shown = parser.add_argument_group("what is shown instead")
    shown.add_argument(
        "--show",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="the newest map in these files and folders (the results folder)",
    )
    shown.add_argument("--format", choices=words.FORMATS, help="of the tables (terminal)")
    shown.add_argument(
        "--values",
        choices=words.VALUES,
        help="closed: per cent of the way from the memoryless loss to the best possible; loss: "
        "beside the best possible; accuracy (closed)",
    )
    shown.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw the map, a .svg, .png or .pdf"
    )
    shown.add_argument(
        "--agree",
        action="store_true",
        help="train the echo task with every backend that is available and compare their curves",
    )
    shown.add_argument(
        "--backends", type=arguments.names, metavar="LIST", help="with --agree: these backends"
    )
    return parser


def _each(values: dict[str, int] | dict[str, float]) -> str:
    return ", ".join(f"{task}: {value}" for task, value in values.items())


_PLAN_OPTIONS = (
    *("tasks", "distances", "windows", "seeds", "timesteps", "batch", "hidden"),
    *("learning_rate", "stride", "backend", "device", "blanks"),
)


def _chosen(options: argparse.Namespace) -> dict[str, object]:
    """What of a plan the options decide."""
    given = vars(options)
    chosen: dict[str, object] = {name: given[name] for name in _PLAN_OPTIONS if name in given}
    for name, states in (("carried", (True,)), ("reset", (False,)), ("both", (True, False))):
        if name in given:
            chosen["states"] = states
    if "backend" in chosen:
        chosen["backend"] = lstm_impl.get_backend(str(chosen["backend"])).name
    return chosen


def _plan(chosen: dict[str, object]) -> Plan:
    try:
        return Plan(**chosen)  # type: ignore[arg-type]
    except SettingsError as error:
        field = {"echo": "distances", "bits": "timesteps", "units": "hidden"}
        name = field.get(error.field, error.field).replace("_", "-")
        raise UsageError(f"--{name} {error.problem}") from error


def _check_backend(plan: Plan) -> None:
    backend = lstm_impl.get_backend(plan.backend)
    available = backend.availability(plan.device)
    if not available:
        raise UsageError(f"--backend {backend.name} on {plan.device}: {available}")
    for task in plan.tasks:
        item = next((each for each in plan.items() if each.task == task), None)
        if item is not None:
            settings = plan.settings(item)
            workload = lstm_impl.Workload(settings.batch, settings.window, "training")
            if reason := backend.refusal(settings.spec, workload):
                raise UsageError(f"--backend {backend.name} cannot train this: {reason}")


# -- the run


def _new_journal(folder: Path, started: datetime, run_id: str) -> Path:
    stamp = started.strftime("%Y%m%dT%H%M%SZ")
    return folder / f"{LEARNING_PREFIX}{stamp}-{run_id[:8]}{JOURNAL_SUFFIX}"


def _unfinished(folder: Path) -> tuple[Path, LearningMap]:
    """The newest journal that is not complete. Raises UsageError if there is none."""
    found: list[tuple[datetime, Path, LearningMap]] = []
    alive = ""
    for path in sorted(folder.glob(f"{LEARNING_PREFIX}*{JOURNAL_SUFFIX}")):
        with contextlib.suppress(ResultError):
            each = read(path)
            if each.run.complete:
                continue
            if who := living(path):
                alive = f"{who} still writes {path}: wait until it has ended, or end it"
            else:
                found.append((each.run.started, path, each))
    if not found and alive:
        raise UsageError(f"--resume: {alive}")
    if not found:
        raise UsageError(f"--resume: {folder} holds no unfinished map; start one without --resume")
    _, path, newest = max(found, key=lambda entry: entry[0])
    return path, newest


def _libraries(plan: Plan) -> dict[str, str]:
    framework = lstm_impl.get_backend(plan.backend).framework
    found = {}
    for name in dict.fromkeys(("numpy", framework, "lstm-benchmark-suite")):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _train(options: argparse.Namespace) -> int:
    given = vars(options)
    folder = Path(given.get("results", default_folder()))
    jobs = given.get("jobs", _cores())
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}; expected a positive integer")
    chosen = _chosen(options)
    before: LearningMap | None = None
    if given.get("resume"):
        journal, before = _unfinished(folder)
        try:
            plan = Plan.from_dict(dict(before.run.settings))
        except SettingsError as error:
            raise UsageError(f"{journal}: {error}") from error
        for name, value in chosen.items():
            if value != getattr(plan, name):
                raise UsageError(
                    f"--{name.replace('_', '-')} differs from that of {journal}; leave it out, or "
                    "start anew without --resume"
                )
        run_id, started = before.run.id, before.run.started
    else:
        plan = _plan(chosen)
        run_id, started = uuid.uuid4().hex, datetime.now(UTC)
        journal = _new_journal(folder, started, run_id)
    _check_backend(plan)
    run: dict[str, object] = {
        "id": run_id,
        "started": started.isoformat(timespec="seconds"),
        "finished": None,
        "complete": False,
        "backend": plan.backend,
        "device": plan.device,
        "settings": plan.to_dict(),
        "libraries": _libraries(plan),
    }
    items = missing(plan, before)
    cells = [] if before is None else list(before.cells)
    total = len(cells) + len(items)
    deadline = time.monotonic() + given["budget"] if "budget" in given else None
    begun = time.monotonic()

    clear_left_over(folder)
    with LineFile(journal, again=before is not None) as lines, Interruption() as interruption:
        if before is None:
            lines.append({"learning": {"schema": SCHEMA, "run": run}})

        def done(cell: Cell) -> None:
            lines.append({"cell": cell.to_dict()})
            cells.append(cell)
            print(words.progress(cell, len(cells), total), flush=True)

        complete = train_all(
            plan,
            items,
            min(jobs, max(len(items), 1)),
            done,
            lambda: not interruption.asked,
            lambda: deadline is None or time.monotonic() < deadline,
        )
        if interruption.asked:
            print(
                f"stopped after {len(cells)} of {total} cells; they are in {journal}\n"
                f"go on with: {_again(folder)}"
            )
            return 130
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        lines.append({"finished": finished, "complete": complete})
    path = journal.with_name(journal.name.removesuffix(JOURNAL_SUFFIX) + ".json")
    write(path, file_data({**run, "finished": finished, "complete": complete}, cells))
    print(f"{len(cells)} of {total} cells, {time.monotonic() - begun:.0f} s in this go\n")
    _show(read(path), options)
    print(f"\nmap: {path}")
    if not complete:
        print(f"the budget is spent; go on with: {_again(folder)}")
    return 1 if any(cell.problem for cell in cells) else 0


def _again(folder: Path) -> str:
    command = "python -m bench.learning --resume"
    return command if str(folder) == default_folder() else f"{command} --results {folder}"


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        return os.cpu_count() or 1


# -- showing


def _show(found: LearningMap, options: argparse.Namespace) -> None:
    given = vars(options)
    if not found.cells:
        print("no cell is trained yet: there is nothing to show")
        return
    values = given.get("values", "closed")
    if given.get("format", "terminal") == "markdown":
        print(words.markdown(found, values), end="")
    else:
        words.terminal(found, values)
    picture = given.get("picture")
    if picture is not None:
        map_picture.save(found, picture)
        print(f"picture: {picture}")


def _show_newest(options: argparse.Namespace) -> int:
    paths = options.show or [Path(default_folder())]
    # The usual folder need not be there yet; one that somebody names must.
    loaded = collect(paths if options.show or paths[0].is_dir() else [])
    for error in loaded.errors:
        print(f"error: {error}", file=sys.stderr)
    if not loaded.maps:
        if not loaded.errors:
            where = ", ".join(map(str, paths))
            raise UsageError(f"{where} holds no map; python -m bench.learning makes one")
        return 2
    newest = loaded.maps[0]
    for note in newest.notes:
        print(f"note: {note}", file=sys.stderr)
    _show(newest, options)
    return 2 if loaded.errors else 0


def _check_options(options: argparse.Namespace) -> None:
    given = vars(options)
    picture = given.get("picture")
    if picture is not None:
        if picture.suffix.lower() not in map_picture.SUFFIXES:
            raise UsageError(
                f"--picture {picture}: expected a name that ends in "
                f"{', '.join(map_picture.SUFFIXES)}"
            )
        if not map_picture.available():
            raise UsageError(f"a picture needs matplotlib: {map_picture.INSTALL}")
    if "backends" in given and not given.get("agree"):
        raise UsageError("--backends goes with --agree; --backend is for the map")
    kinds = [f"--{name}" for name in ("show", "agree", "resume") if name in given]
    if len(kinds) > 1:
        raise UsageError(f"{' and '.join(kinds)}: expected one of them")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    try:
        options = _parser().parse_args(arguments)
        _check_options(options)
        if "show" in options:
            return _show_newest(options)
        if "agree" in options:
            from bench.windows.learning import agreement

            return agreement.command(getattr(options, "backends", None))
        return _train(options)
    except (
        UsageError,
        SettingsError,
        ResultError,
        ResultWriteError,
        lstm_impl.UnsupportedError,
        BrokenProcessPool,
        OSError,
    ) as error:
        if isinstance(error, BrokenPipeError):
            raise  # whoever read the output has seen enough
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped at once; finished cells are in the journal", file=sys.stderr)
        return 130


if __name__ == "__main__":
    command_line.end(main)
