"""From samples to verdicts, as pure functions: intervals, ratios, trust, and the rows of a report.

Others take: ``intervals`` (of a median), ``ratios`` (of two, paired), ``verdict`` (faster, slower,
or not to be reported), ``trust`` (whether a case's numbers are good), ``ranking`` (files to
``rows``) and ``table`` (rows as one flat table); ``scaling`` (what several replicas gain). How
often the verdicts are right is what ``studying`` shows.
"""
