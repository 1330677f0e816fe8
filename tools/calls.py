"""Run ``python -m tools.calls``: tables of three suites, a column for each call or precision.

``defaults`` compares this library's Keras layer with Keras's in each call. ``keras`` compares the
step of ``fused_cpu`` with that of Keras. ``inference`` and ``training`` show every backend's time,
and ``frameworks`` those in inference of each framework's own LSTM and of this project's kernels.
``precisions`` and ``precisions-training`` are tables of the suite ``precision-cpu``. A report would
need a table for each of these columns. Below each table of times stands what the results have and
the table leaves out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas

import bench
from bench.cli import arguments, command_line
from bench.cli.progress import result_paths
from bench.records.files import collect
from bench.render.labels import FASTEST, caption
from bench.render.quantities import bounds, ratio, seconds
from bench.render.table import markdown_table
from bench.verdicts.sections import build

STEPS = {"inference": "inference", "training": "training"}
"""By heading, the mode in which ``fused_cpu`` is compared with Keras."""

DEFAULTS = {
    "`tf.function`": ("+function", "inference", "float32"),
    "`predict_on_batch`": ("+predict_on_batch", "inference", "float32"),
    "`model(x)`": ("", "inference", "float32"),
    "`train_on_batch`": ("+train_on_batch", "training", "float32"),
    "the same, mixed_bfloat16": ("+train_on_batch", "training", "mixed_bfloat16"),
}
"""By heading, the end of both backends' names, and which of their rows."""

KERAS, OURS, ONNX = "keras_model", "lstm_impl_model", "keras_model+onnx"

TIMES: Mapping[str, Mapping[str, str | tuple[str, ...]]] = {
    "inference": {
        "Keras `tf.function`": f"{KERAS}+function",
        "ours": f"{OURS}+function",
        "Keras `predict_on_batch`": f"{KERAS}+predict_on_batch",
        "ours ": f"{OURS}+predict_on_batch",
        "ours `model(x)`": OURS,
        "`forward` of `fused_cpu`": "fused_cpu:forward",
        "of `torch`": "torch:forward",
        "ONNX Runtime": ONNX,
    },
    "training": {
        "Keras `train_on_batch`": f"{KERAS}+train_on_batch",
        "ours": f"{OURS}+train_on_batch",
        "step of `fused_cpu`": "fused_cpu",
        "of `torch`": "torch",
    },
    "frameworks": {
        "`numpy_fused`": "numpy_fused",
        "`jax_fused_cpu`": "jax_fused_cpu",
        "`fused_cpu`": "fused_cpu",
        "`torch_fused_cpu`": "torch_fused_cpu",
        "JAX": ("jax_scan", "jax_scan+preproject"),
        "PyTorch": "torch",
        "Keras": "keras",
        "ONNX Runtime": "onnxruntime",
        "OpenVINO": "openvino",
    },
    "precisions": {
        "float32: PyTorch": "torch",
        "ONNX Runtime": "onnxruntime",
        "`fused_cpu`": "fused_cpu",
        "bfloat16: PyTorch": "torch bfloat16",
        "`torch+frozen`": "torch+frozen bfloat16",
        "OpenVINO": "openvino bfloat16",
        "`fused_cpu` ": "fused_cpu bfloat16",
        "bf32: PyTorch": "torch bf32",
        "`fused_cpu`  ": "fused_cpu bf32",
        "int8: ONNX Runtime": "onnxruntime:int8",
        "`numpy_fused:int8`": "numpy_fused:int8",
    },
    "precisions-training": {
        "float32: PyTorch": "torch",
        "`fused_cpu`": "fused_cpu",
        "bfloat16: PyTorch": "torch bfloat16",
        "`fused_cpu` ": "fused_cpu bfloat16",
        "Keras": "keras bfloat16",
        "bf32: `fused_cpu`": "fused_cpu bf32",
    },
}
"""By heading, the backend whose time is shown, in float32 if no type follows.

Of several backends the fastest is shown, with its name.
"""

PRECISIONS = "precisions"

Row = Any  # of a pandas frame


