"""Hold the studies: how often verdicts are right, and what the kernels gain in real models.

``noises`` draws the times of processes, and ``rules`` applies the rules of this suite and of other
tools to them. The studies ``verdicts``, ``bridges``, ``percentiles``, ``nodes`` and ``changes``
make the tables of ``research/verdicts.md``, and ``pictures`` draws its pictures. ``verdict_pairs``
reads how far the pairs of recorded results spread. ``skipped_steps`` is about another benchmark.
``real_models`` measures models with the weights of packages on PyPI, for docs/real_models.md.
"""
