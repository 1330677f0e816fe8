"""Files of any kind: read whole or not at all, written whole or not at all, and by whom.

Others take: ``reading`` (bytes and JSON, or one line that says why not), ``fields`` (values checked
where they are used, and what a user can mend), ``writing`` (files and lines that a crash cannot
cut), ``writers`` (whether a file's writer lives), ``copying`` (from and to elsewhere) and
``folder`` (where results are). It knows nothing of what the files hold.
"""
