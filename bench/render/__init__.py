"""How things are said: quantities, names made harmless, marks, drawings, and a command's manners.

Others take: ``quantities`` (times, ratios, sizes in words), ``inert`` (text from files), ``marks``,
``headings`` and ``verdict_words``, ``drawing`` (letters, colours, axes), ``sheet`` (a table in each
form), ``told`` (lines and tables), ``terminal`` and ``deliver`` (to a terminal, a pipe, a file),
``progress`` (results read, and what cannot be is told), ``studies`` (fresh processes asked, and
shown), ``arguments`` and ``command_line`` (what all commands have in common).
"""
