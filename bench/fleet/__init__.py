"""Many machines, one table: the processes of a suite spread over the nodes of a Ray cluster.

Others take: ``measured`` (a run from its options to its summary). Inside, ``loop`` steps the
sessions of all kinds of machines side by side, ``cluster`` alone speaks with Ray, ``stub`` and
``hand`` are what runs on a node, and ``remote`` is the node as the manager sees it.
"""
