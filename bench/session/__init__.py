"""Many processes: what is measured next, by whom, until when; and whether this machine is fit.

Others take: ``manager`` (a session's workers, one after the other), ``schedule`` (its decisions),
``session`` (on disk, to go on with), ``summary`` (what came of it), ``proof`` (on a GPU) and
``diagnosis`` (which backends run here).
"""
