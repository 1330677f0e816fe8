"""Train the echo task of the 2016 tutorial with any backend, and map what a window learns.

Read ``task`` (the data) and ``training`` (the network, its loss and the loop) first.
"""
