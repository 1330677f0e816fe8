"""Make a scene of a training without training, for the tests of its picture."""

import numpy as np

from bench.echo.picture import Scene
from bench.echo.task import EchoSettings, best_possible_loss
from bench.echo.training import Window


def scene(settings: EchoSettings | None = None, windows: int = 80, backend: str = "numpy") -> Scene:
    settings = settings or EchoSettings(bits=1500)
    rng = np.random.default_rng(0)
    shape = (settings.window, settings.batch)
    best = best_possible_loss(settings)
    return Scene(
        settings=settings,
        backend=backend,
        losses=0.7 * np.exp(-np.arange(windows) / 20),
        best=best[np.arange(windows) % len(best)],
        windows=windows,
        last=Window(
            loss=0.1,
            accuracy=0.5,
            inputs=rng.integers(0, 2, shape, dtype=np.uint8),
            targets=rng.integers(0, 2, shape, dtype=np.uint8),
            ones=rng.random(shape),
        ),
    )
