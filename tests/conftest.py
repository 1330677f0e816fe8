"""What all tests need of the process that runs them."""

import os
import signal

# What a shell sends to the background ignores Ctrl-C, and so does every process started from there.
# Tests of Ctrl-C would then wait for what never comes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What tests measure is no machine's best, and what the user's own runs measured is none of theirs.
os.environ["LSTM_ROOFS"] = "off"
