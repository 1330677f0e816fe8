"""Define cases, the suites that list them, and the times that other projects published for them.

The suites are the TOML files in this folder.
"""

from bench.case.loading import Suite, SuiteChoice, SuiteError, available, load, load_cases

__all__ = ["Suite", "SuiteChoice", "SuiteError", "available", "load", "load_cases"]
