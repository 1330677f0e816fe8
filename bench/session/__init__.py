"""Measure a suite in many worker processes.

``manager`` runs the workers of a session, ``schedule`` decides what each of them measures, and
``session`` is the file from which a session resumes.
"""
