"""The report as one HTML page: what it says without a script, and what can be explored with one.

Others take ``explorer.page``; ``static`` is the page without data behind it.
"""
