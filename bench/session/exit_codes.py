"""The exit codes of ``bench.run``, which commands that start it read as well.

``python -m bench.run --help`` says what they mean.
"""

MEASURED, FAILED, BAD_INPUT, UNWRITABLE, HELD, INCOMPLETE = range(6)
