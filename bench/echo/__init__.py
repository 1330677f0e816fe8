"""The echo task of the 2016 tutorial, trained with any backend, and what a window learns.

Read ``task`` (the data), ``training`` (the loop) and ``network`` (loss and optimizers) first.
"""
