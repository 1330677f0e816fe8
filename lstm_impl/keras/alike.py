"""Whether two Keras layers compute the same, on whichever backend Keras runs."""

from __future__ import annotations

from collections.abc import Mapping

from lstm_impl.proof import comparison
from lstm_impl.spec import FloatArray, LSTMSpec

PARAMETERS = ("dlayer0.forward.kernel", "dlayer0.forward.recurrent", "dlayer0.forward.bias")
"""The gradients of a Keras layer's variables, by the names that bounds are known under."""


def difference(
    ours: Mapping[str, FloatArray],
    theirs: Mapping[str, FloatArray],
    spec: LSTMSpec,
    batch: int,
    timesteps: int,
) -> str:
    """Where results are not those of Keras's layer, in words, or an empty string."""
    allowed = comparison.bounds(spec, batch, timesteps, list(ours))
    for name, error in comparison.compare(ours, theirs).items():
        # both sides are rounded, each by as much as the bound allows
        if not error <= 2 * allowed[name]:
            return (
                f"{name} differs from Keras's by {error:.1e} of its largest value, "
                f"{2 * allowed[name]:.1e} allowed"
            )
    return ""
