"""Check results and make them anonymous, to share them (``submission.submit``)."""
