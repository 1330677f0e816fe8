"""What is measured: cases, the suites that name them, and what others published for such cases.

Others take: ``load``, ``available``, ``Suite``, ``SuiteChoice`` and ``SuiteError`` from here, a
``Case`` from ``cases`` and published figures from ``published``. The suites themselves are the TOML
files in this folder.
"""

from bench.case.loading import Suite, SuiteChoice, SuiteError, available, load, load_cases

__all__ = ["Suite", "SuiteChoice", "SuiteError", "available", "load", "load_cases"]
