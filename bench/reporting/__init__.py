"""One set of results shown: in a terminal, as Markdown, data, a page, a plot.

Others take ``asked`` (a report as ``bench.report`` is asked for it) or one module a format:
``terminal``, ``markdown``, ``data``, ``page`` and ``plot``; ``sentences``
are what they all say in words, and ``tables`` what stands in their cells.
"""
