"""Whether a backend can run here, as a sentence; packages are asked for without being imported."""

from __future__ import annotations

from lstm_impl import Availability, Package, UnavailableError, UnsupportedError


def test_availability_reads_as_a_sentence() -> None:
    assert str(Availability(True)) == "available"
    assert str(Availability(False, "no bread")) == "no bread"
    assert str(Availability(False, "no bread", "bake some")) == "no bread: bake some"
    assert Availability(True)
    assert not Availability(False, "no bread")


def test_a_package_is_there_or_says_how_to_get_it_for_the_device() -> None:
    assert Package("numpy", "NumPy", "pip install numpy").availability("gpu:0")
    two = Package("no_such_flour", "Flour", "pip install flour", "pip install 'flour[gpu]'")
    assert str(two.availability("cpu")) == "Flour is not installed: pip install flour"
    assert str(two.availability("gpu:0")) == "Flour is not installed: pip install 'flour[gpu]'"
    one = Package("no_such_salt", "The salt", "pip install salt")
    assert str(one.availability("gpu:0")) == "The salt is not installed: pip install salt"


def test_who_catches_what_is_unsupported_catches_what_is_not_there() -> None:
    assert issubclass(UnavailableError, UnsupportedError)
