"""Measurements that are no suite of cases: ``python -m bench.run`` takes their names.

What denormal numbers cost, sequences whose lengths differ, the Keras layer against Keras's,
training on several devices. Each asks fresh processes and shows one table of their answers.
``profiling`` is what ``bench.profile`` shows of one case.
"""
