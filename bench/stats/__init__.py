"""Compute intervals and ratios, and find what makes them unreliable, as pure functions of samples.

``intervals`` computes intervals of medians, and of means over processes and nodes. ``ratios``
compares two cases, and ``trust`` finds unreliable numbers. ``research/`` simulates how often the
verdicts that follow from them are right.
"""
