"""Judge what was measured: results of cases, their ranks, comparisons and histories.

``case_results`` pools the processes of each case, and ``ranking`` compares each case with the
others of its group. All other modules, and everything that is shown, build on these two stages.
``sections`` makes the table of a report, ``pairs`` compares two sides, ``history`` follows
sessions, ``along`` follows an axis, and ``recommend`` chooses a window and a backend.
"""
