"""Measure the cases of one group in this process.

``group`` measures one group, ``pytest_session`` the groups of a suite, with each finished case on
disk. ``equivalence`` is the gate, ``timing`` makes samples, ``kept_results`` chooses the inputs and
results that are judged. ``resources`` measures memory and energy, ``roofs`` the best of a device;
``disturbances`` says what makes times unreliable.
"""
