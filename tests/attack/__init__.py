"""Attacks on all that reads, writes, waits or runs: what SECURITY.md promises, tried at length.

Each kind of attack is a file ``attack_*.py``, which pytest finds when it is told to look for such
names: ``tox -e attack``. Beside them, ``test_attack.py`` shows in seconds, with the other tests,
that each can fail: it is given something broken, and reports it.
"""
