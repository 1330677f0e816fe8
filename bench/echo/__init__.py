"""The trainings behind the windows: the echo task, and maps of what windows of each length learn.

Others take: ``settings``, ``task`` and ``training`` (one training of the echo task, any backend),
``echo_run`` (as a person runs it), ``plan`` and ``workers`` (many, side by side), ``words`` and
``map_picture`` (the map that comes of them).
"""
