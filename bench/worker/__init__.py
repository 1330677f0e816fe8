"""One group of cases in this process: proven equal, timed, and compared with the roofs.

Others take: ``group`` (measure one; what comes of a case), ``pytest_session`` (a suite's groups,
each finished case on disk), ``equivalence`` (the gate), ``timing`` (blocks and stopping),
``resources`` (memory, energy) and ``roofs``; ``disturbances`` say what about the machine makes
times unreliable.
"""

MARKER = "lstm_cases"
"""Of an item that measures; pytest loads it with the options, so this file imports nothing."""
