"""Two sets of results side by side: runs, devices, backends, published figures, a history.

Others take: ``asked`` (a comparison as ``bench.compare`` is asked for it), ``runs``, ``devices``,
``backends`` (each makes a ``comparison``, which has the rule to fail on), ``beside_published``,
``history``, and for each the modules that show it.
"""
