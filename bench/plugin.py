"""The pytest side of the suite."""
