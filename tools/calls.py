"""Run ``python -m tools.calls``: print tables of three suites, a column for each call or precision.

- ``defaults`` compares this library's Keras layer with Keras's own in each call.
- ``keras`` compares the step of ``fused_cpu`` with that of Keras.
- ``inference`` and ``training`` show every backend's time.
- ``frameworks`` shows the times in inference of each framework's own LSTM and of this project's
  kernels.
- ``precisions`` and ``precisions-training`` are tables of the suite ``precision-cpu``.

A report would need a table for each of these columns. Below each table of times, a line lists what
is in the results but not in the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas

import bench
from bench.cli import arguments, command_line
from bench.cli.progress import find_result_paths
from bench.records.files import collect
from bench.render.labels import FASTEST, caption
from bench.render.quantities import bounds, ratio, seconds
from bench.render.table import markdown_table
from bench.verdicts.sections import build

STEPS = {"inference": "inference", "training": "training"}
"""The mode in which ``fused_cpu`` is compared with Keras, by heading."""

DEFAULTS = {
    "`tf.function`": ("+function", "inference", "float32"),
    "`predict_on_batch`": ("+predict_on_batch", "inference", "float32"),
    "`model(x)`": ("", "inference", "float32"),
    "`train_on_batch`": ("+train_on_batch", "training", "float32"),
    "the same, mixed_bfloat16": ("+train_on_batch", "training", "mixed_bfloat16"),
}
"""The end of both backends' names, the mode and the precision, by heading."""

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
"""The backend whose time is shown, by table and heading. Its precision is float32 if none follows.

If there are several backends, the fastest one is shown with its name."""

PRECISIONS = "precisions"
"""The beginning of the names of tables with several precisions."""

Row = Any  # A row of a pandas frame.


