"""Whether a backend can run here, as a sentence; packages are asked for without being imported."""

from __future__ import annotations

from lstm_impl import Availability


def test_availability_reads_as_a_sentence() -> None:
    assert str(Availability(True)) == "available"
    assert str(Availability(False, "no bread")) == "no bread"
    assert str(Availability(False, "no bread", "bake some")) == "no bread: bake some"
    assert Availability(True)
    assert not Availability(False, "no bread")
