"""Measure a suite in many worker processes.

``manager`` runs the workers of a session. ``schedule`` decides what each worker measures.
``session`` reads and writes the file from which a session resumes.
"""
