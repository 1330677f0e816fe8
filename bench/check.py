"""Check whether an implementation computes what the float64 reference computes.

This is ``python -m bench.check``. ``lstm_impl.checking`` compares; this module parses the arguments
and prints the answer. With ``--time`` it also measures a right implementation next to the built-in
backends.
"""

import argparse
import json
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.case.cases import Case
from bench.cli import arguments, command_line, output
from bench.cli.command_line import UsageError
from bench.machine import devices
from bench.machine.fields import printable
from bench.machine.reading import default_folder
from bench.render import report as shown
from bench.render.messages import CHECK_OPTIONS, answer, reason_line
from bench.render.table import Document
from bench.session import query, timing
from lstm_impl.cell import get_cell, list_cells
from lstm_impl.checking import CheckResult, check
from lstm_impl.checking.answer import compose_markdown, compose_text
from lstm_impl.checking.arrays import KINDS
from lstm_impl.checking.layout import LAYOUTS
from lstm_impl.spec import PRECISIONS, LSTMSpec, UnsupportedError
from lstm_impl.workload import SEQUENCE_MODES, Workload

RIGHT, WRONG = 0, 1

BUDGET = 120.0
"""The budget of ``--time``, in seconds."""

TIMED_BATCH, TIMED_STEPS, TIMED_HIDDEN = 32, 100, 128
"""The shape that ``--time`` measures if no size was given."""
FORMATS = ("terminal", "markdown", "json")
LONGEST_LINE = 2000
"""The longest line of an answer, in characters. A line can hold names of arrays and the error text
of the target, which may be of any length.
"""

