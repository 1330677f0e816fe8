"""Results given to others: checked, made anonymous, and shown as a site of many machines.

Others take ``submission.submit`` and ``site.make``; ``checks`` says what of a file cannot be as it
stands there.
"""
