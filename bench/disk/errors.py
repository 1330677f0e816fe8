"""The error that a command tells in one line and ends with: what a user gave or asked for."""


class InputError(ValueError):
    """What was given or asked for cannot be; one line that says what, where, and what to do."""
