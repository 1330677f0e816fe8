"""How often the verdicts are right: this suite's rules, and others, on simulated processes.

Others take: the studies (``verdicts``, ``bridges``, ``percentiles``, ``nodes``, ``changes``), which
make tables, ``pictures`` and ``pairs`` (how far recorded pairs spread). Inside, ``noises`` draws
how processes differ, and ``rules`` is what this suite's rule and those of other tools say of them.
"""
