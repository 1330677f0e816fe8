"""What ``bench.recommend --lengths`` is asked, and its answer: a decision and what was weighed."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from bench.batching import advice
from bench.batching.advice import SIMPLER, Advice, Advised, NoAdvice, Question, differences
from bench.batching.lengths import source
from bench.cli.command_line import UsageError
from bench.cli.output import Told
from bench.render.labels import heading, name
from bench.render.messages import with_range
from bench.render.quantities import count, listed, seconds
from bench.render.table import Column, Sheet, json_text, numbers
from bench.windows.asked import AtHand, at_hand, sections

DRAWN = 10_000
"""Sequences that are drawn where a distribution is named: shares of them are known to a percent."""

MOST_SHOWN = 8
"""Policies in the table: the cheapest, and both ways of padding whatever they cost."""


def recommend(options: argparse.Namespace) -> tuple[AtHand, bool]:
    """Advise how to batch sequences of one's own lengths; what was at hand, if it could."""
    given = source(options.lengths)
    if options.dependency is not None or options.steps is not None or options.write_suite:
        raise UsageError(
            "--lengths is a question of its own: without --dependency, --steps, --write-suite"
        )
    question = Question(
        given.draw(DRAWN, 0) if given.known is None else given.known,
        options.batch,
        options.hidden,
        options.input,
        options.device,
        options.mode,
        options.dtype,
        options.layers,
        options.passes,
    )
    there = at_hand(options.paths)
    found = advice.advise(question, sections(there, options))
    size = question.input_size or question.hidden_size
    measures = ["python", "-m", "bench.lengths", options.lengths, "--batch", str(question.batch)]
    measures += ["--hidden", str(question.hidden_size), "--input", str(size)]
    command = shlex.join([*measures, "--mode", question.mode])
    told(found, command).deliver(options, json=lambda: json_text(as_data(found, command)))
    return there, not isinstance(found, NoAdvice)


def told(found: Advice | NoAdvice, command: str) -> Told:
    """All of it. command: that measures it."""
    if isinstance(found, NoAdvice):
        return Told((f"Nothing to go by: {found.reason}.", f"Measure it: {command}"), (), ())
    first, question = found.backends[0], found.question
    return Told(
        (_decision(first, question), _bound(first)),
        (
            (f"Policies of {name(first.recorded.backend)}", _policies(first, question)),
            ("Each backend's policy", _backends(found)),
        ),
        (*_grounds(found), f"Modelled from recorded cases, not measured. Measure it: {command}"),
    )


def _decision(first: Advised, question: Question) -> str:
    best, line = first.best, first.recorded.line
    cost = best.cost(line, question.passes)
    whole = next(plan for plan in first.plans if plan.shapes == 1 and not plan.edges)
    edges = [f"{each:,}" for each in best.edges]
    where = f", up to {listed(edges, 16)} timesteps" if edges else ""
    passes = (
        f"{count(question.passes, 'pass')} over {count(int(question.lengths.size), 'sequence')}"
    )
    gain = whole.cost(line, question.passes) / cost if cost > 0 else 1.0
    return (
        f"{name(first.recorded.backend)}, {best.name}{where}: {seconds(cost)} for {passes}, "
        f"{gain:.3g} times as fast as padding all to the longest; {best.padding:.0%} of what it "
        f"computes is padding, and it has {count(best.shapes, 'shape')}."
    )


def _bound(first: Advised) -> str:
    if first.regret is None:
        return "No process measured every length, so that there is no bound of what it can lose."
    return (
        "By the bounds of the recorded times it costs at most "
        f"{100 * first.regret:.2g}% more than the best policy of this backend; of those within "
        f"{SIMPLER:.0%} of the cheapest it has the fewest shapes."
    )


def _policies(first: Advised, question: Question) -> Sheet:
    shown = list(first.plans[:MOST_SHOWN])
    shown += [plan for plan in first.plans[MOST_SHOWN:] if not plan.edges]
    line = first.recorded.line
    return Sheet.of(
        [
            Column("policy"),
            *numbers("batches", "shapes", "padding", count(question.passes, "pass")),
            *numbers("of it new shapes", "a batch later"),
        ],
        [
            [
                plan.name,
                f"{plan.count:,}",
                f"{plan.shapes:,}",
                f"{plan.padding:.0%}",
                seconds(plan.cost(line, question.passes)),
                seconds(line.shape * plan.shapes) if line.shape else "",
                seconds(plan.steady(line) / plan.count),
            ]
            for plan in shown
        ],
    )


def _backends(found: Advice) -> Sheet:
    return Sheet.of(
        [
            Column("backend", names=True),
            Column("its policy"),
            *numbers(count(found.question.passes, "pass"), "at most more"),
            *map(Column, ("a batch", "a timestep")),
            *numbers("a new shape"),
        ],
        [_backend(each, found.question) for each in found.backends],
    )


def _backend(each: Advised, question: Question) -> Sequence[str]:
    known = each.recorded
    fit, line = known.fit, known.line
    return [
        known.backend,
        each.best.name,
        seconds(each.best.cost(line, question.passes)),
        "" if each.regret is None else f"{100 * each.regret:.2g}%",
        with_range(fit.line.fixed, fit.fixed),
        with_range(fit.line.per_timestep, fit.per_timestep),
        seconds(line.shape) if known.anew else "none",
    ]


def _grounds(found: Advice) -> list[str]:
    """Where the numbers are from, and what is not the same as what was asked for."""
    row = found.backends[0].recorded.rows[0]
    spec, work, question = row.case.spec, row.case.workload, found.question
    steps = sorted({each for known in found.backends for each in known.recorded.timesteps})
    sizes = f"batch {work.batch}, {spec.input_size} in, {spec.hidden_size} hidden"
    lines = [
        f"From {heading(found.section)}: {sizes}, {listed(list(map(str, steps)))} timesteps; a "
        "batch is taken to cost a fixed time and one of each timestep, whole sequences without a "
        "mask, and each new number of timesteps the tracing and compiling that were recorded."
    ]
    other = [
        f"{what} {want} was asked, {have} measured"
        for what, have, want in differences(question, row)
    ]
    if other:
        lines.append(f"A near shape: {'; '.join(other)}.")
    if (most := int(question.lengths.max())) > steps[-1]:
        lines.append(f"Lengths of up to {most:,} lie beyond those that were measured.")
    return lines


def as_data(found: Advice | NoAdvice, command: str) -> dict[str, object]:
    """The same for other programs: seconds are never scaled."""
    if isinstance(found, NoAdvice):
        return {"answered": False, "reason": found.reason, "command": command}
    return {
        "answered": True,
        "modelled": True,
        "command": command,
        "passes": found.question.passes,
        "backends": [
            {
                "backend": each.recorded.backend,
                "regret_at_most": each.regret,
                "fixed_s": each.recorded.line.fixed,
                "per_timestep_s": each.recorded.line.per_timestep,
                "new_shape_s": each.recorded.line.shape,
                "policies": [
                    {
                        "policy": plan.name,
                        "edges": list(plan.edges),
                        "batches": plan.count,
                        "shapes": plan.shapes,
                        "padding": plan.padding,
                        "cost_s": plan.cost(each.recorded.line, found.question.passes),
                        "steady_s": plan.steady(each.recorded.line),
                    }
                    for plan in each.plans
                ],
            }
            for each in found.backends
        ],
    }
