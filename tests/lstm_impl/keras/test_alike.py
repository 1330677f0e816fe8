"""Whether two layers compute the same, told with the array where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_impl import LSTMSpec
from lstm_impl.proof.comparison import bounds

pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

from lstm_impl.keras.alike import PARAMETERS, difference

SPEC, BATCH, STEPS = LSTMSpec(3, 4), 2, 5
NAMES = ["y", "dx", *PARAMETERS]


@pytest.mark.parametrize("name", NAMES)
def test_what_differs_by_more_than_both_may_be_rounded_is_named(name: str) -> None:
    theirs = dict(zip(NAMES, np.random.default_rng(0).uniform(-1, 1, (5, 9)), strict=True))
    largest = np.abs(theirs[name]).max()
    allowed = 2 * bounds(SPEC, BATCH, STEPS, [name])[name] * largest
    for off, wrong in ((0.0, False), (0.9 * allowed, False), (1.1 * allowed, True), (np.nan, True)):
        ours = theirs | {name: theirs[name] + off}
        told = difference(ours, theirs, SPEC, BATCH, STEPS)
        assert told.startswith(f"{name} differs from Keras's by ") if wrong else told == ""
