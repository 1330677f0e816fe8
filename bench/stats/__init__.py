"""Statistics from samples to verdicts, as pure functions.

``intervals`` has intervals of medians and of means over processes and nodes, ``ratios`` compares
two cases, ``trust`` finds unreliable numbers, and ``rows`` makes the judged table of reports and
comparisons. ``research/`` simulates how often the verdicts are right.
"""
