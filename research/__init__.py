"""Simulate how often the verdicts of this suite and of other tools are right.

The studies (``verdicts``, ``bridges``, ``percentiles``, ``nodes``, ``changes``) make tables and
``pictures`` draws them; ``verdict_pairs`` has the spread of recorded pairs. ``noises`` draws the
processes, and ``rules`` applies the rules of this suite and of other tools to them.
"""
