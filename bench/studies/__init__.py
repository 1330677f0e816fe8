"""Training on several devices at once, which is no suite of cases."""
