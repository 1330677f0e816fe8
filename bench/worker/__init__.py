"""One group of cases in this process: proven equal, timed, and compared with the roofs.

Others take: ``group`` (measure one; what comes of a case), ``pytest_session`` (a suite's groups,
each finished case on disk), ``equivalence`` (the gate), ``timing`` (blocks and stopping),
``resources`` (memory, energy) and ``roofs``; ``disturbances`` say what about the machine makes
times unreliable.
"""
