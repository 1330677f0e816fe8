"""Attack all that reads, writes, waits or runs, to test what SECURITY.md promises.

Each kind of attack is a file ``attack_*.py``, which pytest collects only with such a pattern:
``tox -e attack``. With the other tests, ``test_attack.py`` shows in seconds that each attack can
fail: it reports something broken.
"""
