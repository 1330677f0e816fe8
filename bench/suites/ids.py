"""A case from its id, as reports and result files spell it."""

from __future__ import annotations

import re
from typing import Any

from bench.suites.cases import Case
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import OPTIMIZERS, Workload

_SHAPE = re.compile(
    r"b(?P<batch>\d+)-t(?P<timesteps>\d+)-i(?P<input_size>\d+)-h(?P<hidden_size>\d+)"
    r"(-l(?P<num_layers>\d+))?(-(?P<bidirectional>bi))?(-w(?P<window>\d+))?"
    r"(-len(?P<min_length>\d+))?(-drop(?P<dropout>[0-9.e+-]+?))?(-(?P<batch_major>bm))?"
    rf"(-(?P<optimizer>{'|'.join(OPTIMIZERS)}))?(-(?P<gradients>dwx?))?"
)
_GRADIENTS = {None: "all", "dw": "weights", "dwx": "weights+input"}

SPELLING = "backend/b32-t100-i128-h256/float32/inference/cpu"


def case_of(text: str) -> Case:
    """The case whose id this is.

    Raises ValueError, in words, for what is none.
    """
    parts = text.split("/")
    match = _SHAPE.fullmatch(parts[1]) if len(parts) == 5 else None
    if match is None:
        raise ValueError(f"{text[:200]!r} is no case's id; one is spelled {SPELLING}")
    backend, _, dtype, mode, device = parts
    sizes: dict[str, Any] = {
        key: int(value)
        for key, value in match.groupdict().items()
        if value is not None and value.isdecimal() and key != "dropout"
    }
    spec = {key: sizes.pop(key) for key in ("input_size", "hidden_size")}
    spec["num_layers"] = sizes.pop("num_layers", 1)
    work = Workload(
        **sizes,
        mode=mode,
        dropout=float(match["dropout"] or 0.0),
        batch_major=match["batch_major"] is not None,
        optimizer=match["optimizer"],
        gradients=_GRADIENTS[match["gradients"]],
    )
    case = Case(
        backend,
        LSTMSpec(**spec, bidirectional=match["bidirectional"] is not None, dtype=dtype),
        work,
        device,
    )
    if case.id != text:
        raise ValueError(f"{text[:200]!r} is no case's id; the same sizes are spelled {case.id}")
    return case
