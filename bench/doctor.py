"""Say which backends run on which devices of this machine: ``python -m bench.doctor``.

The command works without any framework.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata

from rich.console import Console
from rich.text import Text

from bench.cli import arguments, command_line, output
from bench.machine import devices, disturbance, environment
from bench.machine.disturbance import activity
from bench.machine.environment import Environment
from bench.machine.reasons import NO_REASON, Reason
from bench.machine.survey import REFERENCE, Ask, Survey, survey
from bench.render.escape import clean, hanging
from bench.render.messages import reason_texts
from bench.render.quantities import count
from bench.render.table import Column, TableCell, TextTable
from bench.worker.disturbances import findings
from lstm_impl import Availability, UnsupportedError
from lstm_impl.backends.fused_cpu.c_interface import (
    TYPES,
    KernelLayer,
    Kernels,
    get_available_kernels,
)
from lstm_impl.backends.fused_cpu.prebuilt import cpu_flags

SCHEMA = 1
FORMATS = ("terminal", "json")
EPILOG = """\
exit codes:
  0  some backend other than the NumPy reference can run on every requested device, or, if no
     device was requested, on at least one
  1  no backend can; the output says what to install
  2  bad input: a wrong option, or a backend or device that does not exist

The command starts each framework, which takes about 10 seconds for TensorFlow. It measures nothing
and changes nothing.
"""

INSTALL_RAY = "pip install 'lstm-benchmark-suite[ray]' to measure on many machines"

LISTEN = 1.0
"""How long the machine is observed, in seconds. Counters that tick every 10 ms need about a second.
"""


Choices = tuple[tuple[str, str], ...]
"""Pairs of a CPU flag and what such a CPU does. The first pair whose flag the CPU has applies. An
empty flag applies to every CPU.
"""

_BFLOAT16: Choices = (("amx_bf16", "native"), ("avx512_bf16", "native"), ("bf16", "native"))
_FLOAT16: Choices = (("avx512_fp16", "native"), ("asimdhp", "native"))
_VNNI: Choices = (("avx512_vnni", "native"), ("avx_vnni", "native"))
_INT8: Choices = (("amx_int8", "native"), *_VNNI, ("i8mm", "native"), ("asimddp", "native"))
_EMULATED: Choices = (("", "emulated"),)
_REFERENCE: Choices = (("avx512bw", "emulated by oneDNN's reference"),)
_STEPS: Choices = (("", "emulated step by step"),)
_CRASHES: Choices = (("", "crashes: RuntimeError"),)
_UNTRIED: Choices = (("asimd", "not tried on aarch64"),)

PRECISIONS: Mapping[str, tuple[Choices, Choices]] = {
    "float32": ((("", "native"),), (("", "native"),)),
    "bf16x3": ((("amx_bf16", "native"), ("", "as float32")), (("", "not offered"),)),
    "bf32": (_BFLOAT16 + _EMULATED, (("amx_bf16", "native"), ("", "as float32"))),
    "bfloat16": (_BFLOAT16 + _EMULATED, _BFLOAT16 + _REFERENCE + _STEPS),
    "mixed_bfloat16": (_BFLOAT16 + _EMULATED, _BFLOAT16 + _REFERENCE + _CRASHES),
    "float16": (_FLOAT16 + _EMULATED, _FLOAT16 + _STEPS),
    "mixed_float16": (_FLOAT16 + _EMULATED, _FLOAT16 + _CRASHES),
    "int8": (_INT8 + _EMULATED, (("", "by FBGEMM or oneDNN"),)),
}
"""The instructions with which a CPU multiplies each precision, and what PyTorch's LSTM does with
them. We observed the entries with PyTorch 2.13 on a CPU with AVX512-BF16, with oneDNN limited to
older instructions, and for bfloat16 on a CPU with AMX.
"""


def describe_precisions(flags: Collection[str], kernels: Kernels | None) -> dict[str, list[str]]:
    """Return for each precision what this CPU, our kernels and PyTorch's LSTM do.

    The result is empty on a system that does not name the CPU's flags.
    """

    def chosen(choices: Choices) -> str:
        flag, word = next(each for each in choices if not each[0] or each[0] in flags)
        return f"{word} ({flag})" if flag else word

    def kernels_use(name: str) -> str:
        if (kind := TYPES.get(name)) is None:
            return "refused"
        if kernels is None:
            return "not compiled yet: python -m lstm_impl.build"
        sizes = ((100, batch, 512, 512, False, False, kind) for batch in (1, 32))
        one, many = (kernels.products(KernelLayer(*each)) for each in sizes)
        return many if one == many else f"{many}; of one sequence: {one}"

    rows = PRECISIONS.items() if flags else ()
    return {
        name: [chosen(cpu), kernels_use(name), chosen(_UNTRIED + torch)]
        for name, (cpu, torch) in rows
    }


@dataclass(frozen=True)
class Diagnosis:
    """Hold what was found on this machine.

    ray: the version of Ray, or None without Ray. precisions: the result of ``precisions``.
    """

    survey: Survey
    environment: Environment
    findings: tuple[Reason, ...]
    ray: str | None = None
    precisions: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return plain data, as ``--format json`` prints it."""
        return {
            "schema": SCHEMA,
            "devices": {
                name: reason_texts(devices.explain_missing(name) or NO_REASON)[0]
                for name in self.survey.devices
            },
            "frameworks": dict(self.survey.frameworks),
            "backends": [
                {
                    "name": entry.name,
                    "framework": entry.framework,
                    "summary": entry.summary,
                    "devices": {
                        name: {"available": on.ok, "reason": on.reason, "install": on.install}
                        for name, on in entry.on.items()
                    },
                }
                for entry in self.survey.entries
            ],
            "problems": list(self.survey.problems),
            "precisions": self.precisions,
            "ray": self.ray,
            "findings": [
                {"code": each.code, "text": text, "advice": advice}
                for each in self.findings
                for text, advice in [reason_texts(each)]
            ],
            "environment": self.environment.to_dict(),
        }


