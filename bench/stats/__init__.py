"""From samples to verdicts, as pure functions: intervals, ratios, trust, and the rows of a report.

``intervals`` has the interval of a median and of means over processes and nodes, ``ratios`` what
two cases are to one another, ``trust`` whether a case's numbers are good, ``rows`` what reports and
comparisons are made of. ``research/`` simulates how often the verdicts are right.
"""
