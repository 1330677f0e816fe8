"""Cases, the suites that name them, and what others published for such cases.

The suites are the TOML files in this folder.
"""

from bench.case.loading import Suite, SuiteChoice, SuiteError, available, load, load_cases

__all__ = ["Suite", "SuiteChoice", "SuiteError", "available", "load", "load_cases"]
