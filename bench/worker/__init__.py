"""Measure the cases of one work order in this process.

``__main__`` is the process, and ``order`` is what it is told to measure. ``recorder`` leads from
cases to a result file; ``pytest_session`` does the same under pytest. ``group`` measures one group
and writes each finished case to disk. ``equivalence`` is the gate. ``timing`` takes samples, and
``kept_results`` selects the inputs and results that are judged. ``resources`` measures memory and
energy, ``roofs`` measures the limits of a device, and ``disturbances`` finds what makes times
unreliable.
"""
