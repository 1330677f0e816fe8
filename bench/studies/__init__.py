"""Training on several devices at once, which is no suite of cases, and the profile of one case."""
