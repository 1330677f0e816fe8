"""The echo task of the 2016 tutorial, trained with any backend, and what a window learns.

Read ``task`` (the data) and ``training`` (the network, its loss and the loop) first.
"""