def defaults(paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield the lines of the table: our time in each call, and the speedup over Keras's layer."""
    yield from _speedups(
        paths,
        {
            heading: bench.load_frame(paths, baseline=f"{KERAS}{call}").query(
                f"backend == '{OURS}{call}' and mode == '{mode}' and dtype == '{dtype}'"
            )
            for heading, (call, mode, dtype) in DEFAULTS.items()
        },
    )


def steps(paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield the lines of the table: the step of ``fused_cpu``, and its speedup over Keras's."""
    frame = bench.load_frame(paths, baseline="keras").query("backend == 'fused_cpu'")
    yield from _speedups(
        paths, {heading: frame.query(f"mode == '{mode}'") for heading, mode in STEPS.items()}
    )


def _speedups(paths: Sequence[str], frames: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the lines of a table of times with speedups. frames: the rows of each column."""
    yield ["batch × time × units", *frames]
    for shape in _shapes(bench.load_frame(paths)):
        found = (frame[frame.shape_ == shape] for frame in map(_shaped, frames.values()))
        yield [shape, *(_cell(each.iloc[0]) if len(each) else "" for each in found)]


def _cell(row: Row) -> str:
    if row.outcome != "measured":
        return str(row.outcome)
    verdict = "" if row.verdict == "FASTER" else f" {row.verdict}"
    speedup = f"{ratio(row.speedup)}× ({bounds(row.speedup_low, row.speedup_high)})"
    return f"{_time(row)}, {speedup}{verdict}"


def _time(row: Row) -> str:
    return ("" if row.time_valid else "\\~") + seconds(row.time_s)


def times(mode: str, paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield the lines of the table of times.

    The shortest time of each shape in the results is in bold, so that a shape has no bold time
    where a backend that the table leaves out is faster.
    """
    columns = TIMES[mode]
    frame = _named(mode, paths)
    yield ["batch × time × units", *columns]
    for shape in _shapes(frame):
        rows = frame[frame.shape_ == shape].set_index("name")
        shortest = rows[rows.error.isna()].time_s.min()
        cells = []
        for names in columns.values():
            there = rows[rows.index.isin(_each(names)) & (rows.outcome == "measured")]
            if there.empty:
                cells.append("")
                continue
            row: Row = there.sort_values("time_s").iloc[0]
            text = _time(row)
            if row.time_s == shortest:
                # Another precision's rows are no rivals, and a star says nothing about them.
                alone = not mode.startswith(PRECISIONS) and row.fastest in (True,)
                text = f"**{text}**" + f" {FASTEST}" * alone
            if pandas.notna(row.error):  # of an approximate backend
                text += f" ({row.error:.1%})"
            if not isinstance(names, str):
                text += f" `{row.name}`"
            cells.append(text)
        yield [shape, *cells]


def left_out(mode: str, paths: Sequence[str]) -> str:
    """Return which backends the results have and the table of times does not show."""
    shown = {name for names in TIMES[mode].values() for name in _each(names)}
    frame = _named(mode, paths)
    measured = frame[frame.outcome == "measured"].name
    missing = [f"`{name}`" for name in dict.fromkeys(measured) if name not in shown]
    other = "inference" if _kind(mode) == "training" else "training"
    parts = ", ".join([*missing, other])
    return f" Left out: {parts}, and all intervals (`python -m bench.report` has them)."


def _each(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _kind(table: str) -> str:
    return "training" if table.endswith("training") else "inference"


def _named(table: str, paths: Sequence[str]) -> Any:
    """Return the rows of a table's mode with their shapes and, other than float32, their types."""
    frame = _shaped(bench.load_frame(paths).query(f"mode == '{_kind(table)}'"))
    types = frame.dtype.map(lambda dtype: "" if dtype == "float32" else f" {dtype}")
    return frame.assign(name=frame.backend + types)


def _shaped(frame: Any) -> Any:
    """Add the shape in short: 8×100×256, and 5×15×1→4 where input and units differ."""
    units = [
        str(hidden) if hidden == features else f"{features}→{hidden}"
        for features, hidden in zip(frame.input_size, frame.hidden_size, strict=True)
    ]
    sizes = zip(frame.batch, frame.timesteps, units, strict=True)
    return frame.assign(shape_=["×".join(map(str, each)) for each in sizes])


def _shapes(frame: Any) -> list[str]:
    ordered = frame.assign(work=frame.batch * frame.timesteps * frame.hidden_size**2)
    return list(dict.fromkeys(_shaped(ordered.sort_values("work")).shape_))


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command_line.run(_parser(), _calls, words, OSError)


def _calls(options: argparse.Namespace) -> int:
    paths = [str(each) for each in result_paths(options.paths)]
    if options.table in SPEEDUPS:
        table, rest = SPEEDUPS[options.table](paths), ""
    else:
        table, rest = times(options.table, paths), left_out(options.table, paths)
    headings, *lines = table
    print(markdown_table(headings, [False, *[True] * (len(headings) - 1)], lines))
    (section, *_) = build(collect(result_paths(options.paths))).sections
    speedup = "how many times as fast as Keras's"
    marks = {
        "defaults": f"Our time, and {speedup} layer (99.5% CI). Left out: all other calls.",
        "keras": f"The step of `fused_cpu`, and {speedup} (99.5% CI). Left out: other backends.",
        "precisions": "Bold: the shortest time but for int8, which is shown with its error.",
        "precisions-training": "Bold: the shortest time.",
    }
    mark = f"Bold: the shortest time; {FASTEST} significantly FASTER than all others, jointly."
    mark = marks.get(options.table, mark)
    print(f"\n{mark} \\~ an unreliable time.{rest} {caption(section)}")
    return 0


SPEEDUPS = {"defaults": defaults, "keras": steps}
"""The tables of speedups over Keras."""


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser("tools.calls", "Tables of three suites, in Markdown.")
    parser.add_argument("table", choices=(*SPEEDUPS, *TIMES))
    parser.add_argument("paths", nargs="+", metavar="PATH", help="result files or folders")
    arguments.add_choice(parser, "format", ("markdown",), default="markdown")
    return parser


if __name__ == "__main__":
    command_line.end(main)
