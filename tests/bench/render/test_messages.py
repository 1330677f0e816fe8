"""Test the sentences of a report against the snapshot ``tests/golden/messages.txt``.

Where sentences change on purpose: ``python -m tests.bench.render.test_messages`` writes the file
again, and the difference is what a reader of reports will notice.
"""

import ast
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from string import Formatter
from textwrap import indent
from typing import Any

import pytest

from bench.case.cases import Case
from bench.cli.output import render_text
from bench.machine.reasons import HelpfulOption, Reason
from bench.records.files import collect
from bench.records.schema import Measurement, Outcome
from bench.render import compare as compared
from bench.render import messages, published, report
from bench.render.labels import compact_verdict, versus
from bench.render.recommend import document
from bench.stats.comparison import Comparison, Heterogeneity, Pairing, Verdict
from bench.stats.intervals import Interval
from bench.verdicts import recommend
from bench.verdicts.pairs import compare_devices
from bench.verdicts.recommend import Query
from bench.verdicts.sections import Report, Section, build
from lstm_impl.workload import Workload
from tests.bench import made_nodes, made_windows
from tests.bench.compare.test_published import full_report
from tests.bench.made_environments import FAR
from tests.bench.made_environments import results as bridged
from tests.bench.made_grids import STEPS, grid
from tests.bench.made_reasons import recorded
from tests.bench.made_reports import (
    BUSY,
    INFERENCE,
    REPLICATES,
    SPEC,
    TRAINING,
    a_run,
    make_results,
    measured,
    replicated,
    without_time,
)
from tests.bench.made_results import gather
from tests.bench.made_windows import Cost
from tests.places import ROOT

FILE = ROOT / "tests" / "golden" / "messages.txt"
BATCH_4 = Workload(4, 10)
TWO = ("keras", 0.020), ("torch", 0.010)
SCENARIOS: dict[str, Callable[[], Iterable[str]]] = {}


def of(*items: Measurement | Outcome, baseline: str | None = None) -> Section:
    (section,) = build(make_results(*items), baseline=baseline).sections
    return section


def compose_messages(section: Section) -> list[str]:
    """Return all sentences of a section, warnings with a mark before them."""
    found = messages.findings(section)
    rest = [each for each in found if not each.answer]
    return ["!" * each.warning + each.text for each in (*messages.summary(found), *rest)]


def scenario(build: Callable[[], Iterable[str]]) -> None:
    name = build.__name__
    assert name not in SCENARIOS
    SCENARIOS[name] = build


def add_findings(name: str, items: Sequence[Measurement | Outcome], baseline: str = "") -> None:
    """Add a scenario of the findings over these items."""
    SCENARIOS[name] = lambda: compose_messages(of(*items, baseline=baseline or None))


def answer_to(name: str, **times: float) -> None:
    """Add a scenario of the answer for one shape, from six processes."""
    SCENARIOS[name] = lambda: messages.answer(of(*replicated(6, *times.items())))


def wild(backend: str, *seconds: float) -> list[Measurement]:
    """Return a backend whose processes differ greatly."""
    return [measured(backend, each, a_run(number)) for number, each in enumerate(seconds)]


def fed(windows: Mapping[int, float], batch: int = 2, **factors: float) -> list[Measurement]:
    """Return streams in windows, each backend slower by its factor."""
    return [
        measured(backend, factor * seconds, work=replace(TRAINING, window=window, batch=batch))
        for window, seconds in windows.items()
        for backend, factor in factors.items()
    ]


def invalid_with(item: Measurement, text: str) -> Measurement:
    return replace(item, valid=False, reasons=(recorded("busy", text, ""),))


WINDOWS = {1: 0.020, 2: 0.015, 5: 0.012, 10: 0.011}
ALL = replicated(6, *TWO, ("while_loop", 0.025))

