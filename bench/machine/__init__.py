"""This computer: its devices and facts, what disturbs it, its lock, and processes on it.

Others take: ``devices`` (names, which are here and why one is not), ``environment`` (what a machine
is), ``facts`` (which are of one kind), ``disturbance`` (what went on while something was measured),
``lock`` (one measurement at a time), ``processes`` (with an end), ``fresh`` (one that is asked in
JSON, and how it died), ``process_pool`` (several that take orders and end together), ``cluster``
(``TF_CONFIG``), ``import_notes`` (a framework's own lines, held back), ``guard`` and ``raised``
(code of others, and what it raises).
"""
