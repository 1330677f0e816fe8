"""Run ``python -m tools.portable``: write the digests by which the graph optimizer knows a layer.

A layer in a graph that may be saved is a function of TensorFlow's ops. Where the library is loaded,
the fused op replaces this function (``lstm_impl/native/graph_optimizer.cc``). The op replaces only
functions whose digests are in ``lstm_impl/native/portable_digests.h``. Run this command after a
change of ``by_tensorflow``, or when a release of TensorFlow traces another graph. Digests that are
already in the file stay, so that models which were exported before are still recognized.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lstm_impl.backends.fused_cpu import library
from lstm_impl.cell import get_cell

HEADER = library.SOURCES / "portable_digests.h"

RESULTS = ("identity", "identity_1", "identity_2")
"""TensorFlow's names of the results y, h_last and c_last of a traced function."""

MOST_TEXT = 4096
"""The largest size of a function's digests in bytes. They are three lines of under a hundred bytes.
"""


class Body(NamedTuple):
    """Hold what a function computes, and the digests of its results y, h_last and c_last."""

    reverse: bool
    batch_major: bool
    digests: tuple[str, ...]
    cell: int = 0
    """The number of the cell, as the op has it."""


def compute_digests(graph: Any, function: str) -> dict[str, str]:
    """Return the digest of each result of a function in the library of a ``GraphDef``.

    Raises
    ------
    ValueError
        If the function cannot be described. The message gives the reason.
    """
    from lstm_impl.backends.fused_cpu.backend import ops

    ops()
    describe = ctypes.CDLL(str(library.build(library.TENSORFLOW))).lstm_impl_result_digests
    describe.restype = ctypes.c_int64
    describe.argtypes = [
        *(ctypes.c_char_p, ctypes.c_int64),
        *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int64),
    ]
    data, text = graph.SerializeToString(), ctypes.create_string_buffer(MOST_TEXT)
    size = describe(data, len(data), function.encode(), text, MOST_TEXT)
    words = text.raw[: min(size, MOST_TEXT)].decode()
    if words.startswith("error: "):
        raise ValueError(words.removeprefix("error: "))
    return dict(line.split("=") for line in words.splitlines())


def trace_bodies(batch: int = 2, inputs: int = 3, units: int = 5) -> list[Body]:
    """Return the bodies that this version of TensorFlow traces for layers of these sizes."""
    import tensorflow as tf

    from lstm_impl.backends.fused_cpu.c_interface import CELLS
    from lstm_impl.keras.layer import PortableSizes, portable_function

    found = []
    sizes_known = PortableSizes(None, inputs, units), PortableSizes(batch, inputs, units)
    either = (False, True)
    types = (
        (tf.float32, tf.float32),
        (tf.bfloat16, tf.bfloat16),
        (tf.bfloat16, tf.float32),
    )
    kinds = itertools.product(CELLS, types, either, either, either, sizes_known)
    for cell, (dtype, weights), reverse, batch_major, masked, sizes in kinds:
        how = reverse, batch_major, masked, sizes, weights, get_cell(cell)
        function = portable_function(dtype, *how)
        concrete = function.get_concrete_function()
        graph = tf.compat.v1.GraphDef()
        graph.library.function.append(concrete.function_def)
        for function in concrete.graph.as_graph_def().library.function:
            graph.library.function.append(function)
        made = compute_digests(graph, concrete.function_def.signature.name)
        texts = tuple(made[name] for name in RESULTS)
        found.append(Body(reverse, batch_major, texts, CELLS[cell]))
    return list(dict.fromkeys(found))


def read_known_bodies() -> list[Body]:
    """Return the bodies that the header lists."""
    pattern = r"{(true|false),\s*(true|false),\s*(\d),\s*{([^}]+)}}"
    return [
        Body(
            reverse == "true",
            batch_major == "true",
            tuple(re.findall(r'"(\w+)"', texts)),
            int(cell),
        )
        for reverse, batch_major, cell, texts in re.findall(pattern, HEADER.read_text("ascii"))
    ]


TEXT = """\
// The functions of TensorFlow's ops that the fused op may replace: what a layer of this library is
// traced into, of each cell, for float32 and bfloat16, for bfloat16 with weights of float32, with
// and without a mask. python -m tools.portable writes this file, and adds what another version of
// TensorFlow or of this library traces.
#ifndef LSTM_IMPL_NATIVE_PORTABLE_DIGESTS_H_
#define LSTM_IMPL_NATIVE_PORTABLE_DIGESTS_H_

namespace lstm_impl {{

struct PortableBody {{
  bool reverse, batch_major;
  int cell;  // an LstmCell
  const char* digests[3];  // of y, h_last and c_last, by result_digests()
}};

inline constexpr PortableBody kPortableBodies[] = {{
{rows}
}};

}}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_PORTABLE_DIGESTS_H_
"""


def format_header(bodies: Sequence[Body]) -> str:
    """Return the text of the header for these bodies."""
    rows = []
    for body in bodies:
        flags = f"{str(body.reverse).lower()}, {str(body.batch_major).lower()}, {body.cell}"
        texts = ",\n      ".join(f'"{each}"' for each in body.digests)
        rows.append(f"    {{{flags},\n     {{{texts}}}}},")
    return TEXT.format(rows="\n".join(rows))


def main(path: Path = HEADER) -> int:
    """Write the header and return the exit code 0."""
    bodies = list(dict.fromkeys([*read_known_bodies(), *trace_bodies()]))
    path.write_text(format_header(bodies), "ascii")
    print(f"written: {path}, {len(bodies)} bodies", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