add_findings("fastest_in_each_mode", [*ALL, *replicated(6, *TWO, work=TRAINING)])
add_findings("fastest_over_another_baseline", ALL, "while_loop")
add_findings(
    "geometric_mean_over_shapes",
    [
        *replicated(6, ("keras", 0.01), ("torch", 0.005)),
        *replicated(6, ("keras", 0.08), ("torch", 0.01), work=BATCH_4),
    ],
)
add_findings("one_process_is_not_significant", [measured("keras", 0.01), measured("torch", 0.0104)])
add_findings("same_within_two_percent", replicated(6, ("keras", 0.01), ("torch", 0.01005)))
add_findings(
    "fastest_measurement_is_invalid",
    [measured("keras", 0.01, reasons=[BUSY]), measured("torch", 0.02)],
)
add_findings(
    "fastest_lacks_a_shape",
    [
        *(measured(name, t) for name, t in (("keras", 0.02), ("scan", 0.05), ("torch", 0.01))),
        *(measured(name, t, work=BATCH_4) for name, t in (("keras", 0.02), ("scan", 0.05))),
    ],
)
add_findings(
    "no_backend_has_all_shapes", [measured("keras", 0.02), measured("torch", 0.01, work=BATCH_4)]
)
add_findings("only_one_backend", [measured("keras", 0.02)])
add_findings("only_an_approximation", [measured("torch:int8", 0.02)])
add_findings(
    "ahead_of_the_next_but_not_of_all",
    [
        *replicated(6, ("torch", 0.010), ("keras", 0.012)),
        *wild("jax", 0.008, 0.011, 0.013, 0.016, 0.019, 0.024),
    ],
)
add_findings(
    "baseline_lacks_a_shape",
    [
        *replicated(6, ("keras", 0.03), ("torch", 0.01), ("jax", 0.02)),
        *replicated(6, ("torch", 0.01), ("jax", 0.02), work=BATCH_4),
    ],
)
add_findings(
    "others_lead_at_some_shapes",
    [
        item
        for batch in (1, 2, 3)
        for item in replicated(
            6, ("keras", 2.0), ("scan", 1.0 if batch < 3 else 3.0), work=Workload(batch, 20)
        )
    ],
)
add_findings(
    "leader_was_measured_at_one_window",
    [*fed({2: 0.01, 5: 0.01}, torch=1), *fed({10: 0.01}, keras=1)],
)
add_findings(
    "modes_and_devices",
    [
        measured(backend, t, work=work, device=device)
        for work in (INFERENCE, TRAINING)
        for device in ("cpu", "gpu:0")
        for backend, t in (("keras", 0.02), ("scan", 0.01))
    ],
)
add_findings("nothing_was_measured", [without_time("cudnn")])
add_findings(
    "no_time_for_one_reason",
    [
        measured("keras", 0.01),
        *(
            without_time(backend, work=Workload(batch, 10), advice="add one")
            for backend in ("keras", "cudnn")
            for batch in range(1, 51)
        ),
    ],
)
add_findings(
    "failures_by_backend_and_gravity",
    [
        measured("keras", 0.01),
        *(without_time(n, "failed", f"{n} is wrong", device="cpu") for n in ("bad", "worse")),
        without_time("bad", "failed", "other", device="cpu", work=TRAINING),
        without_time("late", "timed_out", "it took 9 s", device="cpu", advice="give it more"),
        without_time("gone", "crashed", "", device="cpu"),
    ],
)
add_findings(
    "many_failures_are_cut",
    [measured("keras", 0.01), *(without_time(f"b{n}", "crashed", f"{n}") for n in range(30))],
)
add_findings("run_did_not_finish", [measured("keras", 0.01, a_run(complete=False))])
add_findings(
    "warnings_of_backends",
    [
        replace(measured("keras", 0.1), remarks=tuple(f"warning {n}" for n in range(6))),
        replace(measured("torch", 0.2), remarks=("warning 0",)),
    ],
)


@scenario
def invalid_in_some_processes() -> list[str]:
    items = replicated(6, ("keras", 0.010), ("torch", 0.012))
    for place, text in ((0, "it was busy"), (2, "it was busy"), (5, "others were loud")):
        items[place] = invalid_with(items[place], text)
    first = compose_messages(of(*items))
    items[7] = invalid_with(items[7], "others were loud")
    return [*first, "with one more:", *compose_messages(of(*items))]


