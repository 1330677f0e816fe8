"""Two sets of results side by side: runs, devices, backends, published figures, a history.

Others take: ``runs``, ``devices``, ``backends``, ``two_environments`` (each makes a ``comparison``,
which has the rule to fail on), ``beside_published``, ``history``, and for each the modules that
show it.
"""
