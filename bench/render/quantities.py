"""Format times, rates, ratios, sizes and shapes for people."""

import math
from collections.abc import Sequence

from bench.case.cases import Case
from bench.stats.intervals import Interval, speed
from lstm_impl.cell import DEFAULT

_SECONDS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
_BYTES = (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("B", 1.0))


def scale(value: float, units: Sequence[tuple[str, float]] = _SECONDS) -> tuple[float, str]:
    """Return the size and the name of the unit in which a value is easy to read."""
    # A value that rounds up to 1.00 of the larger unit is shown in that unit.
    found = (each for each in units if abs(value) >= 0.9995 * each[1])
    unit, size = next(found, units[-1])
    return size, unit


def seconds(value: float) -> str:
    """Format a time with three digits and its unit."""
    unit_size, unit = scale(value)
    return f"{_digits(value / unit_size)} {unit}"


def seconds_range(low: float, high: float, like: float) -> str:
    """Format two times in the unit in which ``seconds`` shows ``like``."""
    unit_size, _ = scale(like)
    return f"{_digits(low / unit_size)}–{_digits(high / unit_size)}"


def rate(value: float) -> str:
    """Format a number per second with three digits: 2,690 or 269k or 1.2M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= 0.9995 * size:
            return f"{_digits(value / (1e3 if unit == 'k' else size))}{unit}"
    return f"{float(_digits(value)):,g}" if value >= 999.5 else _digits(value)


def ratio(value: float, places: int = 2) -> str:
    """Format a ratio so that a difference of 2% can be seen, or of 0.2% with 3 places.

    A bound beyond a million counts as unknown, and its reciprocal counts as unknown too.
    """
    if not 1e-6 < value < 1e6:
        return "∞" if value > 1 else "0"
    if value >= 999.5:
        return _digits(value)  # 1220, not 1.22e+03.
    return f"{value:.3g}" if value >= 10 or value < 0.1 else f"{value:.{places}f}"


def bounds(low: float, high: float, places: int = 2) -> str:
    """Format the interval of a ratio."""
    return f"{ratio(low, places)}–{ratio(high, places)}"


def times_as_fast(time_ratio: float, places: int = 2) -> str:
    """Format a ratio of times as a speedup: 2.40, 0.77."""
    return ratio(speed(time_ratio), places)


def times_bounds(low: float, high: float, places: int = 2) -> str:
    """Format the bounds of a ratio of times as those of the speedup."""
    return bounds(speed(high), speed(low), places)


def percent(part: float) -> str:
    """Format a percentage: 6%; below 1% with one digit."""
    return f"{100 * part:.0f}%" if part >= 0.0095 else f"{100 * part:.1g}%"


def count(number: int, noun: str) -> str:
    """Format a number with its noun: 1 case, 2 cases; 1 process, 2 processes."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def format_part(part: int, total: int, noun: str) -> str:
    """Format how many of a total there are: ``2 ratios of 4``, or ``4 ratios`` if it is all."""
    return count(part, noun) + (f" of {total:,}" if part < total else "")


def shorten(texts: Sequence[str], most: int, more: str = "{} more") -> list[str]:
    """Return the first texts, followed by how many more there are."""
    left = len(texts) - most
    return [*texts[:most], *([more.format(left)] if left > 0 else [])]


def join_names(names: list[str], most: int = 6, *, word: str = "and") -> str:
    """Join names as ``a, b and c``.

    Of a long list, give the first few and how many more there are.

    ``word`` stands before the last name: ``and`` or ``or``.
    """
    names = shorten(names, most)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


GRADIENT_TEXTS = {
    "weights": "gradients of weights",
    "weights+input": "gradients of weights, input",
    "all": "gradients of weights, input, state",
}


def shape_texts(case: Case) -> list[str]:
    """Describe the shape of a case in short texts, without its window and dtype.

    For example ``batch 32 × 100 timesteps`` and ``128 in, 256 hidden``, then what is not the
    default.
    """
    spec, work = case.spec, case.workload
    lines = [
        f"batch {work.batch} × {count(work.timesteps, 'timestep')}",
        f"{spec.input_size} in, {spec.hidden_size} hidden",
    ]
    extra = [f"{spec.num_layers} layers"] if spec.num_layers > 1 else []
    extra += unusual(case)
    if work.optimizer is not None:
        extra.append(f"{work.optimizer} updates")
    if work.training:
        extra.append(GRADIENT_TEXTS[work.gradients])
    if work.streaming:
        extra.append(period_text(work.period))
    return [*lines, *extra]


def unusual(case: Case) -> list[str]:
    """Return the unusual properties of a case, except sizes, optimizer and gradients."""
    work = case.workload
    by_name = {
        case.spec.cell.name: case.spec.cell != DEFAULT,
        "bidirectional": case.spec.bidirectional,
        f"lengths from {work.min_length}": work.min_length is not None,
        f"dropout {work.dropout:g}": work.dropout,
        f"resets at {100 * work.reset_rate:.3g}% of the timesteps": work.reset_rate,
        "resets to the initial state": work.reset_to != "zeros",
        "batch-major": work.batch_major,
    }
    return [words for words, is_so in by_name.items() if is_so]


def period_text(period: float | None) -> str:
    """Return how a stream is called: ``a call every 10 ms`` or ``calls back to back``."""
    if period is None:
        return "calls back to back"
    unit_size, unit = scale(period)
    return f"a call every {period / unit_size:g} {unit}"


def _digits(value: float) -> str:
    if math.isinf(value) or value == 0:
        return "∞" if value else "0"
    if abs(value) >= 999.5:
        return f"{value:.0f}" if abs(value) < 1e7 else f"{value:.3g}"
    return f"{value:#.3g}".rstrip(".")


def size(value: float) -> str:
    """Format bytes with three digits: 12.3 KiB, −1.20 MiB."""
    unit_size, unit = scale(value, _BYTES)
    return f"{_digits(value / unit_size)} {unit}".replace("-", "−")


def size_range(interval: Interval) -> str:
    """Format the bounds of a number of bytes in the unit of its middle."""
    unit_size, _ = scale(interval.mid, _BYTES)
    low, high = (_digits(each / unit_size) for each in (interval.low, interval.high))
    return f"{low}–{high}".replace("-", "−")
