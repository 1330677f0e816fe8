"""What JAX really ran, by its profiler."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lstm_impl.backends.hlo import OF_XLA, ProfiledEvent, kind_of
from lstm_impl.call import Tensor
from lstm_impl.profile import Event


def record(run: Callable[[], Tensor], synchronize: Callable[[], None]) -> list[ProfiledEvent]:
    """What the profiler saw of one call of ``run``."""
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
            synchronize()
        return list(_read(Path(folder).rglob("*.xplane.pb")))


def profile(
    run: Callable[[], Tensor],
    synchronize: Callable[[], None],
    plane: str = "/device:GPU",
    line: str = "Stream",
) -> Counter[str]:
    """Names and counts of what one call of ``run`` had on the profiler's planes so named."""
    return Counter(
        each.name
        for each in record(run, synchronize)
        if each.plane.startswith(plane) and each.line.startswith(line)
    )


def timeline(events: Iterable[ProfiledEvent]) -> list[Event]:
    """The kernels of GPUs and the instructions that a CPU ran, each on its stream or thread."""
    found = []
    for plane, line, name, start, seconds, instruction in events:
        if plane.startswith("/device:"):
            if line.startswith("Stream"):
                found.append(Event(name, start, seconds, f"{plane} {line}", instruction))
        elif instruction:
            found.append(Event(kind_of(instruction), start, seconds, line, instruction))
    return found


def _read(files: Iterable[Path]) -> Iterator[ProfiledEvent]:
    from jax.profiler import ProfileData

    for file in files:
        for plane in ProfileData.from_file(str(file)).planes:
            for number, line in enumerate(plane.lines):
                # Threads of one name, such as those of a pool, differ in their number.
                name = f"{line.name} {number}" if plane.name.startswith("/host:") else line.name
                for event in line.events:
                    said = dict(event.stats)
                    yield ProfiledEvent(
                        plane.name,
                        name,
                        event.name,
                        event.start_ns * 1e-9,
                        event.duration_ns * 1e-9,
                        str(said.get(OF_XLA, "")),
                    )