@scenario
def unreliable_answer() -> list[str]:
    return messages.answer(of(measured("keras", 2e-3), measured("scan", 1e-3, reasons=[BUSY])))


answer_to("answer_with_the_next", keras=2e-3, while_loop=1e-3, scan=1.25e-3)
answer_to("answer_is_the_baseline", keras=1e-3, while_loop=1.5e-3)
answer_to("answer_is_not_significant", keras=2e-3, while_loop=1e-3, torch=1.001e-3)
answer_to("answer_of_another_framework", keras=2e-3, while_loop=1e-3, torch=0.5e-3)
answer_to("answer_of_another_framework_than_the_baseline", keras=2e-3, torch=0.5e-3)
answer_to("answer_of_an_unknown_package", keras=2e-3, of_another_package=0.5e-3)
answer_to("answer_of_one_backend", torch=1e-3)
answer_to("answer_beside_an_approximation", **{"torch": 2.0, "scan": 3.0, "torch:int8": 1.0})


@scenario
def fallback_and_its_cost() -> list[str]:
    def items(reasons: Sequence[Reason]) -> list[Measurement]:
        slow = [measured("keras_torch", 0.05, a_run(n), reasons=reasons) for n in range(6)]
        looped = [replace(each, evidence={"fallback": "a Python\nloop\x1b"}) for each in slow]
        return [*replicated(6, ("torch", 0.001)), *looped]

    return [
        each
        for reasons in ((), (BUSY,))
        for each in compose_messages(of(*items(reasons), baseline="torch"))
        if " ran " in each
    ]


@scenario
def methods() -> list[str]:
    streams = measured("keras", 0.02, work=replace(TRAINING, window=5))
    memory = measured("torch", 0.02, memory={"peak_bytes": 1.0})
    return [
        line
        for items in (
            [measured("keras", 0.01), memory, streams],
            replicated(3, *TWO),
            replicated(6, *TWO),
            [without_time("keras")],
        )
        for line in ("--", *messages.method(of(*items)))
    ]


@scenario
def bridges() -> list[str]:
    return [
        line
        for far in (FAR, 0.0)
        for (section,) in [build(bridged(far, 1.1), baseline="b").sections]
        for line in (
            *messages.heterogeneous_references(section.rows),
            *messages.over_references(section.rows),
        )
    ]


FIVE = {"a": 0.01, "b": -0.02, "c": 0.0, "d": 0.02, "e": -0.01}
TIMES = {
    made_nodes.a_case(name, batch): 1.0 for name in ("keras", "while_loop") for batch in (1, 2, 4)
}


def add_fleet(name: str, luck: Mapping[str, float], times: Mapping[Case, float] = TIMES) -> None:
    """Add a scenario over several machines of one kind, six processes each."""

    def lines() -> list[str]:
        (section,) = build(made_nodes.results(*made_nodes.fleet(luck, times))).sections
        nodes = [each for each in compose_messages(section) if "ode" in each or "INVALID" in each]
        return [*nodes, *answer_lines(section), *messages.assumptions(section.rows)]

    SCENARIOS[name] = lines


def answer_lines(section: Section) -> list[str]:
    one = [row for row in section.rows if row.case.group == section.rows[0].case.group]
    return messages.answer(
        replace(section, rows=tuple(sorted(one, key=lambda row: row.rank or 99)))
    )


add_fleet("nodes_alike", FIVE)
add_fleet("node_is_slower", FIVE | {"bad": math.log(1.5)})
add_fleet("node_is_faster", FIVE | {"bad": -0.5})


@scenario
def node_differs_in_one_backend() -> list[str]:
    more = {made_nodes.a_case("scan", batch): 1.0 for batch in (1, 2, 4)}
    luck = {str(place): 0.0 for place in range(8)}
    items = made_nodes.fleet(luck, TIMES | more, moved={("3", "scan"): 0.5})
    (section,) = build(made_nodes.results(*items)).sections
    return [each for each in compose_messages(section) if "Node 3" in each]


@scenario
def node_is_invalid() -> list[str]:
    items = made_nodes.fleet({"a": 0.0, "b": 0.0}, TIMES, invalid=["b"])
    (section,) = build(made_nodes.results(*items)).sections
    return compose_messages(section)


