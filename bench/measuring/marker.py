"""The mark of an item that measures; pytest loads it with the options, so it imports nothing."""

MARKER = "lstm_cases"
