"""What JAX really ran, by its profiler."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from lstm_impl.call import Tensor


def profile(
    run: Callable[[], Tensor],
    synchronize: Callable[[], None],
    plane: str = "/device:GPU",
    line: str = "Stream",
) -> Counter[str]:
    """Names and counts of what one call of ``run`` had on the profiler's planes so named."""
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
            synchronize()
        return Counter(_events(Path(folder).rglob("*.xplane.pb"), plane, line))


def _events(files: Iterable[Path], plane: str, line: str) -> Iterable[str]:
    from jax.profiler import ProfileData

    for file in files:
        for each in ProfileData.from_file(str(file)).planes:
            if each.name.startswith(plane):
                for track in each.lines:
                    if track.name.startswith(line):
                        yield from (event.name for event in track.events)
