"""Measure what the kernels gain in models that people use, with the weights of packages on PyPI.

``python -m research.real_models measure`` downloads the packages into a cache outside of the
project, compares each model before and after ``accelerate``, and times both next to what a user
could do otherwise. ``networks`` lists the models, and ``packages`` pins their files.
``torch_programs``, ``keras_programs`` and ``numpy_programs`` make each model callable in several
ways. ``ways`` judges whether the ways agree, ``timing`` times them in turn, and ``process`` does
both in one process. ``records`` reads and writes the results, and ``page`` makes the tables of
docs/real_models.md from them.
"""
