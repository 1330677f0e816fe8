"""``python -m bench.check``: does any implementation compute what the float64 reference computes?

``lstm_impl.check`` compares; this command parses its arguments and writes its answer.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.cli import arguments, command_line, output
from bench.machine.fields import printable
from lstm_impl.cell import list_cells
from lstm_impl.checking import check
from lstm_impl.checking.answer import compose_markdown, compose_text
from lstm_impl.checking.arrays import KINDS
from lstm_impl.checking.layout import LAYOUTS
from lstm_impl.spec import PRECISIONS, UnsupportedError

RIGHT, WRONG = 0, 1
FORMATS = ("terminal", "markdown", "json")
LONGEST_LINE = 2000
"""Letters of a line of the answer. Names of arrays and the words of a target's error are in it."""

EPILOG = """\
exit codes:
  0  right: every result is within its bound
  1  wrong: the answer says where the results differ, and names likely causes
  2  bad input: there is no such target, or it cannot be called like this

A function computes one layer. It takes x [T, B, in], h and c [B, H], and the weights, and returns
y [T, B, H], h and c. Its parameters are read: x, h, c, kernel, recurrent_kernel, bias, lengths; or
weights for a list. --layout torch is for kernels [4H, in] and two biases, --layout keras for
[B, T, in]; single options change single parts. PyTorch, JAX and TensorFlow differentiate it, so
that its gradients are checked too.

  python -m bench.check my_kernels:lstm --layout torch
  python -m bench.check my_kernels.py:lstm --gates iofg --axes batch

On GitHub Actions the answer is appended to the job's summary, too.
docs/check_your_kernel.md begins with a function in CUDA, Triton or C++.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _check, words, UnsupportedError, ValueError)


def _check(options: argparse.Namespace) -> int:
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
    return RIGHT if result.passed else WRONG


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "check", "Does this implementation compute what the float64 reference computes?", EPILOG
    )
    text = "module:function, file.py:function, the same of a layer, model.onnx or library.so"
    parser.add_argument("target", metavar="TARGET", help=text)
    add, size = arguments.add_values, arguments.SIZE
    arguments.add_choice(parser, "cell", list_cells(), default="lstm")
    arguments.add_choice(parser, "dtype", PRECISIONS, "in which it computes", default="float32")
    called = parser.add_argument_group("how a function is called")
    arguments.add_choice(called, "layout", LAYOUTS, "of a library", default="canonical")
    arguments.add_choice(called, "axes", ("time", "batch"), "the first axis of x and y")
    add(
        called,
        ("gates", "ORDER", str, "the order of the gates, such as iofg"),
        ("biases", "N", arguments.integer(1, 2), "how many biases there are, 1 or 2"),
        ("arguments", "NAMES", arguments.names, "what it takes, such as x,state,weights"),
        ("returns", "NAMES", arguments.names, "what it returns, such as y,h,c"),
        ("backward", "TARGET", str, "a function that computes its gradients"),
    )
    arguments.add_choice(called, "arrays", KINDS, "the arrays that it takes")
    arguments.add_flags(
        called,
        transposed="the kernels are [4H, in] and [4H, H]",
        hides_nan="NaN in an input may become a number",
    )
    sizes = parser.add_argument_group("the only sizes to check (default: several networks)")
    add(
        sizes,
        ("batch", "N", size, "sequences side by side"),
        ("steps", "N", size, "timesteps of each"),
        ("input", "N", size, "features of a timestep"),
        ("hidden", "N", size, "units of a layer"),
        ("layers", "N", size, "stacked"),
    )
    arguments.add_flags(sizes, bidirectional="both directions")
    arguments.add_with_default(parser, ("device", "NAME", str, "cpu", "cpu or gpu:0"))
    add(parser, ("seed", "N", arguments.integer(0, 2**53), "of weights and inputs"), default=0)
    arguments.add_output(parser, FORMATS)
    arguments.add_flags(parser, json="as --format json")
    add(parser, ("markdown", "FILE", Path, "also write a summary for a pull request to FILE"))
    return parser


if __name__ == "__main__":
    command_line.end(main)