def diagnose(
    names: Sequence[str], backends: Sequence[str] | None = None, ask: Ask | None = None
) -> Diagnosis:
    """Find out what can run on this machine, and what would disturb a measurement.

    names: the names of the devices, such as ``cpu``. backends: the names of the backends, or None
    for all. ask: asks each backend whether it can run, by default in a process of its own.

    Raises UnsupportedError for a backend that does not exist.
    """
    facts = devices.gpu_facts()
    # This comes before the frameworks start, because their start would look like a disturbance.
    before = activity()
    time.sleep(LISTEN)
    meanwhile = disturbance.between(before, activity())
    here = environment.read()
    ray = None
    with contextlib.suppress(metadata.PackageNotFoundError):
        ray = metadata.version("ray")
    found = survey(tuple(dict.fromkeys(names)), backends, ask)
    spoils = tuple(findings(here, meanwhile, facts))
    return Diagnosis(
        found, here, spoils, ray, describe_precisions(cpu_flags(), get_available_kernels())
    )


def print_diagnosis(found: Diagnosis, console: Console) -> None:
    """Print the diagnosis."""
    for line in compose_summary(found.survey):
        console.print(Text(clean(line, 600)), style="bold")
    console.print()
    notes: list[tuple[str, str]] = []
    console.print(_table(found.survey, notes).grid())
    for number, (text, install) in enumerate(notes, start=1):
        console.print(hanging(f"[{number}]", Text(clean(text))))
        if install:
            console.print(Text(f"    {clean(install)}", style="bold"))
    for problem in found.survey.problems:
        console.print(hanging("!", Text(clean(problem), style="red"), "red"))
    console.print()
    if found.precisions:
        columns = ("precision", "products of this CPU", "kernels of fused_cpu", "PyTorch's LSTM")
        lines = [[TableCell(name), *map(TableCell, row)] for name, row in found.precisions.items()]
        console.print(TextTable.of(list(map(Column, columns)), lines).grid())
        console.print()
    console.print(Text("The machine", style="bold"))
    for label, text in describe_machine(found):
        console.print(hanging(f"  {label}:", Text(clean(text, 600))))
    console.print()
    console.print(Text("Before you measure", style="bold"))
    if not found.findings:
        console.print(Text("  nothing to change was found"))
    for finding in found.findings:
        text, advice = reason_texts(finding)
        console.print(hanging("  -", Text(clean(text, 600))))
        console.print(hanging("    do:", Text(clean(advice))), style="dim")


def compose_summary(found: Survey) -> list[str]:
    """Return a line on what can be measured here, and a line on what to install for more.

    The second line is left out if pip can install nothing that is missing.
    """
    parts = []
    for device in found.devices:
        here = [entry for entry in found.entries if entry.on[device] and entry.name != REFERENCE]
        frameworks = dict.fromkeys(entry.framework for entry in here)
        parts.append(
            f"{count(len(here), 'backend')} on {device} ({', '.join(frameworks)})"
            if here
            else f"nothing on {device} (the table says what is missing)"
        )
    missing: dict[str, dict[str, None]] = {}
    for entry in found.entries:
        for on in entry.on.values():
            if not on and on.install:
                missing.setdefault(on.install, {})[re.split(r"[+@:]", entry.name)[0]] = None
    lines = [f"You can measure {', and '.join(parts)}."]
    if missing:
        more = "; ".join(f"{', '.join(names)}: {install}" for install, names in missing.items())
        lines.append(f"To measure more: {more}.")
    return lines


