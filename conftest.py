"""Makes ``pytest --benchmark-only`` measure and the options of the suite known in a bare clone."""

pytest_plugins = ["bench.plugin"]
