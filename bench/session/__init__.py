"""Many processes: what is measured next, by which of them, and until when.

``manager`` runs a session's workers, ``schedule`` decides what each measures, and ``session`` is
what stands on disk, to go on with.
"""
