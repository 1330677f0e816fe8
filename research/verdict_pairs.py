"""Show how far the ratios of measured pairs spread between processes.

A pair is two backends that did the same work in turn, in the same processes. ``python -m
research.verdict_pairs`` prints three things:

- how far the ratios of such pairs spread between processes, by kind of case;
- how often one process alone would have called two equal sides different;
- for how many of the pairs the promises of ``research/verdicts.md`` hold.

The numbers of ``research.noises`` come from these tables.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.case.cases import Case
from bench.cli import arguments, command_line
from bench.cli.progress import Progress, read_results
from bench.records.schema import Measurement, Results
from bench.render.table import TextTable
from bench.stats.comparison import Pairing, Verdict, verdicts
from bench.stats.intervals import ENOUGH_PROCESSES, FloatArray, process_means
from bench.stats.ratios import RunSamples, compare_all
from research.noises import normal
from research.rules import RIVAL_TRIALS, paired_means, percent, table


@dataclass(frozen=True)
class Pair:
    """A pair of backends that did the same work in turn.

    Attributes
    ----------
    case
        The case of the first backend.
    logs
        The logarithm of the ratio of their times in each process, ``[processes]``.
    seconds
        The shorter of their two times.
    """

    case: Case
    logs: FloatArray
    seconds: float

    @property
    def spread(self) -> float:
        """The standard deviation of the log ratio between processes."""
        return float(np.std(self.logs, ddof=1))


def find_pairs(results: Results) -> list[Pair]:
    """Return all pairs of cases that did the same work in turn, in 6 processes or more."""
    groups: dict[tuple[str, str, str], dict[str, list[Measurement]]] = {}
    for item in results.measurements:
        group = groups.setdefault((item.run.session, item.run.machine_id, item.case.group), {})
        group.setdefault(item.case.id, []).append(item)
    sides = [
        (cases[new], cases[base])
        for cases in groups.values()
        for new, base in itertools.combinations(cases, 2)
    ]
    compared = compare_all([(_runs(new), _runs(base)) for new, base in sides])
    return [
        Pair(
            new[0].case,
            np.array([found.new_logs[run] - found.base_logs[run] for run in found.new_logs]),
            math.exp(
                min(np.mean([*found.new_logs.values()]), np.mean([*found.base_logs.values()]))
            ),
        )
        for (new, base), found in zip(sides, compared, strict=True)
        if found.pairing is Pairing.ALTERNATING and found.processes >= ENOUGH_PROCESSES
    ]


def _runs(items: Iterable[Measurement]) -> list[RunSamples]:
    return [RunSamples.of(item) for item in items]


KINDS: dict[str, Callable[[Pair], bool]] = {
    "all": lambda pair: True,
    "inference, batch 1": lambda pair: _is(pair, "inference") and _batch(pair) == 1,
    "inference, larger batches": lambda pair: _is(pair, "inference") and _batch(pair) > 1,
    "training, batch 1": lambda pair: _is(pair, "training") and _batch(pair) == 1,
    "training, larger batches": lambda pair: _is(pair, "training") and _batch(pair) > 1,
    "truncated training": lambda pair: pair.case.kind == "truncation",
    "streams": lambda pair: pair.case.kind == "streaming",
    "the shorter step under 3 ms": lambda pair: pair.seconds < 0.003,
    "the shorter step 3 to 30 ms": lambda pair: 0.003 <= pair.seconds < 0.03,
    "the shorter step over 30 ms": lambda pair: pair.seconds >= 0.03,
}


def _is(pair: Pair, mode: str) -> bool:
    return pair.case.kind == "throughput" and pair.case.workload.mode == mode


def _batch(pair: Pair) -> int:
    return pair.case.workload.batch


def spreads(pairs: Sequence[Pair]) -> TextTable:
    """Tabulate the spreads by kind of case."""
    rows = []
    for name, belongs in KINDS.items():
        some = [pair for pair in pairs if belongs(pair)]
        if some:
            found = np.array([pair.spread for pair in some])
            quartiles = (percent(each) for each in np.quantile(found, (0.25, 0.5, 0.75, 0.9, 1)))
            alone = percent(_false_rate_of_one_process(some))
            rows.append([name, str(len(some)), *quartiles, alone])
    headings = ("pairs", "a quarter", "half", "three quarters", "nine tenths", "all", "one process")
    return table(["spread of the ratio up to, in:", *headings], rows)


def _false_rate_of_one_process(pairs: Sequence[Pair]) -> float:
    """Return how often one process alone would call equals FASTER or SLOWER."""
    # Compare each process with the mean of the other processes of its pair.
    separate = np.concatenate(
        [each.logs - (each.logs.sum() - each.logs) / (each.logs.size - 1) for each in pairs]
    )
    means = process_means(separate[:, None], Pairing.ALTERNATING.allowance, in_order=True)
    said = verdicts(*means.bounds())
    return float(np.mean(np.isin(said, [Verdict.FASTER, Verdict.SLOWER])))


def shape(pairs: Sequence[Pair]) -> str:
    """Return a line about the autocorrelation and the tails of the ratios."""
    neighbours, far = [], []
    for pair in pairs:
        separate = pair.logs - np.mean(pair.logs)
        neighbours.append(float(np.sum(separate[1:] * separate[:-1]) / np.sum(separate**2)))
        # Correct the bias that comes from subtracting the mean of the same processes.
        neighbours[-1] += 1 / pair.logs.size
        far.append(np.abs(separate).max())
    return (
        f"{len(pairs)} pairs of {ENOUGH_PROCESSES} processes or more. "
        f"Correlation of a process with the one before: {np.mean(neighbours):.2f} in the mean. "
        f"The ratio furthest from its pair's mean: {percent(math.expm1(max(far)))}."
    )


def coverage(pairs: Sequence[Pair]) -> TextTable:
    """Tabulate up to which spread an effect is found, and how many pairs spread less."""
    found = np.array([pair.spread for pair in pairs])
    rows = []
    for effect, count in ((0.05, 20), (0.10, 6)):
        for power in (0.9, 0.8, 0.7):
            most = largest_spread(effect, count, power)
            rows.append(
                [
                    f"{effect:.0%} with {count} processes, in {power:.0%}",
                    percent(most),
                    f"{np.mean(found <= most):.0%}",
                ]
            )
    return table(["an effect of:", "found up to a spread of", "pairs within"], rows)


def largest_spread(effect: float, processes: int, power: float) -> float:
    """Return the largest spread of normal noise at which the effect is found with this power."""
    low, high = 0.001, 0.5
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        found, _ = paired_means(normal(middle), processes, RIVAL_TRIALS).bounds()
        low, high = (
            (middle, high) if np.mean(found + math.log1p(effect) > 0) >= power else (low, middle)
        )
    return low


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, and return 2 if a file is bad or there is no such pair."""
    parser = arguments.make_parser(
        "verdict_pairs",
        "How far the ratios of pairs spread between processes, and what that covers.",
    )
    parser.add_argument("results", nargs="+", type=Path, help="result files, or folders of them")
    arguments.add_choice(parser, "format", ("markdown",), default="markdown")
    options = parser.parse_args(argv)
    results = read_results(options.results)
    with Progress("comparing"):
        pairs = find_pairs(results)
    if not pairs:
        text = (
            "there is no pair to compare: no two backends did the same work in turn in "
            f"{ENOUGH_PROCESSES} processes or more; give results that have such a pair"
        )
        command_line.print_errors([text])
    if results.errors or not pairs:
        return command_line.BAD_INPUT
    tables = (table.markdown(aligned=True) for table in (spreads(pairs), coverage(pairs)))
    print("\n\n".join((shape(pairs), *tables)))
    return 0


if __name__ == "__main__":
    command_line.run_and_exit(main)
