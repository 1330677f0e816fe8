"""What else a machine was when it measured: clocks, memory, GPUs, threads and settings, in words.

``headings.machine`` has what every format shows. The page has room for the rest, which is
often the reason why two machines differ. Environments are free-form data of a file: whatever is not
of the kind that is expected is left out. This room makes plain strings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from bench.machine.fields import mapping
from bench.render.inert import LONGEST_NAME, clean
from bench.stats.rows import Section

_MOST = 24
"""GPUs, threads or variables beyond these are left out."""


def details(section: Section) -> list[tuple[str, str]]:
    """Label and text of what its first run recorded, as far as it did."""
    environment = section.run.environment
    before = mapping(environment.get("before"))
    # Frameworks are loaded while a run goes on: what they say of themselves is there at its end.
    end = mapping(environment.get("after"))
    after = {**before, **{name: end[name] for name in ("threads", "tensorflow") if end.get(name)}}
    container = _text(before.get("container"))
    found = [
        ("Processor", _processor(mapping(before.get("cpu")))),
        ("Memory", _memory(mapping(before.get("memory")))),
        ("Kernel", _listed(_text(before.get("kernel")), f"in {container}" if container else "")),
    ]
    gpus = before.get("gpus")
    for index, gpu in enumerate(gpus[:_MOST] if isinstance(gpus, list) else []):
        found.append((f"GPU {index}, in detail", _gpu(mapping(gpu))))
    # TensorFlow says 0 where it chooses for itself.
    threads = {
        name: "of its own choice" if value == 0 else value
        for name, value in mapping(after.get("threads")).items()
    }
    found.append(("Threads", _pairs(threads, " ")))
    found.append(("TensorFlow", _tensorflow(mapping(after.get("tensorflow")))))
    found.append(("Variables", _pairs(mapping(before.get("variables")), "=")))
    return [(label, text) for label, text in found if text]


def _processor(cpu: Mapping[str, object]) -> str:
    governor, quota = _text(cpu.get("governor")), _number(cpu.get("quota"))
    return _listed(
        _text(cpu.get("architecture")),
        _hertz(cpu.get("clock_hz"), "at {} when it began"),
        _hertz(cpu.get("clock_max_hz"), "at most {}"),
        f"governor {governor}" if governor else "",
        _switch("turbo", cpu.get("turbo")),
        "a virtual machine" if cpu.get("virtual") is True else "",
        f"{quota:g} of its processors allowed" if quota else "",
    )


def _memory(memory: Mapping[str, object]) -> str:
    swap = _number(memory.get("swap_used_bytes"))
    return _listed(
        _bytes(memory.get("total_bytes"), "{}"),
        _bytes(memory.get("available_bytes"), "{} of it free when it began"),
        _bytes(swap, "{} swapped out") if swap else "",
    )


def _gpu(gpu: Mapping[str, object]) -> str:
    cuda, capability = _text(gpu.get("cuda_version")), _text(gpu.get("compute_capability"))
    power = _number(gpu.get("power_limit_w"))
    return _listed(
        f"CUDA {cuda}" if cuda else "",
        f"compute capability {capability}" if capability else "",
        _bytes(gpu.get("memory_total_bytes"), "{}"),
        _hertz(gpu.get("clock_sm_max_hz"), "at most {}"),
        f"power limit {power:.0f} W" if power else "",
        _switch("MIG", gpu.get("mig")),
    )


def _tensorflow(tensorflow: Mapping[str, object]) -> str:
    build = mapping(tensorflow.get("build"))
    versions = [
        f"{label} {_text(build.get(key))}"
        for key, label in (("cuda_version", "built for CUDA"), ("cudnn_version", "for cuDNN"))
        if _text(build.get(key))
    ]
    tf32 = _switch("TF32", tensorflow.get("tf32"))
    return _listed(_text(tensorflow.get("version")), *versions, tf32)


def _pairs(values: Mapping[str, object], sign: str) -> str:
    told = [
        f"{_text(name)}{sign}{_text(value)}"
        for name, value in list(values.items())[:_MOST]
        if isinstance(value, str | int) and not isinstance(value, bool)
    ]
    return _listed(*told)


def _switch(what: str, value: object) -> str:
    return f"{what} {'on' if value else 'off'}" if isinstance(value, bool) else ""


def _hertz(value: object, words: str) -> str:
    found = _number(value)
    return words.format(f"{found / 1e9:.3g} GHz") if found else ""


def _bytes(value: object, words: str) -> str:
    found = _number(value)
    return words.format(f"{found / 2**30:.3g} GiB") if found else ""


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e30 and math.isfinite(value) else None


def _text(value: object) -> str:
    known = isinstance(value, str | int) and not isinstance(value, bool)
    return clean(str(value), LONGEST_NAME) if known else ""


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
