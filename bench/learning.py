"""``python -m bench.learning``: what can be learned through a truncation window, as a map d x k.

The command: options, the journal, and what is shown. Trainings, processes, tables and pictures are
in ``windows.learning``, the files in ``results.maps``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import lstm_impl
from bench.disk.fields import ResultError
from bench.disk.folder import FolderError, default_folder, expanded
from bench.disk.writing import ResultWriteError, write_bytes
from bench.results.maps import LearningMap, collect, read
from bench.results.only import NothingThereError, only_cells
from bench.telling import arguments, command_line, deliver, drawing
from bench.telling.command_line import UsageError
from bench.windows.learning import data, map_picture, mapped, words
from bench.windows.learning.plan import (
    BATCH,
    DISTANCES,
    HIDDEN,
    LEARNING_RATE,
    SEEDS,
    TIMESTEPS,
    WINDOWS,
    Plan,
)
from bench.windows.learning.settings import SettingsError

PICTURES = ("svg", "png")
FORMATS = ("terminal", "markdown", "csv", "json", *PICTURES)

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
    parser = arguments.Parser(
        prog="python -m bench.learning",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    _add_plan(parser.add_argument_group("what is trained"), Plan())
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
    _add_shown(parser.add_argument_group("what is shown instead"))
    return parser


def _add_plan(plan: argparse._ArgumentGroup, usual: Plan) -> None:
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


def _add_shown(shown: argparse._ArgumentGroup) -> None:
    shown.add_argument(
        "--show",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="the newest map in these files and folders (the results folder); of it only the "
        "--tasks, --distances, --windows and states that are named",
    )
    arguments.add_output(shown, FORMATS, by_name=True)
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


def _each(values: dict[str, int] | dict[str, float]) -> str:
    return ", ".join(f"{task}: {value}" for task, value in values.items())


_FILTERS = {"task": "tasks", "distance": "distances", "window": "windows", "carried": "states"}
"""Of what is shown: what of a cell is chosen by which part of a plan."""

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


# -- the run


def _train(options: argparse.Namespace) -> int:
    given = vars(options)
    folder = given.get("results") or expanded(default_folder())
    jobs = given.get("jobs", mapped.cores())
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}; expected a positive integer")
    begun = (mapped.resume if given.get("resume") else mapped.begin)(folder, _chosen(options))
    mapped.check_backend(begun.plan)
    start = time.monotonic()
    found = mapped.train(
        begun,
        jobs,
        given.get("budget"),
        lambda *cell: print(words.progress(*cell), flush=True),
    )
    if found.path is None:
        print(
            f"stopped after {found.cells} of {found.of} cells; they are in {begun.journal}\n"
            f"go on with: {_again(folder)}"
        )
        return 130
    print(f"{found.cells} of {found.of} cells, {time.monotonic() - start:.0f} s in this go\n")
    _show(read(found.path), options)
    print(f"\nmap: {found.path}")
    if not found.complete:
        print(f"the budget is spent; go on with: {_again(folder)}")
    return 1 if found.problems else 0


def _again(folder: Path) -> str:
    command = "python -m bench.learning --resume"
    return command if str(folder) == default_folder() else f"{command} --results {folder}"


# -- showing


def _show(found: LearningMap, options: argparse.Namespace) -> None:
    given = vars(options)
    if not found.cells:
        print("no cell is trained yet: there is nothing to show")
        return
    values, output = given.get("values", "closed"), given.get("output")
    deliver.deliver(
        given.get("format") or deliver.kind_of(output),
        deliver.Target(output),
        lambda console: words.terminal(found, values, console),
        {
            "markdown": lambda: words.markdown(found, values),
            "csv": lambda: data.as_csv(found),
            "json": lambda: data.as_json(found),
            **{kind: partial(map_picture.picture, found, kind) for kind in PICTURES},
        },
    )
    if (picture := given.get("picture")) is not None:
        write_bytes(picture, map_picture.picture(found, picture.suffix[1:].lower()))
        print(f"picture: {picture}")


def _show_newest(options: argparse.Namespace) -> int:
    paths = options.show or [expanded(default_folder())]
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
    chosen = _chosen(options)
    wanted = {name: chosen.get(of) for name, of in _FILTERS.items()}
    _show(only_cells(newest, wanted), options)  # type: ignore[arg-type]
    return 2 if loaded.errors else 0


def _check_options(options: argparse.Namespace) -> None:
    given = vars(options)
    output = given.get("output")
    deliver.check(given.get("format") or deliver.kind_of(output), deliver.Target(output))
    picture = given.get("picture")
    if picture is not None:
        if drawing.kind_of(picture) is None:
            raise UsageError(
                f"--picture {picture}: expected a name that ends in .{', .'.join(drawing.FORMATS)}"
            )
        deliver.check(picture.suffix[1:].lower(), deliver.Target(picture))
    if "backends" in given and not given.get("agree"):
        raise UsageError("--backends goes with --agree; --backend is for the map")
    kinds = [f"--{name}" for name in ("show", "agree", "resume") if name in given]
    if len(kinds) > 1:
        raise UsageError(f"{' and '.join(kinds)}: expected one of them")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    command_line.write_any_letter()
    try:
        _check_options(options)
        if "show" in options:
            return _show_newest(options)
        if "agree" in options:
            from bench.windows.learning import agreement

            return agreement.command(getattr(options, "backends", None))
        return _train(options)
    except (
        UsageError,
        FolderError,
        NothingThereError,
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