def ratio(
    verdict: Verdict = Verdict.UNCLEAR, mid: float = 1.0, by: float = 1.1, **facts: Any
) -> Comparison:
    return Comparison(
        Interval(mid / by, mid, mid * by, 0.995),
        *(verdict, 6, Pairing.ALTERNATING, None, Reason(""), math.log(mid), 0.01, 5.0),
        **facts,
    )


def bridge(mid: float = 0.88, new: str = "a") -> Heterogeneity:
    return Heterogeneity("third", new, "b", 10, ratio(mid=mid, by=1.01))


@scenario
def verdicts_in_short() -> list[str]:
    # More processes do not make a reference homogeneous, so the spread is not the reason there.
    known: list[dict[str, Any]] = [
        *({}, {"between": 0.03}),
        *({"heterogeneity": bridge()}, {"heterogeneity": bridge(1.0)}),
    ]
    found = [ratio(Verdict.FASTER, spread=0.06), ratio(), *(ratio(spread=0.06, **k) for k in known)]
    faster = ratio(Verdict.FASTER, mid=1 / 1.6)
    return [*map(compact_verdict, found), versus(faster, "ke\x1bras", ", the next")]


@scenario
def unclear_ratios() -> list[str]:
    spreads = ([0.06], [0.09, 0.03, 0.05], [0.5])
    nodes = ((0.01, 0.03), (None, None), (0.1, None), (None, 0.1))
    groups: list[Sequence[Comparison | None]] = [
        *([ratio(spread=each) for each in spread] for spread in spreads),
        *([ratio(spread=own, between=apart, nodes=3), ratio(Verdict.SAME)] for apart, own in nodes),
        [None, ratio(Verdict.SAME, spread=0.06), ratio(Verdict.SLOWER)],
        [ratio(spread=0.06, heterogeneity=bridge())],
    ]
    return [line for group in groups for line in ("--", *messages.unclear(group))]


@scenario
def heterogeneous_references_are_named_once() -> list[str]:
    there, hostile = bridge(), bridge(new="\x1b[31m")
    found = (there, there, there.inverse, bridge(1.0), bridge(0.7), hostile)
    return messages.heterogeneous([None, ratio(), *(ratio(heterogeneity=each) for each in found)])


QUERY = Query(14, 64, 256)
TIED = {"keras": Cost(1e-3, 1e-4), "while_loop": Cost(1e-3, 1.005e-4)}


def recommended(
    name: str,
    query: Query = QUERY,
    costs: Mapping[str, Cost] = made_windows.COSTS,
    learned: Mapping[int, int] | None = None,
    **facts: Any,
) -> None:
    """Add a scenario of a recommendation. learned: distances by window; facts: of the windows."""

    def lines() -> list[str]:
        by_window = None if learned is None else made_windows.make_learned_map(learned)
        with tempfile.TemporaryDirectory() as folder:
            paths = made_windows.write_windows(Path(folder), costs, **{"noise": 0.0, **facts})
            found = recommend.answer(query, made_windows.read_places(paths), by_window)
        shown = document(query, found, by_window, ["the command"])
        return list(filter(None, render_text(shown.terminal, 1000).splitlines()))

    SCENARIOS[name] = lines


recommended("recommendation_without_a_map")
recommended("recommendation_by_a_map", learned={10: 8, 15: 20, 30: 50})
recommended("recommendation_beyond_the_map", Query(40, 64, 256), learned={10: 8, 30: 20})
recommended("recommendation_of_a_near_shape", batch=96, valid=False, memory=False)
recommended("recommendation_from_one_process", processes=1, valid=False)
recommended("recommendation_of_equal_backends", costs=TIED, noise=1e-4)
recommended("recommendation_of_unclear_backends", costs=TIED, noise=0.1)
recommended("recommendation_of_the_only_backend", costs={"keras": TIED["keras"]})
recommended("recommendation_within_short_sequences", Query(14, 64, 256, steps=25))
recommended("recommendation_where_no_shape_is_near", batch=8, processes=1)
recommended(
    "recommendation_for_inference",
    Query(0, 64, 256, steps=58, mode="inference"),
    learned={30: 20},
    windows=(None,),
    timesteps=60,
    mode="inference",
    optimizer=None,
)


