"""Measure the cases of one work order in this process.

``__main__`` is the process, ``order`` what it is told, and ``recorder`` the path from cases to a
file; ``pytest_session`` is the same under pytest. ``group`` measures one group, with each finished
case on disk. ``equivalence`` is the gate, ``timing`` makes samples, ``kept_results`` chooses the
inputs and results that are judged. ``resources`` measures memory and energy, ``roofs`` the best of
a device; ``disturbances`` says what makes times unreliable.
"""
