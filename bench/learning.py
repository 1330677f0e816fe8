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
from bench.disk.folder import default_folder, expanded
from bench.disk.writing import write_bytes
from bench.results.maps import LearningMap, collect, read
from bench.results.only import only_cells
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
from bench.windows.learning.settings import STRIDE

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


def _listed(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


def _each(values: dict[str, int] | dict[str, float]) -> str:
    return ", ".join(f"{task}: {value}" for task, value in values.items())


def _parser() -> arguments.Parser:
    parser = arguments.parser(
        "learning", DESCRIPTION, EPILOG, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    _add_plan(parser.add_argument_group("what is trained"), Plan())
    how = parser.add_argument_group("how")
    arguments.add_values(
        how,
        ("results", "DIR", Path, "where the map goes (results)"),
        ("jobs", "N", int, "trainings side by side (the cores)"),
    )
    arguments.add_flags(how, resume="go on with the newest unfinished map")
    budget = "start no cell after this: 90s, 10m, 1h"
    arguments.add_values(how, ("budget", "TIME", arguments.seconds, budget))
    _add_shown(parser.add_argument_group("what is shown instead"))
    return parser


def _add_plan(plan: argparse._ArgumentGroup, usual: Plan) -> None:
    add, flag = arguments.add_values, arguments.add_flags
    add(
        plan,
        ("tasks", "LIST", arguments.names, f"of the tasks ({_listed(usual.tasks)})"),
        ("distances", "LIST", arguments.wholes, f"d ({_listed(DISTANCES)})"),
        ("windows", "LIST", arguments.wholes, f"k ({_listed(WINDOWS)})"),
    )
    flag(
        plan.add_mutually_exclusive_group(),
        carried="only with the state carried from window to window",
        reset="only with the state reset at each window",
        both="one beside the other (the default)",
    )
    add(
        plan,
        ("seeds", "N", int, f"trainings of each cell ({SEEDS})"),
        ("timesteps", "N", int, f"of each series, seen once ({TIMESTEPS})"),
        ("batch", "N", int, f"series side by side ({_each(BATCH)})"),
        ("hidden", "N", int, f"units of the LSTM ({_each(HIDDEN)})"),
        ("learning-rate", "RATE", float, f"of Adam ({_each(LEARNING_RATE)})"),
        ("stride", "N", int, STRIDE),
    )
    flag(plan, blanks="copy memory asks for a blank wherever no symbol is wanted (for nothing)")
    add(
        plan,
        ("backend", "ID", str, f"how the LSTMs are computed ({usual.backend})"),
        ("device", "NAME", str, f"cpu, gpu:0, ... ({usual.device})"),
    )


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
    add = arguments.add_values
    add(shown, ("picture", "FILE", Path, "draw the map, a .svg, .png or .pdf"))
    arguments.add_flags(
        shown,
        agree="train the echo task with every backend that is available and compare their curves",
    )
    add(shown, ("backends", "LIST", arguments.names, "with --agree: these backends"))


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
    command_line.tell_errors(loaded.errors)
    if not loaded.maps:
        if not loaded.errors:
            where = ", ".join(map(str, paths))
            raise UsageError(f"{where} holds no map; python -m bench.learning makes one")
        return command_line.BAD_INPUT
    newest = loaded.maps[0]
    for note in newest.notes:
        print(f"note: {note}", file=sys.stderr)
    chosen = _chosen(options)
    wanted = {name: chosen.get(of) for name, of in _FILTERS.items()}
    _show(only_cells(newest, wanted), options)  # type: ignore[arg-type]
    return command_line.BAD_INPUT if loaded.errors else 0


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


def main(given: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    unable = lstm_impl.UnsupportedError, BrokenProcessPool, OSError
    try:
        return command_line.run(_parser(), _learning, given, *unable)
    except KeyboardInterrupt:
        print("stopped at once; finished cells are in the journal", file=sys.stderr)
        return 130


def _learning(options: argparse.Namespace) -> int:
    _check_options(options)
    if "show" in options:
        return _show_newest(options)
    if "agree" in options:
        from bench.windows.learning import agreement

        return agreement.command(getattr(options, "backends", None))
    return _train(options)


if __name__ == "__main__":
    command_line.end(main)
