"""How quantities are written."""

from bench.telling.quantities import percent, seconds_range, size


def test_sizes_and_parts_are_readable() -> None:
    assert size(12.5 * 1024) == "12.5 KiB"
    assert size(-1.5 * 2**20) == "−1.50 MiB"
    assert size(0) == "0 B"
    assert percent(0.004) == "0.4%"
    assert percent(0.12) == "12%"


def test_bounds_of_either_sign_have_the_same_digits() -> None:
    assert seconds_range(-1.16e-3, 1.418e-3, 9.67e-4) == "-1160–1418"
    assert seconds_range(1e-3, 2e-3, 1e-3) == "1.00–2.00"