def _table(found: Survey, notes: list[tuple[str, str]]) -> TextTable:
    """Return the table of backends by framework.

    notes: collects each reason once. Cells refer to a reason by its number.
    """

    def cell(on: Availability) -> TableCell:
        number, note = "", (on.reason, on.install)
        if on.reason:
            if note not in notes:
                notes.append(note)
            number = f" [{notes.index(note) + 1}]"
        return (
            TableCell(f"✓{number}", style="green")
            if on
            else TableCell(f"no{number}", style="yellow")
        )

    lines = []
    for framework in dict.fromkeys(entry.framework for entry in found.entries):
        version = found.frameworks.get(framework)
        title = clean(f"{framework} {version}" if version else framework)
        lines.append(
            [TableCell(title, style="bold"), *(TableCell() for _ in found.devices), TableCell()]
        )
        shown = ""
        for entry in (each for each in found.entries if each.framework == framework):
            cells = [cell(entry.on[device]) for device in found.devices]
            # The variants of a backend share its summary, which is shown once.
            summary = "" if entry.summary == shown else clean(entry.summary)
            shown = entry.summary
            lines.append(
                [TableCell(f"  {clean(entry.name)}"), *cells, TableCell(summary, style="dim")]
            )
    names = ("backend", *map(clean, found.devices))
    columns = [*(Column(each, no_wrap=True) for each in names), Column("what it is")]
    return TextTable.of(columns, lines)


def describe_machine(found: Diagnosis) -> list[tuple[str, str]]:
    """Return properties of the machine that may explain a time, each with its label."""
    here, cpu = found.environment, found.environment.cpu
    lines = [("system", _join(here.system, here.container and f"in {here.container}"))]
    count = f"{cpu.usable} of {cpu.logical} processors usable" if cpu.usable else None
    clock = f"{cpu.clock_hz / 1e9:.2f} GHz now" if cpu.clock_hz else None
    governor = cpu.governor and f"governor {cpu.governor}"
    lines.append(("CPU", _join(cpu.name, count, clock, governor)))
    if here.load is not None:
        lines.append(("load", f"{here.load[0]:.2f} processes were ready to run in the last minute"))
    if here.memory.total_bytes and here.memory.available_bytes is not None:
        free, total = here.memory.available_bytes / 2**30, here.memory.total_bytes / 2**30
        lines.append(("memory", f"{free:.1f} of {total:.1f} GiB free"))
    for index, gpu in enumerate(here.gpus):
        message = _join(
            gpu.name or "unknown",
            gpu.driver and f"driver {gpu.driver}",
            gpu.cuda_version and f"CUDA up to {gpu.cuda_version}",
            None if gpu.temperature_c is None else f"{gpu.temperature_c:.0f} °C",
            gpu.memory_used_bytes is not None
            and gpu.memory_total_bytes
            and f"{gpu.memory_used_bytes / 2**30:.1f} of "
            f"{gpu.memory_total_bytes / 2**30:.1f} GiB used",
        )
        lines.append((f"gpu:{index}", message))
    lines.append(("Python", here.python))
    lines.append(("fleets", f"Ray {found.ray}" if found.ray else f"no Ray: {INSTALL_RAY}"))
    if here.libraries:
        lines.append(("libraries", ", ".join(map(" ".join, here.libraries.items()))))
    if here.variables:
        lines.append(("variables", ", ".join(map("=".join, here.variables.items()))))
    return lines


def _join(*parts: str | bool | int | None) -> str:
    return ", ".join(str(part) for part in parts if part)


# -- the command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _doctor, argv, UnsupportedError)


def _doctor(options: argparse.Namespace) -> int:
    requested = [devices.parse(name) for name in options.device or ()]
    if sys.stderr.isatty():
        print("starting every framework that is installed ...", file=sys.stderr)
    here = devices.list_devices()
    # If there is no GPU, the reason is part of the answer.
    usual = here if len(here) > 1 else [*here, "gpu:0"]
    found = diagnose(requested or usual, options.backends)
    output.deliver(
        options,
        lambda console: print_diagnosis(found, console),
        {"json": lambda: json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n"},
    )
    choices = [bool(found.survey.choices(device)) for device in found.survey.devices]
    return 0 if (all(choices) if requested else any(choices)) else 1


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "doctor",
        "Say which backends run on which devices of this machine, why others do not, and what to "
        "change before measuring.",
        EPILOG,
    )
    which = "cpu, gpu:0, ..., separated by commas (default: all devices of this machine)"
    arguments.add_values(
        parser,
        ("device", "DEVICES", arguments.parse_names, which),
        (
            "backends",
            "NAMES",
            arguments.parse_names,
            "only these, separated by commas (default: all)",
        ),
    )
    arguments.add_output(parser, FORMATS)
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
