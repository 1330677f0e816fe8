"""What a stream's blocks take of a session: calls that fall behind count no time twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.running.overhead import WARM_UP, overhead
from tests.bench.made_streams import a_run, a_stream, streamed


@pytest.mark.parametrize("latency", [1e-4, 2.0])
def test_calls_that_are_due_at_a_time_take_their_periods(latency: float) -> None:
    item = streamed(a_stream("keras", 0.01), a_run(0), 1e-4, 2.0)
    item = replace(item, samples=np.full(11, latency), calls=20, setup={"timing_s": 2.5})
    found = overhead([item], spent=10.0)
    assert found.measured == pytest.approx(2.2)
    assert found.told[WARM_UP] == pytest.approx(0.3)


def test_calls_back_to_back_take_what_they_take() -> None:
    item = streamed(a_stream("keras"), a_run(0), 1e-4, 2.0)
    item = replace(item, samples=np.full(11, 0.001), calls=20, setup={})
    assert overhead([item], spent=10.0).measured == pytest.approx(0.22)
