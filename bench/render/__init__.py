"""Write results for people and programs: messages, tables, terminal, Markdown, data, page, plots.

``messages`` is the only place that builds sentences; ``quantities``, ``labels`` and ``escape`` are
what every format writes numbers, names and text from files with.
"""