EPILOG = """\
exit codes:
  0  right: every result is within its bound
  1  wrong: the answer says where the results differ, and names likely causes
  2  bad input: the target does not exist, or it cannot be called as the options say

A function computes one layer. It takes x [T, B, in], h and c [B, H] and the weights. It returns
y [T, B, H], h and c. The command recognizes parameters by their names: x, h, c, kernel,
recurrent_kernel, bias and lengths, or weights for a list of the last three. --layout torch is for
kernels of shape [4H, in] and two biases, --layout keras is for x of shape [B, T, in]. Other options
change one property each. PyTorch, JAX and TensorFlow can differentiate a function of theirs, so
its gradients are checked too.
  python -m bench.check my_kernels:lstm --layout torch
  python -m bench.check my_kernels.py:lstm --gates iofg --axes batch

With --time, an implementation that is right is also measured next to the usual backends, in fresh
processes and alternating blocks, as python -m bench.ask does. Without sizes, it measures 32
sequences of 100 steps with 128 units. A timed function must take and return the states.

On GitHub Actions the command also appends the answer to the summary of the job.
docs/check_your_kernel.md explains the check and begins with a function in CUDA, Triton or C++.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _check, argv, UnsupportedError, ValueError)


def _check(options: argparse.Namespace) -> int:
    if options.time:
        _refuse_early(options)
    result = check(
        options.target,
        cell=options.cell,
        dtype=options.dtype,
        layout=options.layout,
        batch_major=None if options.axes is None else options.axes == "batch",
        gates=options.gates,
        biases=options.biases,
        transposed=True if options.transposed else None,
        arguments=options.arguments,
        returned=options.returns,
        arrays=options.arrays,
        backward=options.backward,
        hides_nan=options.hides_nan,
        input_size=options.input,
        hidden_size=options.hidden,
        num_layers=options.layers,
        bidirectional=True if options.bidirectional else None,
        batch=options.batch,
        timesteps=options.steps,
        device=options.device,
        seed=options.seed,
    )
    if options.json:
        options.format = "json"
    markdown = compose_markdown(result)
    texts = {
        "markdown": lambda: markdown,
        "json": lambda: json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n",
    }

    def draw(console: Console) -> None:
        for line in compose_text(result).splitlines():
            console.print(printable(line, LONGEST_LINE), markup=False, highlight=False)

    output.deliver(options, draw, texts, os.environ.get("GITHUB_STEP_SUMMARY"))
    if options.markdown is not None:
        output.write_file(options.markdown, markdown)
    if options.time:
        return _measure(options, result)
    return RIGHT if result.passed else WRONG


def _refuse_early(options: argparse.Namespace) -> None:
    """Raise UsageError for options that ``--time`` cannot use, before anything is computed."""
    form = "json" if options.json else options.format
    if form != "terminal":
        raise UsageError(
            f"--time cannot be combined with --format {form}: the results of a measurement are "
            "written next to those of bench.run, where bench.report reads them"
        )
    if missing := devices.explain_missing(devices.parse(options.device)):
        raise UsageError(reason_line(missing))


def _read_declaration(options: argparse.Namespace) -> dict[str, object]:
    """Return what the user declared of the target, as the fields of ``Declaration``."""
    given = {
        "layout": options.layout,
        "batch_major": None if options.axes is None else options.axes == "batch",
        "gates": options.gates,
        "biases": options.biases,
        "transposed": True if options.transposed else None,
        "arguments": options.arguments,
        "returned": options.returns,
        "arrays": options.arrays,
        "backward": None if options.backward is None else timing.absolute_target(options.backward),
        "hides_nan": options.hides_nan,
        "device": options.device,
        "dtype": options.dtype,
    }
    return {name: value for name, value in given.items() if value is not None}


def _timed_case(options: argparse.Namespace, result: CheckResult) -> Case:
    """Return the case to measure, with the sizes that were given, or else those of the target."""
    checked = result.networks[0]
    own = checked.spec if options.hidden is None and _has_own_sizes(result) else None
    hidden = options.hidden or (TIMED_HIDDEN if own is None else own.hidden_size)
    spec = LSTMSpec(
        options.input or (hidden if own is None else own.input_size),
        hidden,
        num_layers=options.layers or (1 if own is None else own.num_layers),
        bidirectional=options.bidirectional or (own is not None and own.bidirectional),
        dtype=options.dtype,
        cell=get_cell(options.cell),
    )
    training = options.mode == "training"
    workload = Workload(
        options.batch or TIMED_BATCH,
        options.steps or TIMED_STEPS,
        options.mode,
        batch_major=checked.workload.batch_major,
        gradients="weights" if training else "all",
    )
    return Case("", spec, workload, devices.parse(options.device))


def _has_own_sizes(result: CheckResult) -> bool:
    """Return whether the target is a network with fixed sizes, such as an ONNX model."""
    specs = {(each.spec.input_size, each.spec.hidden_size) for each in result.networks}
    return len(result.networks) > 1 and len(specs) == 1


def _measure(options: argparse.Namespace, result: CheckResult) -> int:
    """Measure a target that is right, and print its table and the answer.

    Return the exit code.
    """
    console = output.make_console()
    console.print()
    if not result.passed:
        console.print("It was not measured, because its results are wrong.")
        return WRONG
    name = timing.backend_name(options.target)
    case = _timed_case(options, result)
    given = {
        "strategy": name,
        "target": timing.absolute_target(options.target),
        "cell": options.cell,
        "declared": _read_declaration(options),
        "folder": str(Path.cwd()),
    }
    text = f"measuring {name}: {query.describe(case)}, for up to {options.budget:.0f} s"
    console.print(printable(text, LONGEST_LINE), markup=False)
    code = timing.measure_target(case, name, given, options, default_folder())
    if code not in (RIGHT, WRONG):
        return code  # bench.run has said what is wrong.
    section = timing.newest_session(case, name, default_folder())
    if section is None:
        console.print(f"There is no time for {name}; the lines above say why.", markup=False)
        return WRONG
    Document(shown.measurements(section, len(section.rows))).terminal(console)
    console.print()
    for line in answer(section, CHECK_OPTIONS):
        console.print(textwrap.fill(line, console.width), style="bold", soft_wrap=True)
    return RIGHT


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "check", "Check whether an implementation computes the right LSTM.", EPILOG
    )
    text = "module:function, file.py:function, a layer named like that, or a .onnx, .tflite or .so"
    parser.add_argument("target", metavar="TARGET", help=text)
    add, size = arguments.add_values, arguments.SIZE
    arguments.add_choice(parser, "cell", list_cells(), default="lstm")
    arguments.add_choice(parser, "dtype", PRECISIONS, "the precision it uses", default="float32")
    called = parser.add_argument_group("how the function is called")
    arguments.add_choice(called, "layout", LAYOUTS, "the library it imitates", default="canonical")
    arguments.add_choice(called, "axes", ("time", "batch"), "the first axis of x and y")
    add(
        called,
        ("gates", "ORDER", str, "the order of the gates, such as iofg"),
        ("biases", "N", arguments.make_integer_parser(1, 2), "the number of biases, 1 or 2"),
        ("arguments", "NAMES", arguments.parse_names, "its arguments, such as x,state,weights"),
        ("returns", "NAMES", arguments.parse_names, "its results, such as y,h,c"),
        ("backward", "TARGET", str, "a function that computes its gradients"),
    )
    arguments.add_choice(called, "arrays", KINDS, "the kind of arrays that it takes")
    arguments.add_flags(
        called,
        transposed="the kernels have the shapes [4H, in] and [4H, H]",
        hides_nan="accept that NaN in an input becomes a number",
    )
    sizes = parser.add_argument_group("sizes (by default several networks are checked)")
    add(
        sizes,
        ("batch", "N", size, "number of sequences in a batch"),
        ("steps", "N", size, "number of timesteps of each sequence"),
        ("input", "N", size, "number of features of a timestep"),
        ("hidden", "N", size, "number of units of a layer"),
        ("layers", "N", size, "number of stacked layers"),
    )
    arguments.add_flags(sizes, bidirectional="process the sequences in both directions")
    arguments.add_with_default(parser, ("device", "NAME", str, "cpu", "cpu or gpu:0"))
    seed = "the seed of the weights and inputs"
    add(parser, ("seed", "N", arguments.make_integer_parser(0, 2**53), seed), default=0)
    timed = parser.add_argument_group("time")
    arguments.add_flags(timed, time="if it is right, also measure it next to the usual backends")
    arguments.add_choice(timed, "mode", SEQUENCE_MODES, default="inference")
    budget = f"time for measuring (default: {BUDGET:.0f}s)"
    add(timed, ("budget", "TIME", arguments.parse_seconds, budget), default=BUDGET)
    processes = "number of processes of each backend, however wide the intervals are"
    add(timed, ("processes", "N", arguments.make_integer_parser(1, 10_000), processes))
    busy = timed.add_mutually_exclusive_group()
    arguments.add_flags(
        busy,
        wait="wait while another run measures here",
        force="measure even if another run measures here",
    )
    arguments.add_output(parser, FORMATS)
    arguments.add_flags(parser, json="the same as --format json")
    add(parser, ("markdown", "FILE", Path, "also write a summary for a pull request to FILE"))
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