def make_defaults_table(paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield the lines of a table with our time in each call, and the speedup over Keras."""
    yield from _make_speedups_table(
        paths,
        {
            heading: bench.load_frame(paths, baseline=f"{KERAS}{call}").query(
                f"backend == '{OURS}{call}' and mode == '{mode}' and dtype == '{dtype}'"
            )
            for heading, (call, mode, dtype) in DEFAULTS.items()
        },
    )


def make_steps_table(paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield the lines of the table with the step of ``fused_cpu`` and its speedup over Keras's."""
    frame = bench.load_frame(paths, baseline="keras").query("backend == 'fused_cpu'")
    yield from _make_speedups_table(
        paths, {heading: frame.query(f"mode == '{mode}'") for heading, mode in STEPS.items()}
    )


def _make_speedups_table(paths: Sequence[str], frames: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the lines of a table of times with speedups. ``frames`` has the rows of each column."""
    yield ["batch × time × units", *frames]
    for shape in _list_shapes(bench.load_frame(paths)):
        found = (frame[frame.shape_ == shape] for frame in map(_add_shapes, frames.values()))
        yield [shape, *(_format_cell(each.iloc[0]) if len(each) else "" for each in found)]


def _format_cell(row: Row) -> str:
    if row.outcome != "measured":
        return str(row.outcome)
    verdict = "" if row.verdict == "FASTER" else f" {row.verdict}"
    speedup = f"{ratio(row.speedup)}× ({bounds(row.speedup_low, row.speedup_high)})"
    return f"{_format_time(row)}, {speedup}{verdict}"


def _format_time(row: Row) -> str:
    return ("" if row.time_valid else "\\~") + seconds(row.time_s)


def make_times_table(mode: str, paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield the lines of the table of times.

    The shortest time of each shape in the results is bold. If a backend that the table leaves out
    is faster, the shape has no bold time.
    """
    columns = TIMES[mode]
    frame = _load_named_rows(mode, paths)
    yield ["batch × time × units", *columns]
    for shape in _list_shapes(frame):
        rows = frame[frame.shape_ == shape].set_index("name")
        shortest = rows[rows.error.isna()].time_s.min()
        cells = []
        for names in columns.values():
            there = rows[rows.index.isin(_list_names(names)) & (rows.outcome == "measured")]
            if there.empty:
                cells.append("")
                continue
            row: Row = there.sort_values("time_s").iloc[0]
            text = _format_time(row)
            if row.time_s == shortest:
                # Rows of other precisions are no competitors, and a star says nothing about them.
                alone = not mode.startswith(PRECISIONS) and row.fastest in (True,)
                text = f"**{text}**" + f" {FASTEST}" * alone
            if pandas.notna(row.error):  # The backend is approximate.
                text += f" ({row.error:.1%})"
            if not isinstance(names, str):
                text += f" `{row.name}`"
            cells.append(text)
        yield [shape, *cells]


def describe_left_out(mode: str, paths: Sequence[str]) -> str:
    """Return a sentence about the backends that are in the results but not in the table."""
    shown = {name for names in TIMES[mode].values() for name in _list_names(names)}
    frame = _load_named_rows(mode, paths)
    measured = frame[frame.outcome == "measured"].name
    missing = [f"`{name}`" for name in dict.fromkeys(measured) if name not in shown]
    other = "inference" if _find_mode(mode) == "training" else "training"
    parts = ", ".join([*missing, other])
    return (
        f" Not shown: {parts}, and the intervals of the times. `python -m bench.report` shows them."
    )


def _list_names(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _find_mode(table: str) -> str:
    return "training" if table.endswith("training") else "inference"


def _load_named_rows(table: str, paths: Sequence[str]) -> Any:
    """Return the rows of a table's mode, with their shapes and with any precision but float32."""
    frame = _add_shapes(bench.load_frame(paths).query(f"mode == '{_find_mode(table)}'"))
    types = frame.dtype.map(lambda dtype: "" if dtype == "float32" else f" {dtype}")
    return frame.assign(name=frame.backend + types)


def _add_shapes(frame: Any) -> Any:
    """Add the shape in short, such as 8×100×256, or 5×15×1→4 for one input and four units."""
    units = [
        str(hidden) if hidden == features else f"{features}→{hidden}"
        for features, hidden in zip(frame.input_size, frame.hidden_size, strict=True)
    ]
    sizes = zip(frame.batch, frame.timesteps, units, strict=True)
    return frame.assign(shape_=["×".join(map(str, each)) for each in sizes])


def _list_shapes(frame: Any) -> list[str]:
    ordered = frame.assign(work=frame.batch * frame.timesteps * frame.hidden_size**2)
    return list(dict.fromkeys(_add_shapes(ordered.sort_values("work")).shape_))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command_line.run(_parser(), _print_table, argv, OSError)


def _print_table(options: argparse.Namespace) -> int:
    paths = [str(each) for each in find_result_paths(options.paths)]
    if options.table in SPEEDUPS:
        table, rest = SPEEDUPS[options.table](paths), ""
    else:
        table, rest = (
            make_times_table(options.table, paths),
            describe_left_out(options.table, paths),
        )
    headings, *lines = table
    print(markdown_table(headings, [False, *[True] * (len(headings) - 1)], lines))
    (section, *_) = build(collect(find_result_paths(options.paths))).sections
    speedup = "how many times as fast as Keras's"
    marks = {
        "defaults": f"Each cell has our time, and {speedup} layer it is, with a 99.5% CI. "
        "Other calls are not shown.",
        "keras": f"Each cell has the time of a step of `fused_cpu`, and {speedup} it is, with a "
        "99.5% CI. Other backends are not shown.",
        "precisions": "Bold marks the shortest time except int8, which is shown with its error.",
        "precisions-training": "Bold marks the shortest time.",
    }
    mark = (
        f"Bold marks the shortest time, and {FASTEST} a time that is significantly shorter than "
        "all others, tested jointly."
    )
    mark = marks.get(options.table, mark)
    print(f"\n{mark} \\~ marks an unreliable time.{rest} {caption(section)}")
    return 0


SPEEDUPS = {"defaults": make_defaults_table, "keras": make_steps_table}
"""The tables of speedups over Keras."""


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser("tools.calls", "Tables of three suites, in Markdown.")
    parser.add_argument("table", choices=(*SPEEDUPS, *TIMES))
    parser.add_argument("paths", nargs="+", metavar="PATH", help="result files or folders")
    arguments.add_choice(parser, "format", ("markdown",), default="markdown")
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
