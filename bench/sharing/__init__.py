"""Check results and make them anonymous, so that they can be shared (``submission.submit``)."""
