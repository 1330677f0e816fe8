"""How quantities are written."""

from bench.telling.quantities import percent, size


def test_sizes_and_parts_are_readable() -> None:
    assert size(12.5 * 1024) == "12.5 KiB"
    assert size(-1.5 * 2**20) == "−1.50 MiB"
    assert size(0) == "0 B"
    assert percent(0.004) == "0.4%"
    assert percent(0.12) == "12%"