def layout(name: str, text: Callable[[], str]) -> None:
    SCENARIOS[name] = lambda: indent(text(), "  ").splitlines()


@cache
def two_processes() -> Report:
    return build(collect(REPLICATES))


layout("full_report", lambda: report.markdown(two_processes()))
layout("brief_report", lambda: report.markdown(two_processes(), report.brief))
layout("report_of_the_fastest", lambda: report.markdown(two_processes(), report.fastest))
layout("report_of_whys", lambda: report.markdown(bound_cases(), report.whys))
layout("published_times", lambda: published.document(full_report()).markdown())
layout(
    "map_of_two_devices",
    lambda: compared.document(compare_devices(gather(*grid(STEPS)))).markdown(),
)


def bound_cases() -> Report:
    roofs = {"chain": {"of_chain": 0.7}, "products": {"of_matmul": 0.9}, "none": {"of_matmul": 0.1}}
    items = [measured(name, 1.0, roofs=each) for name, each in roofs.items()]
    return build(make_results(*items, without_time("cudnn", "refused")))


def written() -> dict[str, list[str]]:
    """Return the lines of each scenario in the snapshot."""
    found: dict[str, list[str]] = {}
    for block in FILE.read_text(encoding="utf-8").split("\n## ")[1:]:
        name, *lines = block.strip("\n").split("\n")
        found[name] = lines
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_messages_of_a_scenario_equal_the_snapshot(name: str) -> None:
    lines = list(SCENARIOS[name]())
    assert all("\n" not in line and line.isprintable() for line in lines)
    assert lines == written()[name]


def test_snapshot_has_exactly_the_scenarios() -> None:
    assert list(written()) == list(SCENARIOS)
    assert SPEC.hidden_size == 4


# Reasons


def list_recorded_reasons() -> Iterator[tuple[str, set[str] | None]]:
    """Yield the code of each reason in the source, and the names of its values if they are there.

    Codes that are composed have no names here.
    """
    for path in (ROOT / "bench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Reason":
                code, values = (*node.args, ast.Dict([], []))[:2]
                keys = values.keys if isinstance(values, ast.Dict) else [None]
                names = {str(each.value) for each in keys if isinstance(each, ast.Constant)}
                if isinstance(code, ast.Constant):
                    yield str(code.value), None if None in keys else names


def test_reason_codes_have_sentences_of_their_values() -> None:
    found = [each for each in list_recorded_reasons() if each[0] in messages.SENTENCES]
    assert len(found) > 40
    for code, names in found:
        for form in (messages.SENTENCES[code], messages.ADVICE.get(code, "")):
            wanted = {name for _, name, _, _ in Formatter().parse(form) if name}
            added = {"gpu", *(f"option_{each.value}" for each in HelpfulOption)}
            assert names is None or wanted - added <= names, code


@pytest.mark.parametrize("values", [{}, {"others": "many"}, {"others": 1e999}, {"others": [1]}])
def test_reason_of_a_file_with_unfit_values_has_its_own_texts(values: dict[str, object]) -> None:
    for code in ("busy", "of_a_later_version"):
        reason = recorded(code, "others kept 1 of 2 busy", "close them", values)
        assert messages.reason_texts(reason) == ("others kept 1 of 2 busy", "close them")


def test_reason_of_an_older_file_has_the_sentence_of_its_values() -> None:
    values = {"others": 1.25, "processors": 2, "busiest": "mail 90%"}
    text = "others kept 1.2 of 2 processors busy (mail 90%)"
    assert messages.reason_texts(Reason("busy", values))[0] == text
    assert messages.reason_texts(recorded("busy", "an older sentence", "", values))[0] == text


if __name__ == "__main__":
    blocks = ["\n".join([f"\n## {name}", *build_()]) for name, build_ in SCENARIOS.items()]
    FILE.write_text("Sentences of a report, by situation.\n" + "\n".join(blocks) + "\n", "utf-8")
