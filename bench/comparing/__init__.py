"""Two sets of results side by side: runs, devices, backends, published figures, a history.

Others take: ``runs``, ``devices`` and ``backends`` (each makes a ``comparison``), ``rules`` (what
it is to fail on), ``beside_published``, ``history``, and for each the modules that show it.
"""
