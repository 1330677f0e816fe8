"""Truncation windows: what each costs, what can be learned through it, and which to take.

Others take: ``cost`` (a line of time against the window, from a report's rows), ``words`` and
``sheets`` (how that is told), ``answer`` (which window and backend, for a dependency); ``asked``
and ``cost_asked`` are these as commands are asked. What is learned comes from trainings, in
``windows.learning``.
"""
