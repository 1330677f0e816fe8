"""Simulate how often the verdicts of this suite and of other tools are right.

``noises`` draws the times of processes, and ``rules`` applies the rules of this suite and of other
tools to them. The studies ``verdicts``, ``bridges``, ``percentiles``, ``nodes`` and ``changes``
make the tables of ``research/verdicts.md``, and ``pictures`` draws its pictures. ``verdict_pairs``
reads how far the pairs of recorded results spread. ``skipped_steps`` is about another benchmark.
"""
