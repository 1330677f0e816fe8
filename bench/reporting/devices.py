"""Which device is faster, in a sentence: each with its fastest backend on the shapes they share.

For devices of one machine in one session; ``bench.compare devices`` also compares machines, and has
the map of where one starts to win. This room knows a section's tables and makes plain strings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bench.judging.comparison import Comparison
from bench.judging.ratios import compare_all, together
from bench.judging.rows import Row, Section
from bench.judging.verdict import Verdict
from bench.reporting.streams import unpaired
from bench.telling.headings import name
from bench.telling.quantities import count, listed, of_them, times_as, times_bounds
from bench.telling.verdict_words import verdict_words

_MOST = 6
"""More sentences than this are a wall."""


def sentences(section: Section) -> list[str]:
    """A sentence for each device but the first, in each mode, over the work both measured.

    ``gpu:0 or cpu, inference: gpu:0 is 5.20 times as fast as cpu (4.91–5.47, FASTER) over 6 shapes,
    each with its fastest backend there (cudnn, keras)``
    """
    kinds: dict[tuple[str, str, str], dict[str, dict[str, Row]]] = {}
    for table in section.tables:
        key = table.kind, table.noun, table.mode
        fastest = kinds.setdefault(key, {}).setdefault(table.device, {})
        for group in table.groups:
            timed = [row for row in group if row.measured]
            best = min(timed, key=lambda row: (bool(row.validity.unpaired), row.time))
            fastest[best.case.on("any").group] = best
    found = [
        _sentence(f"{name(new)} or {name(base)}, {_what(noun, mode)}", base, new, noun, pairs)
        for (_, noun, mode), devices in kinds.items()
        for base, new, pairs in _pairs(devices)
    ]
    more = len(found) - _MOST
    if more > 0:
        told = f"And {count(more, 'more pair')} of devices: python -m bench.compare devices."
        found = [*found[:_MOST], told]
    return found


_Pairs = Sequence[tuple[Row, Row]]  # the new device's fastest and the base's, of the same work


def _pairs(devices: Mapping[str, Mapping[str, Row]]) -> list[tuple[str, str, _Pairs]]:
    """Each device against the first, if they share work; (base, new, pairs)."""
    found: list[tuple[str, str, _Pairs]] = []
    base, *others = devices
    for new in others:
        shared = [
            (devices[new][work], row) for work, row in devices[base].items() if work in devices[new]
        ]
        if shared:
            found.append((base, new, shared))
    return found


def _sentence(start: str, base: str, new: str, noun: str, pairs: _Pairs) -> str:
    # Devices are never measured in turn: rounds of theirs are no pairs.
    ratios = compare_all([(unpaired(one), unpaired(other)) for one, other in pairs])
    over = f" over {count(len(pairs), noun)}" if len(pairs) > 1 else ""
    who = " and ".join(_backends([pair[side] for pair in pairs]) for side in (0, 1))
    lead = _lead(together(ratios), base, new)
    told = f"{start}: {lead}{over}, each with its fastest backend ({who})."
    doubtful = sum(bool(row.validity.unpaired) for pair in pairs for row in pair)
    if doubtful:
        told += f" Do not rely on it: {of_them(doubtful, 2 * len(pairs), 'measurement')} INVALID."
    verdicts = Counter(ratio.verdict for ratio in ratios)
    if len(verdicts) > 1:
        parts = [f"{verdicts[each]} {each}" for each in Verdict if verdicts[each]]
        told += (
            f" By {noun}, {name(new)} is: {listed(parts)}; python -m bench.compare devices says "
            "where."
        )
    return told


def _lead(found: Comparison, base: str, new: str) -> str:
    ratio = found.ratio
    told = f"{name(new)} is {times_as(ratio.mid)} as {name(base)}"
    return f"{told} ({times_bounds(ratio.low, ratio.high)}, {verdict_words(found)})"


def _backends(rows: Sequence[Row]) -> str:
    names = Counter(row.case.backend for row in rows)
    told = [name(backend) for backend, _ in names.most_common()]
    more = " or others" if len(told) > 3 else ""
    return f"{' or '.join(told[:3])}{more} on {name(rows[0].case.device)}"


def _what(noun: str, mode: str) -> str:
    return f"{mode} in windows" if noun == "window" else mode
