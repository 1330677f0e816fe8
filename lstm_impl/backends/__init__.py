"""The backends, one file a strategy. None imports its framework before it is used."""
